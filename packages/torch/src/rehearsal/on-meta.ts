// Runs a whole program on `meta`, to find out whether all of it is on one device.
import { native } from "@spo/native";
import { dtypeCode } from "../dtype.js";
import { interceptCalls } from "./intercept-calls.js";
import { standIns } from "./rehearse-stand-ins.js";

const op = (name: string): number => {
  const [base, overload = ""] = name.split(".") as [string, string?];
  return native.op(base.includes("::") ? base : `aten::${base}`, overload);
};

/** Operators whose `meta` kernels accept tensors of two devices, which all others refuse; with the places of their tensors. */
const CHECKED = new Map<number, { name: string; places: readonly number[] }>(
  Object.entries({
    linear: [0, 1, 2],
    conv2d: [0, 1, 2],
    group_norm: [0, 2, 3],
    layer_norm: [0, 2, 3],
    scaled_dot_product_attention: [0, 1, 2],
    matmul: [0, 1],
    cat: [0],
    stack: [0],
    embedding: [0, 1],
    abs: [0],
    binary_cross_entropy_with_logits: [0, 1],
    clamp: [0],
    flip: [0],
    roll: [0],
    gather: [0, 2],
    index_select: [0, 2],
    log_sigmoid: [0],
    grid_sampler: [0, 1],
    "where.self": [0, 1, 2],
    _fused_adamw_: [0, 1, 2, 3, 5],
    "spo::group_norm": [0, 2, 3],
    "spo::int8_linear": [0, 1, 2, 3],
    "spo::low_rank_linear": [0, 1, 2, 3, 4],
    "spo::int8_conv2d": [0, 1, 2, 3],
    max: [0],
    "quantile.scalar": [0],
    _to_copy: [0],
  }).map(([name, places]) => [op(name), { name, places }]),
);
/** Has no kernel on `meta`, and gives nothing. */
const FUSED_ADAMW = op("_fused_adamw_");
const FLOAT64 = dtypeCode("float64");

/**
 * Until it is disposed of, stand-ins replace the operators that `meta` lacks. Operators that are given tensors of `meta` and of another
 * device together throw, as they do on a GPU. So do those that return float64 there, which Apple's GPUs do not have, unless `float64` says
 * that the device has it. Every number that is read is 0.
 */
export function onMeta({ float64 = false }: { float64?: boolean } = {}): Disposable {
  const given = <T>(result: T): T => (float64 ? result : withoutFloat64(result));
  const calls = interceptCalls((call) => (index, ...args) => {
    const checked = CHECKED.get(index);
    const handles = checked?.places.flatMap((at) => args[at]).filter((x) => typeof x === "number") ?? [];
    if (!checked || !areOnMeta(checked.name, handles)) return given(call(index, ...args));
    if (index === FUSED_ADAMW) return null;
    return given(standIns.get(index)?.(call, args) ?? call(index, ...args));
  });
  const { item } = native;
  native.item = (handle) => (native.device(handle) === "meta" ? 0 : item(handle));
  return {
    [Symbol.dispose]: () => {
      native.item = item;
      calls[Symbol.dispose]();
    },
  };
}

/** What an operator returned. Throws an Error for float64 on `meta`. */
function withoutFloat64<T>(given: T): T {
  for (const handle of [given].flat()) {
    if (typeof handle === "number" && native.dtype(handle) === FLOAT64 && native.device(handle) === "meta")
      throw new Error("an operator gave float64 on the device, and not every device has it");
  }
  return given;
}

/** Whether all are. Throws an Error where some are and others are not. */
function areOnMeta(name: string, handles: readonly number[]): boolean {
  const devices = new Set(handles.map((handle) => native.device(handle)));
  if (devices.size > 1)
    throw new Error(
      `${name.includes("::") ? name : `aten::${name}`} was given tensors of ${[...devices].join(" and ")}`,
    );
  return devices.has("meta");
}
