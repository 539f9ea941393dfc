import { expect, test } from "vitest";
import { type Ballot, Outbox, type Sent } from "./outbox.ts";

const ballot = (id: string): Ballot => ({
  id,
  pair: "p",
  labeller: "anna",
  answer: "left",
  seconds: 1,
  repeat: false,
});
const fault = { code: "RESOURCE", message: "full" };

/** A browser's storage, and a server that answers as told. */
function world(answers: Sent[]) {
  const kept = new Map<string, string>();
  const store = {
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, text: string) => void kept.set(key, text),
  };
  const sent: string[] = [];
  const make = (): Outbox =>
    new Outbox("votes", {
      store,
      told: () => {},
      wait: () => Promise.resolve(),
      send: async ({ id }) => {
        sent.push(id);
        return answers.shift() ?? { kept: true };
      },
    });
  return { make, sent, kept };
}

test("votes are sent in order, each until it is kept", async () => {
  const { make, sent } = world([{ kept: true }, { again: fault }, { again: fault }]);
  const outbox = make();
  for (const id of ["a", "b", "c"]) outbox.add(ballot(id));
  await expect.poll(() => outbox.waiting, { timeout: 20_000 }).toBe(0);
  expect(sent).toEqual(["a", "b", "b", "b", "c"]);
  expect(outbox.trouble).toBeUndefined();
});

test("what was not kept is sent after a reload, and no vote in between is forgotten", async () => {
  const { make, sent, kept } = world([]);
  kept.set("votes", JSON.stringify([ballot("a"), ballot("b")]));
  const outbox = make();
  expect(outbox.waiting).toBe(2);
  await outbox.run();
  expect(sent).toEqual(["a", "b"]);
  expect(JSON.parse(kept.get("votes") as string)).toEqual([]);
});

test("a vote that is refused is told of, and does not hold up the others", async () => {
  const { make, sent, kept } = world([{ refused: fault }]);
  kept.set("votes", JSON.stringify([ballot("a"), ballot("b")]));
  const outbox = make();
  await outbox.run();
  expect(sent).toEqual(["a", "b"]);
  expect(outbox.refused).toEqual([fault]);
});

test.each(["{", "{}", "null"])("a storage that holds %j is taken for empty", (text) => {
  const { make, kept } = world([]);
  kept.set("votes", text);
  expect(make().waiting).toBe(0);
});
