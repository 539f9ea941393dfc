// Images as tensors, and what may be done to them. Tensor code.
export { augment, degrade, fade, move, recolour, saturate, sharpen, turnHue } from "./augmentation.js";
export {
  encodePng,
  pixelsFromBytes,
  pixelsFromRgb,
  pixelsOf,
  quantised,
  requireFinitePixels,
  rgbFromPixels,
} from "./pixels.js";
