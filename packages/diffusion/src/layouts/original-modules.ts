// Modules of a transformer under the names of its original code, some of them several of ours in one.
import { cat, type Tensor } from "@spo/torch";
import type { LdmModel } from "./ldm-models.js";

/** A module of the original code, and ours that lie in it. */
export interface OriginalModule {
  readonly original: string;
  /** One below the other. */
  readonly ours: readonly string[];
  /** Rows of each of ours. Default: as many of one as of the other. */
  readonly rows?: readonly number[];
  /** Of a norm that the original gives (shift, scale) and ours (scale, shift). */
  readonly halvesSwapped?: boolean;
  /** What the original calls the weight. Default `weight`. */
  readonly weight?: string;
}

/** q, k and v of an attention, which the original has in one map. prefix: with the dot. */
export const fusedQkv = (
  original: string,
  prefix: string,
  names: readonly string[] = ["to_q", "to_k", "to_v"],
): OriginalModule => ({ original, ours: names.map((name) => prefix + name) });

/**
 * Weights by a table of modules. tensors: names that are no module's weight or bias, [ours, original]. A name that neither side knows, and
 * a weight whose rows do not divide, pass as they are, so that loading reports them.
 */
export function originalModel(
  modules: readonly OriginalModule[],
  tensors: readonly (readonly [ours: string, original: string])[] = [],
): LdmModel {
  const byOriginal = new Map(modules.map((module) => [module.original, module]));
  const toOurs = new Map(tensors.map(([ours, original]) => [original, ours]));
  return {
    fromOriginal(weights) {
      const found = new Map<string, Tensor>();
      for (const [name, x] of weights) {
        const dot = name.lastIndexOf(".");
        const module = byOriginal.get(name.slice(0, dot));
        const kind = name.slice(dot + 1);
        const parts =
          module && (kind === "bias" || kind === (module.weight ?? "weight")) ? split(x, module) : undefined;
        if (!module || !parts) found.set(toOurs.get(name) ?? name, x);
        else
          for (const [i, part] of parts.entries())
            found.set(`${module.ours[i]}.${kind === "bias" ? kind : "weight"}`, part);
      }
      return found;
    },
    toOriginal(weights) {
      const rest = new Map(weights);
      const found = new Map<string, Tensor>();
      const take = (name: string): Tensor | undefined => {
        const x = rest.get(name);
        rest.delete(name);
        return x;
      };
      for (const [ours, original] of tensors) {
        const x = take(ours);
        if (x) found.set(original, x);
      }
      for (const module of modules) {
        for (const kind of ["weight", "bias"]) {
          const parts = module.ours.map((name) => take(`${name}.${kind}`)).filter((x) => x !== undefined);
          if (parts.length !== module.ours.length) continue;
          const name = kind === "weight" ? (module.weight ?? kind) : kind;
          const [only] = parts as [Tensor];
          found.set(
            `${module.original}.${name}`,
            parts.length > 1 ? cat(parts) : module.halvesSwapped ? swapped(only) : only,
          );
        }
      }
      return new Map([...found, ...rest]);
    },
  };
}

/** The original's rows as ours; undefined where they do not divide. */
function split(x: Tensor, { ours, rows, halvesSwapped }: OriginalModule): Tensor[] | undefined {
  if (ours.length === 1) return [halvesSwapped ? swapped(x) : x];
  const all = x.shape[0] as number;
  const sizes = rows ?? ours.map(() => all / ours.length);
  if (sizes.reduce((sum, size) => sum + size, 0) !== all || !sizes.every(Number.isInteger)) return undefined;
  let start = 0;
  return sizes.map((size) => {
    start += size;
    return x.narrow(0, start - size, size);
  });
}

const swapped = (x: Tensor): Tensor => cat(x.chunk(2, 0).toReversed());
