import { describe, expect, test } from "vitest";
import {
  Conv2d,
  copyWeights,
  type DType,
  Generator,
  inferenceMode,
  initialize,
  keep,
  LayerNorm,
  Linear,
  liveTensors,
  loadWeights,
  Module,
  ones,
  onWarning,
  parameter,
  randn,
  scope,
  type Tensor,
  tensor,
  UserError,
  zeros,
} from "../index.js";

class Block extends Module {
  readonly norm: LayerNorm;
  readonly to_out: readonly Linear[];
  readonly scale: Tensor;
  readonly width: number;
  readonly #hidden = new Linear(2, 2);

  constructor(width: number) {
    super();
    this.norm = new LayerNorm(width);
    this.to_out = [new Linear(width, width, { bias: false }), new Linear(width, 1)];
    this.scale = parameter([1]);
    this.width = width;
  }

  get hidden(): Linear {
    return this.#hidden;
  }
}

class Model extends Module {
  readonly blocks = [new Block(2), new Block(3)];
}

const names = [0, 1].flatMap((i) =>
  ["scale", "norm.weight", "norm.bias", "to_out.0.weight", "to_out.1.weight", "to_out.1.bias"].map(
    (name) => `blocks.${i}.${name}`,
  ),
);

describe("a module", () => {
  test("has the state dict of its public fields: tensors, modules and arrays of them, to any depth", () => {
    const model = new Model();
    expect([...model.namedParameters().keys()].sort()).toEqual([...names].sort());
    expect(model.parameters()).toHaveLength(12);
    expect([...model.modules().keys()].slice(0, 5)).toEqual([
      "",
      "blocks.0",
      "blocks.0.norm",
      "blocks.0.to_out.0",
      "blocks.0.to_out.1",
    ]);
    expect(model.blocks[0]?.hidden.weight.shape).toEqual([2, 2]);
  });

  test("that is new has shapes and no memory", () => {
    const model = new Model();
    for (const weight of model.parameters()) expect(weight.device).toBe("meta");
    model.dispose();
    expect(model.parameters().every((weight) => weight.isDisposed)).toBe(true);
  });

  test("wants gradients for all its parameters or for none", () =>
    scope(() => {
      using model = new Model();
      initialize(model, new Generator(1));
      model.requiresGrad_();
      expect(model.parameters().every((weight) => weight.requiresGrad)).toBe(true);
      model.requiresGrad_(false);
      expect(model.parameters().some((weight) => weight.requiresGrad)).toBe(false);
    }));

  test("is converted in place, and keeps wanting gradients", () =>
    scope(() => {
      using model = new Model();
      initialize(model, new Generator(1));
      model.requiresGrad_();
      const weights = model.parameters();
      model.to({ dtype: "bfloat16" });
      expect(model.parameters()).toEqual(weights);
      for (const weight of weights) expect([weight.dtype, weight.requiresGrad]).toEqual(["bfloat16", true]);
    }));

  test("leaves its parameters to no scope", () => {
    const before = liveTensors();
    const model = scope(() => {
      const made = new Linear(2, 2);
      initialize(made, new Generator(1));
      return made;
    });
    expect(model.weight.shape).toEqual([2, 2]);
    expect(liveTensors() - before).toBe(2);
    model.dispose();
    expect(liveTensors()).toBe(before);
  });
});

describe("loadWeights", () => {
  test("gives a module the values of a file without a copy", () =>
    scope(() => {
      using layer = new Linear(2, 1);
      const weight = tensor([[3, 4]]);
      loadWeights(
        layer,
        new Map([
          ["weight", weight],
          ["bias", tensor([5])],
        ]),
      );
      expect(layer.forward(tensor([1, 10])).toNumbers()).toEqual([48]);
      weight.zero_();
      expect(layer.weight.toNumbers()).toEqual([0, 0]);
    }));

  test("frees each weight once its value is taken, when it is told to", () =>
    scope(() => {
      using layer = new Linear(2, 1);
      const weights = new Map([
        ["weight", tensor([[3, 4]])],
        ["bias", tensor([5])],
      ]);
      loadWeights(layer, weights, { consume: true });
      expect([...weights.values()].every((weight) => weight.isDisposed)).toBe(true);
      expect(layer.forward(tensor([1, 10])).toNumbers()).toEqual([48]);
    }));

  test("leaves no second handle on the memory that it reorders or converts", () => {
    const before = liveTensors();
    using layer = new Conv2d(2, 3, 3);
    const values = new Map([
      ["weight", ones([3, 2, 3, 3])],
      ["bias", ones([3])],
    ]);
    loadWeights(layer, values, { consume: true });
    scope(() => void layer.forward(ones([1, 2, 3, 3])));
    expect(liveTensors() - before).toBe(2);
    layer.arrange_("contiguous").to({ dtype: "bfloat16" });
    expect(liveTensors() - before).toBe(2);
  });

  describe("of a convolution", () => {
    const kernel = (): Tensor => randn([3, 2, 3, 3], { generator: new Generator(2) });
    const loaded = (weight: Tensor, dtype?: DType): Conv2d => {
      const layer = new Conv2d(2, 3, 3);
      loadWeights(
        layer,
        new Map([
          ["weight", weight],
          ["bias", zeros([3])],
        ]),
        { dtype },
      );
      keep(layer.parameters());
      return layer;
    };
    const isRowMajor = (t: Tensor): boolean => {
      try {
        return t.view32().length > 0;
      } catch {
        return false;
      }
    };

    test("copies nothing before the kernel is used, then computes the same from a copy in channels-last order", () =>
      scope(() => {
        const weight = kernel();
        using layer = loaded(weight);
        const x = randn([1, 2, 5, 5], { generator: new Generator(3) });
        expect(isRowMajor(layer.weight)).toBe(true);
        const before = weight.toNumbers();
        const y = layer.forward(x).toNumbers();
        weight.zero_();
        expect(isRowMajor(layer.weight)).toBe(false);
        expect(layer.weight.toNumbers()).toEqual(before);
        expect(layer.forward(x).toNumbers()).toEqual(y);
      }));

    test("copies all kernels of a model with the first that is used, so that the copies lie side by side", () =>
      scope(() => {
        class Pair extends Module {
          readonly layers = [new Conv2d(2, 3, 3, { bias: false }), new Conv2d(2, 3, 3, { bias: false })];
        }
        using pair = new Pair();
        loadWeights(pair, new Map([...pair.namedParameters().keys()].map((name) => [name, kernel()])));
        expect(pair.parameters().map(isRowMajor)).toEqual([true, true]);
        pair.layers[1]?.forward(ones([1, 2, 3, 3]));
        expect(pair.parameters().map(isRowMajor)).toEqual([false, false]);
      }));

    test("lets a kernel learn that was first used in inference mode", () =>
      scope(() => {
        using layer = loaded(kernel());
        const x = ones([1, 2, 3, 3]);
        inferenceMode(() => scope(() => void layer.forward(x)));
        layer.requiresGrad_();
        layer.forward(x).sum().backward();
        expect(layer.weight.grad?.toNumbers()).toEqual(new Array(54).fill(1));
      }));

    test("leaves a kernel in the order that was asked for", () =>
      scope(() => {
        using layer = loaded(kernel()).arrange_("contiguous");
        layer.forward(ones([1, 2, 3, 3]));
        expect(isRowMajor(layer.weight)).toBe(true);
      }));

    test("converts a kernel to what a later conversion gives", () =>
      scope(() => {
        using at = loaded(kernel(), "bfloat16");
        using later = loaded(kernel()).to({ dtype: "bfloat16" });
        expect(at.weight.toNumbers()).toEqual(later.weight.toNumbers());
        expect(at.weight.dtype).toBe("bfloat16");
      }));
  });

  test("converts floats, and only them, to the dtype that is asked for", () =>
    scope(() => {
      class Counted extends Module {
        readonly weight = parameter([1]);
        readonly count = keep(zeros([1], { dtype: "int64", device: "meta" }));
      }
      using model = new Counted();
      loadWeights(
        model,
        new Map([
          ["weight", tensor([1])],
          ["count", tensor([7], { dtype: "int64" })],
        ]),
        { dtype: "float16" },
      );
      expect([model.weight.dtype, model.count.dtype]).toEqual(["float16", "int64"]);
    }));

  test("lists every missing, misshapen and unknown weight at once, as a fault that the user can mend", () =>
    scope(() => {
      const before = liveTensors();
      const layer = new Linear(2, 3);
      const wrong = new Map([
        ["weight", ones([3, 2, 1, 1])],
        ["lora_A.weight", ones([1])],
        ["position_ids", ones([1])],
      ]);
      let caught: unknown;
      try {
        loadWeights(layer, wrong, { source: "unet.safetensors", ignore: (name) => name === "position_ids" });
      } catch (error) {
        caught = error;
      }
      expect(caught).toBeInstanceOf(UserError);
      const { message, code, hint } = caught as UserError;
      expect(message).toBe(
        [
          "Linear: 3 weights of unet.safetensors do not fit.",
          "  weight         file [3, 2, 1, 1], model [3, 2]",
          "  bias           missing in the file, [3] in the model",
          "  lora_A.weight  in the file, not in the model",
        ].join("\n"),
      );
      expect([code, hint]).toEqual(["DATA", "Load it with the config.json that came with it."]);
      expect(layer.weight.device).toBe("meta");
      layer.dispose();
      expect(liveTensors() - before).toBe(3);
    }));

  const withOthers = (names: readonly string[]): Map<string, Tensor> =>
    new Map([
      ["weight", ones([1, 1])],
      ["bias", ones([1])],
      ...names.map((name) => [name, ones([1])] as const),
    ]);

  test("warns once of what else is in the file, with the first names and their number", () =>
    scope(() => {
      using layer = new Linear(1, 1);
      const heard: string[] = [];
      const stop = onWarning((message) => heard.push(message));
      try {
        loadWeights(layer, withOthers(["known"]), {
          source: "a.safetensors",
          ignore: (name) => name === "known",
        });
        expect(heard).toEqual([]);
        loadWeights(layer, withOthers(["other"]), { source: "a.safetensors" });
        loadWeights(layer, withOthers(Array.from({ length: 7 }, (_, i) => `w${i}`)), {
          source: "b.safetensors",
        });
      } finally {
        stop();
      }
      expect(heard).toEqual([
        "a.safetensors: an entry is not used and passed over: other.",
        "b.safetensors: 7 entries are not used and passed over: w0, w1, w2, w3, w4, and 2 more.",
      ]);
      expect(layer.weight.toNumbers()).toEqual([1]);
    }));

  test("gives the unused names to whoever takes them, and warns of nothing", () =>
    scope(() => {
      using layer = new Linear(1, 1);
      const heard: string[] = [];
      const stop = onWarning((message) => heard.push(message));
      const taken: string[] = [];
      loadWeights(layer, withOthers(["other"]), { onUnused: (names) => void taken.push(...names) });
      stop();
      expect([taken, heard]).toEqual([["other"], []]);
    }));

  test.each(["weight.absmax", "scale_weight", "weight_scale", "weight.quant_state.bitsandbytes__nf4"])(
    "refuses weights with the entry %s, without which they are other numbers",
    (name) =>
      scope(() => {
        using layer = new Linear(1, 1);
        expect(() => loadWeights(layer, withOthers([name]))).toThrow(`${name}  belongs to quantized weights`);
      }),
  );

  test("refuses whole numbers for weights", () =>
    scope(() => {
      using layer = new Linear(1, 1);
      const weights = new Map([
        ["weight", tensor([[1]], { dtype: "int8" })],
        ["bias", ones([1])],
      ]);
      expect(() => loadWeights(layer, weights)).toThrow("weight  int8 in the file: quantized weights");
    }));

  test("says how many more there are when there are too many to read", () =>
    scope(() => {
      const many = new Map(Array.from({ length: 50 }, (_, i) => [`w${i}`, ones([1])] as const));
      using layer = new Linear(1, 1);
      expect(() => loadWeights(layer, many)).toThrow(
        /52 weights of the weights do not fit[\s\S]*… and 12 more$/,
      );
    }));
});

describe("copyWeights", () => {
  test("makes a copy that is independent, and writes into one that has values", () =>
    scope(() => {
      using source = new Linear(2, 2);
      using copy = new Linear(2, 2);
      initialize(source, new Generator(1));
      copyWeights(source, copy);
      const values = source.weight.toNumbers();
      source.weight.zero_();
      expect(copy.weight.toNumbers()).toEqual(values);
      copyWeights(source, copy);
      expect(copy.weight.toNumbers()).toEqual([0, 0, 0, 0]);
    }));

  test("names what the source lacks", () =>
    scope(() => {
      using source = new Linear(2, 2, { bias: false });
      using copy = new Linear(2, 2);
      initialize(source, new Generator(1));
      expect(() => copyWeights(source, copy)).toThrow("bias is not in Linear");
    }));
});
