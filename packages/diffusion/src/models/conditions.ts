import { cat, scope, type Tensor, tensor } from "@spo/torch";

/** Conditions of n images, by name: each tensor has a row an image, states of tokens [n, L, d] or one vector [n, d]. */
export type Conditions = Readonly<Record<string, Tensor>>;

/** The two sides of guidance. */
export interface GuidedConditions<C extends Conditions = Conditions> {
  conditional: C;
  unconditional: C;
}

/** The places of all rows. */
export const allRows = (conditions: Conditions): number[] => [
  ...Array(Object.values(conditions)[0]?.shape[0] ?? 0).keys(),
];

/** The rows at the given places, in tensors of their own. */
export function selectRows<C extends Conditions>(conditions: C, places: readonly number[]): C {
  return mapped(conditions, (all) => all.indexSelect(0, placesOf(places, all)));
}

/** Conditions of several lists of images as those of one. All must have the same names, and their texts the same number of tokens. */
export function joinRows<C extends Conditions>(parts: readonly C[]): C {
  return mapped(parts[0] as C, (_, name) => cat(parts.map((part) => part[name] as Tensor)));
}

/** Each row's own conditions, none of them a view. */
export const splitRows = <C extends Conditions>(conditions: C): C[] =>
  allRows(conditions).map((row) => mapped(conditions, (all) => all.narrow(0, row, 1).clone()));

/** Bytes of all tensors. */
export const conditionBytes = (conditions: Conditions): number =>
  Object.values(conditions).reduce((sum, { nbytes }) => sum + nbytes, 0);

/** Frees all tensors. */
export function disposeConditions(conditions: Conditions): void {
  for (const each of Object.values(conditions)) each.dispose();
}

/** @internal Row numbers as an index. */
export const placesOf = (places: readonly number[], { device }: Tensor): Tensor =>
  tensor([...places], { dtype: "int64", device });

const mapped = <C extends Conditions>(conditions: C, change: (all: Tensor, name: string) => Tensor): C =>
  scope(() =>
    Object.fromEntries(Object.entries(conditions).map(([name, all]) => [name, change(all, name)])),
  ) as C;
