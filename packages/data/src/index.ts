// Preference data: readers and writers of all layouts, checks, votes, and the loader that trainings read through. No tensor code.
export { checkPairs, type PairReport, type Spread } from "./check.js";
export { contactSheet } from "./contact-sheet.js";
export { type Converted, type ConvertOptions, convertPairs } from "./convert.js";
export { FaultList } from "./fault-list.js";
export { dataFacts, type Fingerprint, fingerprintOfPairs, fingerprintOfPrompts } from "./fingerprint.js";
export {
  checkGapFilter,
  disagreementText,
  filterByGaps,
  type GapCondition,
  type GapFilter,
  type GapSummary,
  isTurned,
  parseGapCondition,
} from "./gap-filter.js";
export { bytesOfImage, hashOfImage } from "./image-bytes.js";
export { type Decoded, ImagePool } from "./image-pool.js";
export { type ImageOfSet, readImageSet } from "./image-set.js";
export type { Inspection, Kernel } from "./image-worker.js";
export { type OpenOptions, openPairs } from "./layouts/open.js";
export { type FolderLayout, writeFolderPairs } from "./layouts/write-folder.js";
export { writeParquetPairs } from "./layouts/write-parquet.js";
export { writeMetricTable } from "./metric-file.js";
export { type ModelFilter, passesFilter } from "./model-filter.js";
export { decodeRgb, openImage } from "./open-image.js";
export { type EpochOrder, epochOrder, type Place, permutation, type Window } from "./order.js";
export { type PairImagesOptions, pairImages } from "./pair-images.js";
export { type PairBatch, PairLoader, type PairLoaderOptions, type ReadingShare } from "./pair-loader.js";
export { openPairSet, PairSet, type PairSetOptions, type TrainingPair } from "./pair-set.js";
export { type PairRow, writePairs } from "./pairs.js";
export { bytesOf, readParquet, textOf } from "./parquet.js";
export { ParquetReader, type ParquetReaderOptions } from "./parquet-reader.js";
export { readPngText, withPngText } from "./png-text.js";
export {
  type EncodedImage,
  faultsOfPair,
  isTie,
  LAYOUTS,
  type Layout,
  type PairBlock,
  type PairFacts,
  type PairSource,
  type PreferencePair,
  SOFT_LABELS,
  type SoftLabels,
} from "./preference.js";
export { type PromptLine, parsePromptFile, parsePromptLine } from "./prompt-line.js";
export { promptLines } from "./prompt-lines.js";
export { readPrompts } from "./prompts.js";
export { batchOf, type DecodedPair, readRows } from "./read-rows.js";
export { type ImagesOfModel, sideBySide } from "./side-by-side.js";
export { thumbnail } from "./thumbnail.js";
export { type Archive, archivesOf, type Unpacked, unpackArchive } from "./unpack-archive.js";
export { Ballot, readVotes, votesOf, withVotes, writeVotes } from "./votes.js";
