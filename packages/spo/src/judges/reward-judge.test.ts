import type { RgbImage } from "@spo/scorers";
import { full, scope, tensor } from "@spo/torch";
import { expect, test } from "vitest";
import { rewardJudge } from "./reward-judge.js";

test("an image that is not finite gets no score, is not shown to the reward, and the others keep theirs", () => {
  const asked: [number | undefined, string][] = [];
  const judge = rewardJudge({
    name: "brightness",
    score: (images: readonly RgbImage[], prompts: readonly string[]) => {
      asked.push(
        ...images.map(({ data }, i): [number | undefined, string] => [data[0], prompts[i] as string]),
      );
      return images.map(({ data }) => data[0] as number);
    },
  });
  scope(() => {
    const images = full([4, 3, 2, 2], 1);
    images.select(0, 1).fill_(Number.NaN);
    images.select(0, 3).fill_(Number.NEGATIVE_INFINITY);
    images.select(0, 2).fill_(-1);
    const candidates = { xt: tensor([0]), x0: tensor([0]), timestep: 1, image: () => images };
    const scorer = judge.prepare(["a", "b"]);
    expect(scorer.score(candidates, [0, 1, 1, 0]).toNumbers()).toEqual([255, Number.NaN, 0, Number.NaN]);
    expect(asked).toEqual([
      [255, "a"],
      [0, "b"],
    ]);
    images.fill_(Number.NaN);
    expect(scorer.score(candidates, [0, 1, 1, 0]).toNumbers()).toEqual(Array(4).fill(Number.NaN));
  });
});
