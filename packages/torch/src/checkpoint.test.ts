import { native } from "@spo/native";
import { describe, expect, test } from "vitest";
import { throughEngine } from "./checkpoint.js";
import {
  autocast,
  checkpoint,
  Generator,
  gelu,
  grad,
  initialize,
  keep,
  Linear,
  layerNorm,
  liveTensors,
  noGrad,
  rand,
  randn,
  scope,
  type Tensor,
  tensor,
} from "./index.js";

const layers = [new Linear(6, 8), new Linear(8, 6)] as const;
for (const [i, layer] of layers.entries()) initialize(layer, new Generator(i));
const parameters = layers.flatMap((layer) => layer.parameters());
for (const layer of layers) layer.requiresGrad_();

/** Norm, two layers, residual: saves inputs, outputs and weights. */
const block = (x: Tensor): Tensor =>
  scope(() => x.add(layers[1].forward(gelu(layers[0].forward(layerNorm(x, [6]))).softmax(1))));

const input = (seed = 5): Tensor => {
  const x = randn([4, 6], { generator: new Generator(seed) });
  x.requiresGrad = true;
  return x;
};

/** Gradients of the block's parameters and input, by one backward. */
function gradients(through: (x: Tensor) => Tensor, backward = (loss: Tensor) => loss.backward()): number[][] {
  return scope(() => {
    const x = input();
    backward(through(through(x)).square().sum());
    const found = [x, ...parameters].map((p) => p.grad?.toNumbers() ?? []);
    for (const parameter of parameters) parameter.grad = undefined;
    return found;
  });
}

const plain = gradients(block);

/** As a GPU has it: the engine on threads of its own. */
const away = (loss: Tensor): void => throughEngine(() => native.backward([loss.handle], null, false, true));

describe("a checkpoint's gradients equal the plain graph's, bit for bit,", () => {
  test("of parameters and inputs", () => {
    expect(plain.every((g) => g.length > 0)).toBe(true);
    expect(gradients((x) => checkpoint(block, [x]))).toEqual(plain);
  });

  test("where the engine runs on another thread, and the function is called on this one all the same", () => {
    let calls = 0;
    const counted = (x: Tensor): Tensor => {
      calls++;
      return block(x);
    };
    expect(gradients((x) => checkpoint(counted, [x]), away)).toEqual(plain);
    expect(calls).toBe(4);
  });

  test("where the input is used outside too, and sums depend on their order", () => {
    const twice = (f: (x: Tensor) => Tensor) => (x: Tensor) =>
      f(x)
        .add(x.mul(0.3))
        .add(f(x.mul(1.7)));
    expect(gradients(twice((x) => checkpoint(block, [x])))).toEqual(gradients(twice(block)));
  });

  test("in a checkpoint in another", () => {
    const inner = (x: Tensor): Tensor => block(checkpoint(block, [block(x)]));
    expect(gradients((x) => checkpoint(inner, [x]))).toEqual(gradients((x) => block(block(block(x)))));
  });

  test("under autocast, which is off again by the time of backward", () => {
    const cast =
      (f: (x: Tensor) => Tensor) =>
      (x: Tensor): Tensor =>
        autocast({ dtype: "bfloat16" }, () => f(x));
    const half = gradients(cast(block));
    expect(half).not.toEqual(plain);
    expect(gradients(cast((x) => checkpoint(block, [x])))).toEqual(half);
    expect(
      gradients(
        cast((x) => checkpoint(block, [x])),
        away,
      ),
    ).toEqual(half);
  });

  test("with random numbers, and the generator goes on as without", () => {
    const run = (wrap: (f: (x: Tensor) => Tensor, x: Tensor, generator: Generator) => Tensor) => {
      const generator = new Generator(1);
      const noisy = (x: Tensor): Tensor => block(x).mul(rand([4, 6], { generator }));
      const found = gradients(
        (x) => wrap(noisy, x, generator),
        (loss) => {
          rand([3], { generator }).dispose();
          loss.backward();
        },
      );
      return { found, next: scope(() => rand([3], { generator }).toNumbers()) };
    };
    const expected = run((f, x) => f(x));
    expect(run((f, x, generator) => checkpoint(f, [x], { generators: [generator] }))).toEqual(expected);
  });

  test("by grad, twice over the same graph, and of a gradient", () =>
    scope(() => {
      const second = (f: (x: Tensor) => Tensor): number[][] => {
        const x = input();
        const y = f(x).square().sum();
        const [first] = grad([y], [x], { retainGraph: true });
        const [again] = grad([y], [x], { createGraph: true });
        const [curved] = grad([(again as Tensor).square().sum()], [x]);
        return [first, again, curved].map((t) => (t as Tensor).toNumbers());
      };
      expect(second((x) => checkpoint(block, [x]))).toEqual(second(block));
    }));
});

describe("a checkpoint", () => {
  test("calls its function once more, and not to the end", () =>
    scope(() => {
      let [begun, ended] = [0, 0];
      const fn = (x: Tensor): Tensor => {
        begun++;
        const y = block(x);
        const result = y.add(1);
        ended++;
        return result;
      };
      const loss = checkpoint(fn, [input()]).sum();
      expect([begun, ended]).toEqual([1, 1]);
      loss.backward();
      expect([begun, ended]).toEqual([2, 1]);
    }));

  test("calls its function once where no graph is recorded", () =>
    scope(() => {
      let calls = 0;
      noGrad(() =>
        checkpoint(
          (x) => {
            calls++;
            return block(x);
          },
          [input()],
        ),
      );
      expect(calls).toBe(1);
    }));

  test("gives whatever its function gives, and frees the rest", () => {
    const x = keep(input());
    const before = liveTensors();
    scope(() => {
      const { whole, parts } = checkpoint(
        (t) => ({ whole: block(t).mul(2), parts: [t.sum(), t.mean()] }),
        [x],
      );
      expect(whole.shape).toEqual([4, 6]);
      expect(parts.map((part) => part.shape)).toEqual([[], []]);
      expect(liveTensors()).toBe(before + 3);
    });
    expect(liveTensors()).toBe(before);
    x.dispose();
  });

  test("keeps the values of its inputs, whose handles may be disposed of", () =>
    scope(() => {
      const leaf = input();
      const loss = scope(() => checkpoint(block, [leaf.mul(2)]).sum());
      loss.backward();
      const direct = input();
      block(direct.mul(2)).sum().backward();
      expect(leaf.grad?.toNumbers()).toEqual(direct.grad?.toNumbers());
    }));

  test.each([
    ["this thread", (loss: Tensor) => loss.backward()],
    ["another thread", away],
  ])("throws from backward what its function throws, on %s, and leaves nothing behind", (_, backward) => {
    const x = keep(input());
    const before = liveTensors();
    const thrown = new Error("stop");
    let calls = 0;
    const run = (): void =>
      scope(() => {
        const fails = (t: Tensor): Tensor => {
          const y = block(t);
          if (++calls % 2 === 0) throw thrown;
          return y.exp();
        };
        backward(checkpoint(fails, [x]).sum());
      });
    expect(run).toThrow(thrown);
    expect(liveTensors()).toBe(before);
    expect(noGrad(() => 1)).toBe(1);
    scope(() => expect(x.mul(2).requiresGrad).toBe(true));
    x.dispose();
  });

  test("throws at once what its function throws the first time", () =>
    scope(() => {
      const thrown = new Error("first");
      expect(() =>
        checkpoint(() => {
          throw thrown;
        }, [input()]),
      ).toThrow(thrown);
    }));

  test("says when the function does other work the second time", () =>
    scope(() => {
      let calls = 0;
      const fewer = (x: Tensor): Tensor => (calls++ === 0 ? x.exp().exp() : x.exp());
      expect(() => checkpoint(fewer, [input()]).sum().backward()).toThrow("it saved fewer tensors");
      calls = 0;
      const other = (x: Tensor): Tensor => (calls++ === 0 ? x.exp() : x.narrow(0, 0, 2).exp());
      expect(() => checkpoint(other, [input()]).sum().backward()).toThrow(/other work the second time/);
    }));

  test("says when the function holds a tensor that was disposed of", () =>
    scope(() => {
      const held = tensor([2]);
      const loss = checkpoint((x) => x.mul(held).exp(), [input()]).sum();
      held.dispose();
      expect(() => loss.backward()).toThrow("disposed");
    }));

  test("refuses a gradient of its own inside, and allows another's", () =>
    scope(() => {
      const inside = (x: Tensor): Tensor => x.exp().mul(grad([x.exp().sum()], [x])[0] as Tensor);
      expect(() => checkpoint(inside, [input()])).toThrow("inside a checkpoint's function");
      const outer = input(7);
      const loss = outer.exp().sum();
      const other = (x: Tensor): Tensor => {
        if (outer.grad === undefined) loss.backward();
        return x.exp();
      };
      checkpoint(other, [input()]).sum().backward();
      expect(outer.grad?.toNumbers()).toEqual(outer.exp().toNumbers());
    }));

  test("leaves nothing behind over a thousand steps", () => {
    const x = keep(input());
    const step = (backward: (loss: Tensor) => void): void =>
      scope(() => {
        backward(checkpoint(block, [x]).sum());
        for (const parameter of [x, ...parameters]) parameter.grad = undefined;
      });
    step(away);
    const before = liveTensors();
    for (let i = 0; i < 1000; i++) step(i % 10 === 0 ? away : (loss) => loss.backward());
    expect(liveTensors()).toBe(before);
    x.dispose();
  });
});
