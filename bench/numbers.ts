import { scope, type Tensor } from "@spo/torch";

/** `count` numbers of a tensor, evenly spread: what both sides of a benchmark compare. */
export function some(tensor: Tensor, count = 64): number[] {
  return scope(() => {
    const flat = tensor.detach().flatten().toNumbers();
    const stride = Math.max(1, Math.floor(flat.length / count));
    return flat.filter((_, i) => i % stride === 0).slice(0, count);
  });
}
