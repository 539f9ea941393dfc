import { Generator, initialize, scope } from "@spo/torch";
import { expect, test } from "vitest";
import { idsTensor } from "./clip-text.js";
import { relativeBucket, T5EncoderModel } from "./t5-encoder.js";

const published = { buckets: 32, most: 128 };

test("near keys have a bucket for each distance, far ones share them, and keys behind the query have their own half", () => {
  const bucket = (distance: number): number => relativeBucket(distance, published);
  expect([0, -1, -7, 1, 7].map(bucket)).toEqual([0, 1, 7, 17, 23]);
  // The edges of the logarithmic buckets, as transformers has them.
  expect([8, 11, 12, 15, 16, 22, 23, 31, 32, 63, 64, 90, 91, 127, 600].map((d) => bucket(-d))).toEqual([
    8, 8, 9, 9, 10, 10, 11, 11, 12, 13, 14, 14, 15, 15, 15,
  ]);
  expect([8, 64, 600].map(bucket)).toEqual([24, 30, 31]);
  expect([2, 19, 20].map((d) => relativeBucket(-d, { buckets: 8, most: 20 }))).toEqual([2, 3, 3]);
});

const sizes = { vocab_size: 12, d_model: 6, d_kv: 2, d_ff: 8, num_layers: 2, num_heads: 2 };

test("its parameters have the names of the published files", () => {
  const names = [
    ...new T5EncoderModel({ ...sizes, feed_forward_proj: "gated-gelu" }).namedParameters().keys(),
  ];
  expect(names.filter((name) => !name.startsWith("encoder.block.1."))).toEqual([
    "shared.weight",
    ...["q", "k", "v", "o"].map((name) => `encoder.block.0.layer.0.SelfAttention.${name}.weight`),
    "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
    "encoder.block.0.layer.0.layer_norm.weight",
    ...["wi_0", "wi_1", "wo"].map((name) => `encoder.block.0.layer.1.DenseReluDense.${name}.weight`),
    "encoder.block.0.layer.1.layer_norm.weight",
    "encoder.final_layer_norm.weight",
  ]);
  expect(names).toContain("encoder.block.1.layer.0.SelfAttention.q.weight");
  expect(names).not.toContain("encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight");
});

test("a text's states do not depend on the others of its batch, and padding takes part", () => {
  const model = new T5EncoderModel({ ...sizes, feed_forward_proj: "gated-gelu" });
  initialize(model, new Generator(1));
  scope(() => {
    const both = model.forward(
      idsTensor([
        [3, 4, 1, 0],
        [5, 1, 0, 0],
      ]),
    );
    expect(both.shape).toEqual([2, 4, 6]);
    const apart = (rows: number[][]): number =>
      model
        .forward(idsTensor(rows))
        .narrow(1, 0, 3)
        .sub(both.narrow(0, 0, 1).narrow(1, 0, 3))
        .abs()
        .max()
        .item();
    expect(apart([[3, 4, 1, 0]])).toBeLessThan(1e-5);
    expect(apart([[3, 4, 1]])).toBeGreaterThan(1e-3);
  });
});

test("a T5 of the first version is refused by its config", () => {
  expect(() => new T5EncoderModel({ ...sizes, feed_forward_proj: "relu" as "gated-gelu" })).toThrow(
    /feed_forward_proj\s+only "gated-gelu" \(T5 v1.1\) is supported, the file has "relu"/,
  );
});
