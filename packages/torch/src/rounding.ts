/** The nearest whole number, and of two that are equally near the even one, as numpy and Python's `round` have it. */
export function halfToEven(x: number): number {
  const below = Math.floor(x);
  return x - below === 0.5 ? below + (below % 2) : Math.round(x);
}
