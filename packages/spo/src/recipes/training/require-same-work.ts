import { createHash } from "node:crypto";
import type { DataFacts } from "@spo/records";
import { type Module, noGrad, scope, type Tensor } from "@spo/torch";
import { requireSame, type World } from "@spo/torch/distributed";

/**
 * Throws a UserError (`CONFIG`) in every process where they were not started for the same work.
 *
 * settings: those that the result depends on, without places and device, which may differ. data: numbers and digests.
 */
export async function requireSameWork(world: World, settings: object, data: DataFacts): Promise<void> {
  await requireSame(world, "settings", Object.fromEntries(flat(settings)));
  await requireSame(world, "data", data);
}

/** Every setting by its path, `optimizer.lr`; what is no number and no text as JSON. Those that are not given are left out. */
function flat(settings: object, prefix = ""): [string, string | number][] {
  return Object.entries(settings).flatMap(([name, value]: [string, unknown]): [string, string | number][] => {
    if (value === undefined) return [];
    if (typeof value === "number" || typeof value === "string") return [[prefix + name, value]];
    if (typeof value !== "object" || value === null || Array.isArray(value))
      return [[prefix + name, JSON.stringify(value)]];
    return flat(value, `${prefix}${name}.`);
  });
}

/**
 * Throws a UserError (`CONFIG`) in every process where their models are not the same: a path may lead to other weights on each machine.
 *
 * models: by the name that the message gives them; those that are undefined are none.
 */
export async function requireSameModels(
  world: World,
  models: Readonly<Record<string, Pick<Module, "namedParameters"> | undefined>>,
): Promise<void> {
  if (world.size === 1) return;
  const digests = Object.entries(models).flatMap(([name, model]) =>
    model ? [[name, sampleDigest(model)]] : [],
  );
  await requireSame(world, "models", Object.fromEntries(digests));
}

/** Elements of each parameter that are compared. */
const COMPARED = 256;

/**
 * 64 bits of the SHA-256 of names, shapes and some elements of all parameters: other weights differ almost everywhere, and all of a large
 * model take seconds to read.
 */
function sampleDigest(model: Pick<Module, "namedParameters">): string {
  const hash = createHash("sha256");
  for (const [name, parameter] of model.namedParameters()) {
    hash.update(`${name} ${parameter.dtype} ${parameter.shape.join()}\n`);
    hash.update(noGrad(() => scope(() => sampleOf(parameter))));
  }
  return hash.digest("hex").slice(0, 16);
}

function sampleOf(parameter: Tensor): NodeJS.ArrayBufferView {
  const all = parameter.detach().reshape([-1]);
  const step = Math.max(1, Math.floor((all.shape[0] as number) / COMPARED));
  return all
    .slice(0, 0, all.shape[0] as number, step)
    .to({ device: "cpu" })
    .contiguous()
    .toTypedArray();
}
