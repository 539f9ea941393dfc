import { conv2d, randn, scope } from "@spo/torch";
import { expect, test } from "vitest";
import { mapOfTokens } from "./map-of-tokens.js";

test.each([1, 2])("of %s samples is a map whose channels come last, for what follows too", (samples) =>
  scope(() => {
    const tokens = randn([samples, 6, 4]);
    const map = mapOfTokens(tokens, 2, 3);
    expect(map.toNumbers()).toEqual(tokens.transpose(1, 2).reshape([samples, 4, 2, 3]).toNumbers());
    const weight = randn([8, 4, 1, 1]).contiguous({ memoryFormat: "channels_last" });
    expect(conv2d(map, weight).strides).toEqual([6 * 8, 1, 3 * 8, 8]);
  }),
);
