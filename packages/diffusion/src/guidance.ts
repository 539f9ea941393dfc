import { scope, type Tensor } from "@spo/torch";

/** ε = ε_u + g·(ε_c − ε_u) of a batch [uncond; cond]: [2b, ...] → [b, ...]. Source: Ho & Salimans 2022, eq. 6. */
export function guide(both: Tensor, guidanceScale: number): Tensor {
  return scope(() => {
    const [uncond, cond] = both.chunk(2, 0) as [Tensor, Tensor];
    return uncond.lerp(cond, guidanceScale);
  });
}
