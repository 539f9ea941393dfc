// A run's outcome as one page that anyone can open. No tensor code.

export { chartSection } from "./chart-section.js";
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
export {
  type ChartGroup,
  type Extremes,
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
export { GRID, GridFile, gridPage } from "./grid-page.js";
export { type Html, html } from "./html.js";
export { htmlDocument } from "./html-document.js";
export { duration, short, type Unit, written, writtenInterval } from "./numbers.js";
export { essence, reportPage } from "./page.js";
export { PASS_NAMES } from "./pass-names.js";
export { runReport, trainingVerdict } from "./run-report.js";
export { readStripFile, type StripFile, shownStrips, stripFileName, stripRounds } from "./strip-files.js";
export { accuracyCharts, spoCharts, stageWork, standingCharts, updateChart } from "./training-charts.js";
