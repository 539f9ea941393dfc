// @ts-check
// Writes packages/torch/src/ops.gen.ts from the dispatcher's own schemas, so that types cannot drift from the library.
// `node scripts/gen-ops.mjs` writes; with --check it only compares and exits 1 on a difference.
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { native } from "../native/lib/index.js";
import { NOTES, SENTENCES } from "./operator-docs.mjs";

/**
 * The operators offered: `name overload overload …` (no overload: the plain one). Several overloads become one function; the first
 * positional argument in which they differ decides at run time (a number takes the Scalar one, a missing one takes the shorter).
 */
const OPERATORS = `
add Tensor Scalar; sub Tensor Scalar; mul Tensor Scalar; div Tensor Scalar; pow Tensor_Tensor Tensor_Scalar; neg; abs; sqrt; rsqrt; exp; log; square
reciprocal; floor; round; sign; sin; cos; tanh; sigmoid; log_sigmoid; softplus; erf; clamp; minimum; maximum; quantile scalar; lerp Scalar Tensor; addcmul; addcdiv
remainder Tensor Scalar; atan2
add_ Tensor Scalar; sub_ Tensor Scalar; mul_ Tensor Scalar; div_ Tensor Scalar; lerp_ Scalar Tensor; addcmul_; addcdiv_; clamp_; zero_; fill_ Scalar
copy_; sqrt_; neg_; exp_
bucketize Tensor; eq Tensor Scalar; ne Tensor Scalar; lt Tensor Scalar; le Tensor Scalar; gt Tensor Scalar; ge Tensor Scalar
logical_and; logical_or; logical_not; isnan; isinf; isfinite; where self; masked_fill Scalar; masked_select
sum = dim_IntList; mean = dim; var correction; std correction; amax; amin; argmax; argmin; all = dim; any = dim; max; min; prod; cumsum; cumprod
linalg_vector_norm; logsumexp; softmax int; log_softmax int; topk; sort; argsort
view; reshape; flatten using_ints; permute; transpose int; unsqueeze; squeeze dim; expand; expand_as; repeat; repeat_interleave self_int
contiguous; as_strided; narrow; select int; slice Tensor; index_select; index_add; gather; scatter src; chunk; split Tensor; unbind int; cat; stack; flip; roll
tril; triu; pad; constant_pad_nd; clone; detach; diagonal; unfold; nonzero; unflatten int; movedim int; pixel_shuffle; pixel_unshuffle
linear; conv2d; conv_transpose2d input; group_norm; layer_norm; rms_norm; embedding; silu; gelu; relu; leaky_relu; scaled_dot_product_attention
upsample_nearest2d; upsample_bicubic2d; upsample_bilinear2d; _upsample_bicubic2d_aa; avg_pool2d; adaptive_avg_pool2d; max_pool2d; l1_loss; mse_loss
smooth_l1_loss; affine_grid_generator; grid_sampler; binary_cross_entropy_with_logits; cross_entropy_loss; dropout
matmul; mm; bmm; baddbmm; addmm; addbmm; einsum; outer; dot; cosine_similarity; cdist
linspace; arange start_step; zeros; ones; full; empty memory_format; eye; tril_indices; zeros_like; ones_like; empty_like; full_like
randn generator; rand generator; randint low_generator; randperm generator; multinomial; bernoulli; normal_; uniform_
_fused_adamw_; _foreach_norm Scalar; _foreach_mul_ Scalar; _foreach_add_ Scalar; _foreach_lerp_ Scalar; _foreach_copy_; _to_copy; _amp_foreach_non_finite_check_and_unscale_; _amp_update_scale_
`;

const target = fileURLToPath(new URL("../packages/torch/src/ops.gen.ts", import.meta.url));

/** @typedef {{ name: string, type: string, optional: boolean, keyword: boolean, required: boolean }} Parameter */
/**
 * @typedef {{ constant: string, aten: string, overload: string, parameters: Parameter[], returns: string[], inPlace: boolean }} Overload
 */

/** @param {string} name */
const camel = (name) =>
  name.replace(/(?<=[a-zA-Z0-9])_([a-z0-9])/g, (_, /** @type {string} */ letter) => letter.toUpperCase());

/** Splits at commas outside brackets and quotes. @param {string} text */
function splitArguments(text) {
  const parts = [];
  let depth = 0;
  let start = 0;
  let quoted = false;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (c === '"') quoted = !quoted;
    if (quoted) continue;
    if (c === "[" || c === "(") depth++;
    if (c === "]" || c === ")") depth--;
    if (c === "," && depth === 0) {
      parts.push(text.slice(start, i).trim());
      start = i + 1;
    }
  }
  const last = text.slice(start).trim();
  if (last) parts.push(last);
  return parts;
}

/** @param {string} type */
const bare = (type) => type.replace(/\([a-z! |*>-]*\)/g, "");

/** @type {Map<string, string>} */
const schemas = new Map();
for (const schema of native.schemas()) {
  const name = /^aten::([^(]+)\(/.exec(schema)?.[1];
  if (name) schemas.set(name, schema);
}

/** @param {string} aten @param {string} overload @returns {Overload} */
function parse(aten, overload) {
  const key = overload ? `${aten}.${overload}` : aten;
  const schema = schemas.get(key);
  if (!schema) throw new Error(`libtorch has no aten::${key}`);
  const match = /^aten::[^(]+\((.*)\) -> (.*)$/.exec(schema);
  if (!match) throw new Error(`cannot read ${schema}`);
  let keyword = false;
  /** @type {Parameter[]} */
  const parameters = [];
  for (const part of splitArguments(match[1] ?? "")) {
    if (part === "*") {
      keyword = true;
      continue;
    }
    const [left, ...defaults] = part.split("=");
    const at = (left ?? "").lastIndexOf(" ");
    let type = bare((left ?? "").slice(0, at));
    const optional = type.endsWith("?");
    if (optional) type = type.slice(0, -1);
    parameters.push({
      name: (left ?? "").slice(at + 1),
      type,
      optional,
      keyword,
      required: !optional && defaults.length === 0,
    });
  }
  const returns = bare(match[2] ?? "").replace(/^\((.*)\)$/, "$1");
  const results = splitArguments(returns).map((part) => part.split(" ")[0] ?? "");
  const inPlace = /\(a!\)/.test(match[2] ?? "") || (results.length === 0 && aten.endsWith("_"));
  return {
    constant: camel(`op_${aten}${overload ? `_${overload}` : ""}`),
    aten,
    overload,
    parameters,
    returns: results,
    inPlace,
  };
}

/** Words of integers that stand for a choice, by the parameter's name: the type and what turns a word into the integer. */
const CHOICES = new Map([
  ["reduction", ["Reduction", "reductionCode"]],
  ["interpolation_mode", ["GridInterpolation", "gridInterpolationCode"]],
  ["padding_mode", ["GridPadding", "gridPaddingCode"]],
]);

/** Words that an operator takes as text. */
const WORDS = new Map([
  ["approximate", '"none" | "tanh"'],
  ["interpolation", '"linear" | "lower" | "higher" | "midpoint" | "nearest"'],
  ["mode", '"constant" | "reflect" | "replicate" | "circular"'],
]);

/** @param {Parameter} parameter */
function typeOf({ type, name }) {
  if (name === "dtype") return "DType";
  const choice = CHOICES.get(name);
  if (type === "int" && choice) return choice[0] ?? "";
  const words = WORDS.get(name);
  if (type === "str" && words) return words;
  if (type === "Tensor") return "Tensor";
  if (type === "Tensor[]") return "readonly Tensor[]";
  if (/^(Sym)?Int\[\d+\]$|^int\[\d+\]$|^float\[\d+\]$/.test(type)) return "number | readonly number[]";
  if (/^((Sym)?Int|int|float|Scalar)\[\]$/.test(type)) return "readonly number[]";
  if (type === "bool") return "boolean";
  if (type === "str") return "string";
  if (type === "Device") return "string";
  if (type === "Generator") return "Generator";
  if (type === "ScalarType") return "DType";
  if (type === "MemoryFormat") return "MemoryFormat";
  if (["SymInt", "int", "float", "Scalar"].includes(type)) return "number";
  throw new Error(`no TypeScript type for ${type} ${name}`);
}

const HIDDEN = new Set(["layout", "pin_memory", "non_blocking", "out"]);
const FACTORIES = new Set(["linspace", "arange", "zeros", "ones", "full", "empty", "eye", "randn", "rand"]);
const RESERVED = new Set(["var"]); // a method may be called so, a function may not
const INTEGER_FACTORIES = new Set(["randint", "randperm"]);

/**
 * Expression that turns a TypeScript value into what the addon takes.
 *
 * where: of the function, for its errors; wanted: what the argument may be besides.
 * @param {Parameter} parameter @param {string} value @param {string} where @param {string} [wanted]
 */
function convert(parameter, value, where, wanted) {
  const names = `"${where}", "${camel(parameter.name)}"`;
  const type = typeOf(parameter);
  const choice = CHOICES.get(parameter.name);
  if (choice?.[0] === type) return `${choice[1]}(${value})`;
  switch (type) {
    case "Tensor":
      if (parameter.optional) return `handleIfAny(${value}, ${names})`;
      return `handleOf(${value}, ${names}${wanted ? `, "${wanted}"` : ""})`;
    case "readonly Tensor[]":
      return `${parameter.optional ? `${value} && ` : ""}handlesOf(${value}, ${names})`;
    case "DType":
      return parameter.optional ? `${value} && dtypeCode(${value})` : `dtypeCode(${value})`;
    case "MemoryFormat":
      return `${value} && memoryFormatCode(${value})`;
    case "Generator":
      return `generatorHandle(${value}, "${where}")`;
    default:
      return value;
  }
}

/** @param {Overload} overload */
function resultOf(overload) {
  if (overload.inPlace) return { type: "void", wrap: (/** @type {string} */ call) => call };
  const types = overload.returns.map((r) =>
    r === "Tensor" ? "Tensor" : r === "Tensor[]" ? "Tensor[]" : r === "bool" ? "boolean" : "number",
  );
  if (types.length === 1) {
    if (types[0] === "Tensor")
      return { type: "Tensor", wrap: (/** @type {string} */ call) => `wrap(${call})` };
    if (types[0] === "Tensor[]")
      return { type: "Tensor[]", wrap: (/** @type {string} */ call) => `wrapAll(${call})` };
    return { type: types[0] ?? "void", wrap: (/** @type {string} */ call) => `${call} as ${types[0]}` };
  }
  return {
    type: `[${types.join(", ")}]`,
    wrap: (/** @type {string} */ call) => `wrapAll(${call}) as [${types.join(", ")}]`,
  };
}

/** @param {string} line */
function generate(line) {
  const words = line.trim().split(/\s+/);
  const aten = words[0] ?? "";
  const names = words.length === 1 ? [""] : words.slice(1).map((w) => (w === "=" ? "" : w));
  const overloads = names.map((overload) => parse(aten, overload));
  // `alpha` is keyword-only in add.Tensor and positional in add.Scalar: once an option, always an option.
  const keywordNames = new Set(
    overloads.flatMap((o) => o.parameters.filter((p) => p.keyword).map((p) => p.name)),
  );
  for (const p of overloads.flatMap((o) => o.parameters)) p.keyword ||= keywordNames.has(p.name);
  const first = /** @type {Overload} */ (overloads[0]);
  const name = camel(aten);
  const isMethod = first.parameters[0]?.name === "self" && first.parameters[0].type === "Tensor";
  // The widest overload gives the signature; where types differ, both are allowed.
  const widest = overloads.reduce((a, b) => (b.parameters.length > a.parameters.length ? b : a));
  const positional = widest.parameters.filter(
    (p) => !p.keyword && !HIDDEN.has(p.name) && !(isMethod && p.name === "self"),
  );
  const keywords = [
    ...new Map(
      overloads.flatMap((o) =>
        o.parameters.filter((p) => p.keyword && !HIDDEN.has(p.name)).map((p) => [p.name, p]),
      ),
    ).values(),
  ];
  const signature = positional.map((p) => {
    const here = overloads.map((o) => o.parameters.find((q) => q.name === p.name));
    const types = [...new Set(here.filter((q) => q !== undefined).map(typeOf))];
    const optional = !p.required || here.some((q) => q === undefined);
    return {
      name: camel(p.name === "self" ? "self" : p.name),
      type: types.join(" | ") + (p.optional ? " | null" : ""),
      optional,
    };
  });
  // A required argument behind an optional one cannot be left out in TypeScript either.
  let required = false;
  for (const p of signature.toReversed()) {
    if (!p.optional) required = true;
    else if (required) p.optional = false;
  }
  const factory = FACTORIES.has(aten) ? '"float32"' : INTEGER_FACTORIES.has(aten) ? '"int64"' : undefined;
  const parametersText = signature.map((p) => `${p.name}${p.optional ? "?" : ""}: ${p.type}`);
  if (keywords.length > 0) {
    const needed = keywords.some((p) => p.required);
    const fields = keywords.map((p) => `${camel(p.name)}${p.required ? "" : "?"}: ${typeOf(p)}`).join("; ");
    parametersText.push(`options: { ${fields} }${needed ? "" : " = {}"}`);
  }
  /** @param {Overload} overload */
  const callOf = (overload) => {
    const values = overload.parameters.map((p) => {
      if (HIDDEN.has(p.name)) return "undefined";
      if (isMethod && p.name === "self") return "this.handle";
      if (!p.keyword) {
        const differs =
          new Set(
            overloads.map((o) => o.parameters.find((q) => q.name === p.name)).map((q) => q && typeOf(q)),
          ).size > 1;
        const value = camel(p.name);
        const cast =
          differs && typeOf(p) === "Tensor"
            ? `(${value} as Tensor)`
            : differs && typeOf(p) !== "Tensor"
              ? `(${value} as ${typeOf(p)})`
              : value;
        return convert(p, cast, name, differs ? "a Tensor or a number" : undefined);
      }
      if (factory && p.name === "dtype") return `dtypeCode(options.dtype ?? ${factory})`;
      return convert(p, `options.${camel(p.name)}`, name);
    });
    while (values.length > 0 && values.at(-1) === "undefined") values.pop();
    return resultOf(overload).wrap(`native.call(${[overload.constant, ...values].join(", ")})`);
  };
  const result = resultOf(first);
  /** @type {string} */
  let body;
  if (overloads.length === 1) body = callOf(first);
  else {
    const [a, b] = /** @type {[Overload, Overload]} */ (overloads);
    const differing = widest.parameters.find((p) => {
      const x = a.parameters.find((q) => q.name === p.name);
      const y = b.parameters.find((q) => q.name === p.name);
      return !x || !y || typeOf(x) !== typeOf(y);
    });
    if (!differing || overloads.length !== 2) throw new Error(`cannot tell the overloads of ${aten} apart`);
    const argument = camel(differing.name);
    const inA = a.parameters.find((q) => q.name === differing.name);
    const inB = b.parameters.find((q) => q.name === differing.name);
    const test = !inA || !inB ? `${argument} === undefined` : `typeof ${argument} === "number"`;
    const [then, otherwise] = !inA ? [a, b] : !inB ? [b, a] : typeOf(inA) === "number" ? [a, b] : [b, a];
    body = `${test} ? ${callOf(then)} : ${callOf(otherwise)}`;
  }
  const sentence = SENTENCES[aten];
  if (!sentence) throw new Error(`scripts/operator-docs.mjs has no sentence for ${aten}`);
  const notes = positional
    .filter((p) => CHOICES.get(p.name)?.[0] === typeOf(p))
    .map((p) => `${camel(p.name)}: ${NOTES[p.name]}`);
  const docs = `  /** ${[sentence, ...notes].join(" ")}<br>${overloads.map((o) => `\`${schemas.get(o.overload ? `${o.aten}.${o.overload}` : o.aten)?.replaceAll("*/", "* /")}\``).join("<br>")} */`;
  const constants = overloads.map(
    (o) => `const ${o.constant} = native.op("aten::${o.aten}", "${o.overload}");`,
  );
  const list = parametersText.join(", ");
  const checked = keywords.length > 0 ? `checkOptions("${name}", options);\n` : "";
  if (isMethod) {
    const self = first.inPlace;
    const method = self
      ? `${docs}\n  ${name}(${list}): this {\n    ${checked && `${checked}    `}${body};\n    return this;\n  }`
      : `${docs}\n  ${name}(${list}): ${result.type} {\n    ${checked && `${checked}    `}return ${body};\n  }`;
    const names = [...signature.map((p) => p.name), ...(keywords.length > 0 ? ["options"] : [])];
    const free = `${docs.slice(2)}\nexport const ${name} = (self: Tensor${list ? `, ${list}` : ""}): ${self ? "Tensor" : result.type} => tensorOf(self, "${name}").${name}(${names.join(", ")});`;
    return { constants, method, free: RESERVED.has(name) ? undefined : free };
  }
  const free = `${docs.slice(2)}\nexport function ${name}(${list}): ${result.type} {\n  ${checked && `${checked}  `}${result.type === "void" ? "" : "return "}${body};\n}`;
  return { constants, method: undefined, free };
}

const generated = OPERATORS.split(/[;\n]/)
  .map((line) => line.trim())
  .filter((line) => line !== "")
  .map(generate);

const source = `// Generated by scripts/gen-ops.mjs from libtorch's schemas. Do not edit; run \`npm run gen\`.
import { native } from "@spo/native";
import { checkOptions } from "./arguments.js";
import {
  type GridInterpolation,
  type GridPadding,
  gridInterpolationCode,
  gridPaddingCode,
  type Reduction,
  reductionCode,
} from "./choices.js";
import { type DType, dtypeCode, type MemoryFormat, memoryFormatCode } from "./dtype.js";
import { type Generator, generatorHandle } from "./generator.js";
import { handleIfAny, handleOf, handlesOf, tensorOf, wrap, wrapAll } from "./handle.js";
import type { Tensor } from "./tensor.js";

${generated.flatMap((g) => g.constants).join("\n")}

/** The operators whose first argument is a tensor, as methods. */
export abstract class TensorMethods {
  /** @internal Index in the engine's table; 0 once disposed. */
  abstract handle: number;

${generated
  .map((g) => g.method)
  .filter((m) => m !== undefined)
  .join("\n\n")}
}

${generated
  .map((g) => g.free)
  .filter((f) => f !== undefined)
  .join("\n\n")}
`;

if (process.argv.includes("--check")) {
  const current = readFileSync(target, "utf8");
  if (current !== source) {
    process.stderr.write("packages/torch/src/ops.gen.ts is stale: run `npm run gen`.\n");
    process.exit(1);
  }
} else {
  writeFileSync(target, source);
  process.stderr.write(`wrote ${generated.length} operators\n`);
}
