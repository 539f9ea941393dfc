// A run's outcome as one page that anyone can open. No tensor code.
export {
  type Axis,
  type Chart,
  chartSvg,
  type Point,
  type Series,
  smoothed,
  thinned,
  ticks,
} from "./charts.js";
export { type ComparedPictures, comparisonEssence, comparisonPage } from "./comparison-page.js";
export { contactSheet } from "./contact-sheet.js";
export {
  type ChartGroup,
  type ImagePair,
  type Measure,
  type ReportData,
  type SampleRow,
  type StageWork,
  type Strip,
  type StripRow,
  verdict,
} from "./data.js";
export {
  type EvaluatedSet,
  type EvaluationData,
  evaluationEssence,
  evaluationPage,
  metricVerdict,
  warningsOf,
} from "./evaluation-page.js";
export { duration, short, written, writtenInterval } from "./numbers.js";
export { essence, reportPage } from "./page.js";
export { runReport } from "./run-report.js";
export { readStripFile, type StripFile, shownStrips, stripFileName, stripRounds } from "./strip-files.js";
export { accuracyCharts, spoCharts, stageWork, standingCharts, updateChart } from "./training-charts.js";
export { type WrittenComparison, writeComparison } from "./write-comparison.js";
export { type WrittenReport, writeReport } from "./write-report.js";
