// Base, Diffusion-DPO and SPO beside each other.
export { type ComparisonEvent, compareMethods, type Pictures } from "./compare-methods.js";
export { type ComparisonFacts, comparisonFacts } from "./comparison-facts.js";
export { type ComparedPictures, comparisonEssence, comparisonPage } from "./comparison-page.js";
export type { ImageJudge, ImageJudgeContext, ImageVerdict } from "./image-judge.js";
export { type WrittenComparison, writeComparison } from "./write-comparison.js";
