export { checkpoint } from "./checkpoint.js";
export type { GridInterpolation, GridPadding, Reduction } from "./choices.js";
export { requireDeviceName, resolveDevice } from "./device.js";
export { type Device, type DType, elementSize, isFloating, type MemoryFormat } from "./dtype.js";
export { UserError, type UserErrorCode } from "./errors.js";
export { appendLine, writeFileAtomic } from "./files.js";
export { Generator } from "./generator.js";
export { generatorAt } from "./generator-at.js";
export { loadingDevice, loadingOn } from "./loading-device.js";
export {
  answerSignals,
  autocast,
  enableGrad,
  engineFacts,
  getThreads,
  grad,
  inferenceMode,
  noGrad,
  setThreads,
  trimMemory,
} from "./modes.js";
export { geglu } from "./nn/geglu.js";
export { quantizeInt8 } from "./nn/int8-weights.js";
export { keptKernelBytes } from "./nn/kept-kernels.js";
export { inOrder } from "./nn/kernel-order.js";
export { Conv2d, Embedding, GroupNorm, LayerNorm, Linear, RMSNorm } from "./nn/layers.js";
export { type LowRank, lowRankLinear } from "./nn/low-rank-linear.js";
export { copyWeights, initialize, type LoadOptions, loadWeights, Module } from "./nn/module.js";
export { parameter } from "./nn/parameter.js";
export { notFiniteAt } from "./not-finite.js";
export { type OperatorTime, OperatorTimes } from "./operator-times.js";
export * from "./ops.gen.js";
export { Adafactor, type AdafactorOptions } from "./optim/adafactor.js";
export { AdamW, type AdamWOptions } from "./optim/adamw.js";
export { AdamW8bit } from "./optim/adamw-8bit.js";
export { clipGradNorm } from "./optim/clip.js";
export { constantDecay, type DecayAt, Ema, powerDecay, WIDEST } from "./optim/ema.js";
export { LossScaler, type LossScalerOptions } from "./optim/loss-scaler.js";
export type { Optimizer } from "./optim/optimizer.js";
export { warmupConstant, warmupCosine, warmupLinear } from "./optim/schedule.js";
export { forgetPeak, peakBytes } from "./peak-memory.js";
export { rand, randn } from "./random.js";
export { onMeta } from "./rehearsal/on-meta.js";
export { type MemoryBook, type Rehearsal, rehearse } from "./rehearsal/rehearse.js";
export { SimulatedProcess } from "./rehearsal/simulated-heap.js";
export { forEachTensor, keep, liveTensors, Scope, scope } from "./scope.js";
export { Tensor, type TensorOptions, type TypedArray, tensor, tensorOver } from "./tensor.js";
export { onWarning, warn } from "./warnings.js";
export { openWeights, type WeightsFile } from "./weights/open-weights.js";
export {
  openSafetensors,
  readSafetensors,
  SafetensorsFile,
  safetensorsContents,
  tensorBytes,
  writeSafetensors,
} from "./weights/safetensors.js";
export { notFinite, requireStorable, storedWeights } from "./weights/stored-weights.js";
export {
  isTorchFile,
  openTorchFile,
  readTorchFile,
  readTorchRecord,
  TorchFile,
} from "./weights/torch-load.js";
export { type TorchRecord, writeTorchRecord } from "./weights/torch-save.js";
export { warnOfUnused } from "./weights/unused-entries.js";
