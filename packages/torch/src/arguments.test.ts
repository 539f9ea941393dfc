// What a caller without types reads: the functions are called as JavaScript does.
import { describe, expect, test } from "vitest";
import * as torch from "./index.js";
import {
  Adafactor,
  AdamW,
  clipGradNorm,
  Ema,
  Generator,
  Linear,
  LossScaler,
  randn,
  scope,
  tensor,
} from "./index.js";

// biome-ignore lint/suspicious/noExplicitAny: wrong types are the subject
type Untyped = any;
const x: Untyped = tensor([1, 2]);
const module: Untyped = new Linear(2, 2);
const any: Untyped = torch;

describe("an argument of the wrong type is called that", () => {
  test.each<[name: string, call: () => unknown, message: string]>([
    [
      "a string for a tensor or number",
      () => x.add("1"),
      "add: argument 'other' must be a Tensor or a number, not a string",
    ],
    ["in place", () => x.mul_(true), "mul_: argument 'other' must be a Tensor or a number, not a boolean"],
    ["null", () => x.sub(null), "sub: argument 'other' must be a Tensor or a number, not null"],
    ["nothing", () => x.add(), "add: argument 'other' is missing: it must be a Tensor or a number"],
    ["a bigint", () => x.add(1n), "add: argument 'other' must be a Tensor or a number, not a bigint"],
    ["a list for a tensor", () => x.matmul([1, 2]), "matmul: argument 'other' must be a Tensor, not a list"],
    [
      "a generator for a tensor",
      () => x.add(new Generator(1)),
      "add: argument 'other' must be a Tensor or a number, not a Generator",
    ],
    [
      "what a function is given first",
      () => any.silu(3),
      "silu: argument 'self' must be a Tensor, not a number",
    ],
    [
      "a function's tensor",
      () => any.linear(x, "w"),
      "linear: argument 'weight' must be a Tensor, not a string",
    ],
    [
      "one that may be left out",
      () => any.linear(x, tensor([[1, 2]]), 0),
      "linear: argument 'bias' must be a Tensor, not a number",
    ],
    [
      "a tensor for a list",
      () => any.cat(x),
      "cat: argument 'tensors' must be a list of Tensors, not a Tensor",
    ],
    ["one of a list", () => any.cat([x, 3]), "cat: argument 'tensors[1]' must be a Tensor, not a number"],
    [
      "a seed for a generator",
      () => any.randn([2], { generator: 3 }),
      "randn: argument 'generator' must be a Generator, not a number",
    ],
    ["a value for the options", () => x.add(1, 2), "add: the options must be an object, not a number"],
    ["a number", () => x.softplus("1"), "aten::softplus: argument 'beta': expected a number, not a string"],
    ["an integer", () => x.softmax(0.5), "aten::softmax.int: argument 'dim': expected an integer, not 0.5"],
    [
      "a boolean",
      () => x.sum([0], 1),
      "aten::sum.dim_IntList: argument 'keepdim': expected a boolean, not 1",
    ],
    [
      "an element of a list",
      () => x.reshape([1, "2"]),
      "aten::reshape: argument 'shape': expected an integer, not a string",
    ],
    ["a dtype", () => x.to({ dtype: "float31" }), "unknown dtype float31"],
    ["a dtype for the options", () => x.to("float16"), "to: the options must be an object, not a string"],
    ["a memory format", () => x.clone({ memoryFormat: "nhwc" }), "unknown memory format nhwc"],
    [
      "a word",
      () => any.mseLoss(x, x, "average"),
      `argument 'reduction' must be one of none, mean, sum, not "average"`,
    ],
    [
      "a number for a word",
      () => any.mseLoss(x, x, 3),
      "argument 'reduction' must be one of none, mean, sum, not 3",
    ],
    [
      "data",
      () => any.tensor({ a: 1 }),
      "tensor: the data must be numbers, in lists or a typed array, not an object",
    ],
    [
      "data in a list",
      () => any.tensor([1, "2"]),
      "tensor: the data must be numbers, in lists or a typed array, not a string",
    ],
    ["a gradient", () => x.sum().backward(1), "backward: argument 'gradient' must be a Tensor, not a number"],
    [
      "a module's size",
      () => new (Linear as Untyped)("2", 2),
      "Linear: argument 'inFeatures' must be an integer, not a string",
    ],
    [
      "a size below what is possible",
      () => new torch.Conv2d(1, 1, 0),
      "Conv2d: argument 'kernelSize' must be an integer from 1 on, not 0",
    ],
    [
      "what a module is called with",
      () => module.forward("x"),
      "linear: argument 'input' must be a Tensor, not a string",
    ],
    [
      "a device for a module's options",
      () => module.to("cpu"),
      "Linear.to: the options must be an object, not a string",
    ],
    [
      "weights",
      () => any.loadWeights(module, {}),
      "loadWeights: argument 'weights' must be a Map of Tensors by name, not an object",
    ],
    [
      "a seed",
      () => any.initialize(module, 1),
      "initialize: argument 'generator' must be a Generator, not a number",
    ],
    [
      "a module for its parameters",
      () => new (AdamW as Untyped)(module, { lr: 1 }),
      "AdamW: argument 'parameters' must be a list of Tensors, as module.parameters() gives it, not a Linear",
    ],
    [
      "no learning rate",
      () => new (AdamW as Untyped)([x], {}),
      "AdamW: argument 'lr' is missing: it must be a number",
    ],
    [
      "a learning rate for the options",
      () => new (AdamW as Untyped)([x], 1e-3),
      "AdamW: the options must be an object, not a number",
    ],
    [
      "a learning rate as text",
      () => new (Adafactor as Untyped)([x], { lr: "1e-3" }),
      "Adafactor: argument 'lr' must be a number, not a string",
    ],
    [
      "parameters of a clip",
      () => clipGradNorm(x, 1),
      "clipGradNorm: argument 'parameters' must be a list of Tensors, not a Tensor",
    ],
    [
      "a decay",
      () => new (Ema as Untyped)([x], 0.9),
      "Ema: argument 'decayAt' must be a function, not a number",
    ],
    [
      "a loss",
      () => new LossScaler().scale("1" as Untyped),
      "LossScaler.scale: argument 'loss' must be a Tensor, not a string",
    ],
  ])("%s", (_, call, message) => {
    scope(() => {
      let fault: unknown;
      try {
        call();
      } catch (error) {
        fault = error;
      }
      expect((fault as Error | undefined)?.message).toContain(message);
    });
  });
});

test("words and numbers of a reduction mean the same", () =>
  scope(() => {
    const [a, b] = [tensor([1, 3]), tensor([0, 0])];
    const losses = (["mean", 1, undefined, "sum", 2] as const).map((how) => torch.mseLoss(a, b, how).item());
    expect(losses).toEqual([5, 5, 5, 10, 10]);
    expect(torch.mseLoss(a, b, "none").toNumbers()).toEqual([1, 9]);
    expect(randn([2], { generator: new Generator(1) }).shape).toEqual([2]);
  }));
