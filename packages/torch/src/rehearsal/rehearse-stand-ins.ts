// libtorch's own `meta` lacks some operators, and splits others in ways that a CPU does not. The stand-ins here give results of the same
// shape, keep the same tensors for backward, and make gradients of the same size. There are no numbers on `meta`.
import { native } from "@spo/native";
import { dtypeCode, memoryFormatCode } from "../dtype.js";
import { isSmallKernel } from "../nn/kept-kernels.js";
import type { Call } from "./intercept-calls.js";

type StandIn = (call: Call, args: readonly unknown[]) => number;

const op = (name: string, overload = ""): number => native.op(`aten::${name}`, overload);
const [MUL, ADD, SUM, SILU, EXP_] = [
  op("mul", "Tensor"),
  op("add", "Tensor"),
  op("sum", "dim_IntList"),
  op("silu"),
  op("exp_"),
];
const [SLICE, RESHAPE, EXPAND, CLONE] = [op("slice", "Tensor"), op("reshape"), op("expand"), op("clone")];
const [EMPTY_LIKE, NEW_EMPTY, INDEX] = [op("empty_like"), op("new_empty"), op("index", "Tensor")];
const [CLAMP, MEAN, TO_COPY, ZEROS] = [op("clamp"), op("mean"), op("_to_copy"), op("zeros")];
const TIMES = op("mul", "Scalar");
const [LINEAR, MATMUL, TRANSPOSE] = [op("linear"), op("matmul"), op("transpose", "int")];

/** Stand-ins by operator, for tensors on `meta`. */
export const standIns: ReadonlyMap<number, StandIn> = new Map([
  [op("conv2d"), convolution],
  [
    native.op("spo::int8_conv2d", ""), // beside the kernel in full stands its copy in oneDNN's order
    (call, [x, codes, , ...rest]) =>
      chain(call, (make) => {
        make(EMPTY_LIKE, codes, native.dtype(x as number));
        return convolution(call, [x, codes, ...rest]);
      }),
  ],
  [native.op("spo::low_rank_linear", ""), lowRankLinear],
  [op("scaled_dot_product_attention"), attention],
  // These keep their input for backward and make one tensor of its size there, as SiLU does.
  [op("group_norm"), (call, [x]) => call(SILU, x) as number],
  [op("layer_norm"), (call, [x]) => call(SILU, x) as number],
  [
    native.op("spo::group_norm", ""), // with SiLU it is two operators on most devices, so that is what is planned for
    (call, [x, , , , , silu]) =>
      chain(call, (make) => (silu === true ? make(SILU, make(SILU, x)) : make(SILU, x))),
  ],
  [op("log_sigmoid"), (call, [x]) => call(SILU, x) as number],
  [
    op("grid_sampler"), // of images that nothing learns from
    (call, [x, grid]) => {
      const [, height, width] = native.sizes(grid as number) as [number, number, number];
      return call(NEW_EMPTY, x, [...native.sizes(x as number).slice(0, 2), height, width]) as number;
    },
  ],
  [op("max"), (call, [x]) => call(NEW_EMPTY, x, []) as number], // of all
  [op("quantile", "scalar"), (call, [x, , dim, keepdim]) => call(SUM, x, [dim], keepdim) as number],
  [op("flip"), (call, [x]) => call(CLONE, x) as number],
  [
    op("clamp"), // whose backward is what is lacking
    (call, [x, ...bounds]) =>
      (native.requiresGrad(x as number) ? call(SILU, x) : call(CLAMP, x, ...bounds)) as number,
  ],
  [
    op("binary_cross_entropy_with_logits"),
    (call, [x, target]) => chain(call, (make) => make(MEAN, make(MUL, make(SILU, x), target))),
  ],
  [op("roll"), (call, [x]) => call(CLONE, x) as number],
  [op("abs"), (call, [x]) => call(SILU, x) as number], // keeps its input, as those above
  [
    op("where", "self"),
    (call, [condition, x, other]) => chain(call, (make) => make(MUL, make(MUL, x, other), condition)),
  ],
  [op("embedding"), (call, [weight, ids]) => call(INDEX, weight, [ids]) as number],
  [
    op("index_select"),
    (call, [x, dim, places]) => {
      const axis = (dim as number) < 0 ? (dim as number) + native.sizes(x as number).length : (dim as number);
      return call(INDEX, x, [...Array<null>(axis).fill(null), places]) as number;
    },
  ],
  [
    TO_COPY, // what is read of a computation without numbers is 0
    (call, [x, ...options]) =>
      (options[2] === "cpu" && native.device(x as number) === "meta"
        ? call(ZEROS, native.sizes(x as number), options[0] ?? native.dtype(x as number), undefined, "cpu")
        : call(TO_COPY, x, ...options)) as number,
  ],
] satisfies [number, StandIn][]);

/** Numbers of a kernel that the addon's convolution makes at a time; `kMostTransformed` of its convolution.h. */
const MOST_TRANSFORMED = 22 << 18;

/** Places of a tile along an axis where the kernel is not small; `has_large_tiles` of the addon's convolution.h. */
function placesAcross(height: number, width: number): number {
  const ofWeights = 32;
  const tiles = (side: number): number => Math.ceil(height / side) * Math.ceil(width / side);
  return 36 * (tiles(4) + ofWeights) < 16 * (tiles(2) + ofWeights) ? 6 : 4;
}

/**
 * A corner of the input times the kernel, summed and spread out: a product keeps the storage of what it views.
 *
 * The product is as large as the kernel, and so is its gradient: as large as what oneDNN makes and drops in forward and again in backward,
 * the kernel in its own order. Of a large kernel 3×3 that does not learn, what the addon's own convolution makes in its place is 16/9 or
 * 36/9 as large, or the part that it makes at a time. Unless channels come last libtorch copies input and output too. A single thread's 1×1
 * convolution is a matrix product without copies.
 *
 * x [b, c, h, w], weight [o, c, k, k] → [b, o, h', w'], channels last where x or weight is.
 */
function convolution(call: Call, args: readonly unknown[]): number {
  const [x, weight, bias, stride = 1, padding = 0] = args as [
    number,
    number,
    number?,
    (number | number[])?,
    (number | number[])?,
  ];
  const [rows, channels, height, width] = native.sizes(x) as [number, number, number, number];
  const [out, , kernelHeight, kernelWidth] = native.sizes(weight) as [number, number, number, number];
  const at = (value: number | number[], axis: number): number =>
    typeof value === "number" ? value : (value[axis] as number);
  const extent = (size: number, kernel: number, axis: number): number =>
    Math.floor((size + 2 * at(padding, axis) - kernel) / at(stride, axis)) + 1;
  const shape = [rows, out, extent(height, kernelHeight, 0), extent(width, kernelWidth, 1)];
  const point = kernelHeight === 1 && kernelWidth === 1;
  const channelsLast = native.strides(x)[1] === 1 || (!point && native.strides(weight)[1] === 1);
  const copies = !(point && rows < 16 && native.threads() === 1);
  const keepsSize = kernelHeight === 3 && kernelWidth === 3 && shape[2] === height && shape[3] === width;
  const transforms = // as has_winograd_kernel of the addon's convolution.h
    channelsLast &&
    keepsSize &&
    native.dtype(weight) === dtypeCode("float32") &&
    height * width >= (native.strides(weight)[1] === 1 ? 64 : Math.max(64, channels / 2, out / 2)) &&
    !isSmallKernel(channels, out) &&
    !native.requiresGrad(weight);
  return chain(call, (make) => {
    const corner = (handle: number, dims: readonly number[]): number =>
      dims.reduce((from, dim) => make(SLICE, from, dim, 0, 1), handle);
    const places = placesAcross(height, width);
    const atATime = Math.min(out, Math.max(32, Math.floor(MOST_TRANSFORMED / (places ** 2 * channels))));
    const summed = (of: number): number =>
      transforms
        ? make(SUM, make(TIMES, make(EXPAND, of, [atATime, channels, places, places]), 1), [0, 1, 2, 3])
        : make(SUM, make(MUL, of, weight), [1, 2, 3]);
    let product = copies
      ? make(EXPAND, make(RESHAPE, summed(corner(x, [2, 3, 0])), [1, transforms ? 1 : out, 1, 1]), [
          1,
          out,
          1,
          1,
        ])
      : make(MUL, corner(x, [1, 2, 3]), make(RESHAPE, corner(weight, [1, 2, 3]), [1, out, 1, 1]));
    if (native.requiresGrad(x) && recordsGraph()) {
      // Libtorch's convolution keeps its input even where the kernel does not learn. So does a product with something that does.
      const learns = make(NEW_EMPTY, x, [1]);
      native.setRequiresGrad(learns, true);
      product = make(ADD, product, make(MUL, corner(x, [1, 2, 3]), learns));
    }
    if (typeof bias === "number") product = make(ADD, product, make(RESHAPE, bias, [1, out, 1, 1]));
    const format = memoryFormatCode(channelsLast ? "channels_last" : "contiguous");
    const result = make(CLONE, make(EXPAND, product, shape), format);
    if (copies && !channelsLast) for (const map of [x, result]) make(EMPTY_LIKE, map);
    return result;
  });
}

/**
 * Attention as the CPU does it, block by block: without the matrix of weights. Keeps query, key, value and result.
 *
 * query [b, heads, n, d], key and value [b, heads, m, d] → as query.
 */
function attention(call: Call, args: readonly unknown[]): number {
  const [query, key, value] = args as [number, number, number];
  if (![query, key, value].some((handle) => native.requiresGrad(handle)) || !recordsGraph())
    return call(EMPTY_LIKE, query) as number;
  return chain(call, (make) => {
    const result = make(MUL, query, make(SUM, make(MUL, key, value), [-2], true));
    call(EXP_, result);
    return result;
  });
}

function recordsGraph(): boolean {
  const on = native.setGradMode(true);
  native.setGradMode(on);
  return on;
}

/** By the operators that it is where it is not one, so that each of their products is counted. */
function lowRankLinear(_: Call, [x, down, up, ...rest]: readonly unknown[]): number {
  const [weight, bias, factor] = rest;
  return chain(native.call, (make) => {
    const as = (given: unknown, like: unknown): unknown => {
      const dtype = native.dtype(like as number);
      return native.dtype(given as number) === dtype ? given : make(TO_COPY, given, dtype);
    };
    const turned = (matrix: unknown): number => make(TRANSPOSE, matrix, 0, 1);
    const low = make(MATMUL, make(MATMUL, as(x, down), turned(down)), turned(up));
    const y = make(LINEAR, x, weight, bias);
    return make(ADD, y, as(low, y), factor);
  });
}

/** Makes tensors one from another and frees all but the last. */
function chain(call: Call, work: (make: (...args: Parameters<Call>) => number) => number): number {
  const made: number[] = [];
  let result: number | undefined;
  try {
    result = work((...args) => {
      const handle = call(...args) as number;
      made.push(handle);
      return handle;
    });
    return result;
  } finally {
    for (const handle of made) if (handle !== result) native.releaseOne(handle);
  }
}
