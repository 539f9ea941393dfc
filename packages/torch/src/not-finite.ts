import { noGrad } from "./modes.js";
import type { Tensor } from "./tensor.js";

/**
 * Where a tensor is NaN or infinite: bool, of its shape. x − x is NaN just there.
 *
 * In operators that every device has; `isfinite` has no kernel on `meta`.
 */
export const notFiniteAt = (x: Tensor): Tensor => noGrad(() => x.sub(x).ne(0));
