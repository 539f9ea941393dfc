// A job as a list of phases; what it needs in memory and work; how long it takes.

import { type Pass, WorkMeter } from "@spo/records";
import {
  type Device,
  forgetPeak,
  getThreads,
  keptKernelBytes,
  type MemoryBook,
  peakBytes,
  rehearse,
  SimulatedProcess,
  trimMemory,
  zeros,
} from "@spo/torch";
import { modulesOf, type PlannedModels } from "./models.js";

/** One kind of work that a job does again and again. */
export interface Phase {
  name: string;
  /** How often in the whole job. */
  runs: number;
  /** Of a phase before all others, which leaves nothing behind: bytes that it holds in place of what the others hold. */
  before?: number;
  /** Bytes of the weights that are not on the device meanwhile; absent: all are. */
  away?: number;
  /** Does the work once, with inputs of its own, and counts its sample passes. */
  body: (meter: WorkMeter) => void;
}

/** A job to rehearse: models, memory that is held throughout, and phases. */
export interface Job {
  models: PlannedModels;
  /**
   * Held from the beginning to the end, bytes. `trained`: of adapters, which are not among the weights; `optimizer`: its moments, and the
   * average of weights.
   */
  memory: { weights: number; trained: number; optimizer: number; data: number };
  phases: Phase[];
}

/** What one phase takes. */
export interface PhasePlan {
  name: string;
  runs: number;
  /** Sample passes of one run. */
  passes: Partial<Record<Pass, number>>;
  /** Above what the whole job holds: of tensors. */
  activationBytes: number;
  /** The same with what the heap keeps beside them, of earlier phases too. */
  residentBytes: number;
  /** Of one run. */
  flops: { forward: number; backward: number };
}

/** Memory and work of a job. */
export interface Plan {
  /**
   * Bytes; `peak` is the sum of all others, reached in the phase `peakIn`. `activations`, gradients among them, are that phase's; `heap` is
   * what the allocator keeps between and beside them; `engine` what libtorch makes resident when its operators are first used,
   * and the kernels that the addon keeps.
   */
  memory: Job["memory"] & {
    activations: number;
    heap: number;
    engine: number;
    peak: number;
    peakIn: string;
  };
  /** Of the whole job. */
  work: { passes: Partial<Record<Pass, number>>; flops: { forward: number; backward: number } };
  phases: PhasePlan[];
}

/** Code and tables of libtorch and oneDNN that become resident at first use, and MKL's buffers for each thread. Measured. */
const ENGINE_BYTES = 28 << 20;
const THREAD_BYTES = 12 << 20;

/** Goes through a job's phases on `meta`. */
export function planJob({ models, memory, phases }: Job): Plan {
  const books: MemoryBook[] = [];
  const meter = new WorkMeter();
  const planned = phases.map(({ name, runs, body }): PhasePlan => {
    const { bytes, flops, book } = rehearse(() => body(meter));
    const counted = Object.entries(meter.take().passes).filter(([, samples]) => samples > 0);
    const passes: Partial<Record<Pass, number>> = Object.fromEntries(counted);
    books.push(book);
    return { name, runs, passes, activationBytes: bytes.peak, residentBytes: 0, flops };
  });
  const first = phases.findIndex(({ before = 0 }) => before > 0);
  const others = planned.filter((_, i) => i !== first);
  const [process, processBefore] = [new SimulatedProcess(), new SimulatedProcess()];
  for (const [i, book] of [...books.entries(), ...books.entries()]) {
    const phase = planned[i] as PhasePlan;
    const own = i === first ? processBefore : process;
    // Each phase begins with the heap that it and the others left.
    for (let run = 0; run < 2; run++) phase.residentBytes = Math.max(phase.residentBytes, own.play(book));
  }
  // Memory of the largest phase stays resident in all later ones, so their resident bytes do not show which it was.
  const most = Math.max(...others.map(({ activationBytes }) => activationBytes));
  const awayAt = (i: number): number => phases[i]?.away ?? 0;
  const held = planned.map(({ activationBytes }, i) =>
    i === first ? Number.NEGATIVE_INFINITY : activationBytes - awayAt(i),
  );
  const at = held.indexOf(Math.max(...held));
  const largest = planned[at] as PhasePlan;
  const resident = Math.max(...others.map(({ residentBytes }) => residentBytes));
  const total = (of: (phase: PhasePlan) => number): number =>
    planned.reduce((sum, phase) => sum + phase.runs * of(phase), 0);
  const kinds = [...new Set(planned.flatMap(({ passes }) => Object.keys(passes) as Pass[]))];
  const parts = {
    ...memory,
    weights: memory.weights - awayAt(at),
    activations: largest.activationBytes,
    heap: resident - most,
    engine:
      ENGINE_BYTES +
      getThreads() * THREAD_BYTES +
      keptKernelBytes(modulesOf(models), memory.trained > 0 ? [models.denoiser] : []),
  };
  const { activationBytes: activations = 0, residentBytes = 0 } = planned[first] ?? {};
  const atFirst = { weights: phases[first]?.before ?? 0, trained: 0, optimizer: 0, data: 0 };
  const alone = { ...parts, ...atFirst, activations, heap: residentBytes - activations };
  const [usual, beginning] = [parts, alone].map((of) => Object.values(of).reduce((a, b) => a + b, 0)) as [
    number,
    number,
  ];
  return {
    memory:
      first >= 0 && beginning > usual
        ? { ...alone, peak: beginning, peakIn: (phases[first] as Phase).name }
        : { ...parts, peak: usual, peakIn: largest.name },
    work: {
      passes: Object.fromEntries(kinds.map((kind) => [kind, total(({ passes }) => passes[kind] ?? 0)])),
      flops: { forward: total(({ flops }) => flops.forward), backward: total(({ flops }) => flops.backward) },
    },
    phases: planned,
  };
}

export interface PhaseTime {
  name: string;
  /** Of one run, the median. */
  seconds: number;
}

/** Time and memory of a job whose phases were really run. */
export interface Measurement {
  phases: PhaseTime[];
  /** Of the whole job, by the phases' times and numbers of runs. */
  hours: number;
  /** Growth of the process's resident memory from `before` to its peak, bytes. That of a GPU is not in it. */
  rssGrowth: number;
}

/** Runs each phase of a job whose models have values three times. rssBefore: resident bytes before the models had any. */
export function measureJob(
  { models: { device }, phases }: Job,
  rssBefore: number,
  onPhase?: (name: string) => void,
): Measurement {
  trimMemory(); // what giving the models their values has freed
  forgetPeak();
  const times = phases.map(({ name, body }): PhaseTime => {
    onPhase?.(name);
    const seconds = Array.from({ length: 3 }, () => {
      const began = performance.now();
      body(new WorkMeter());
      waitFor(device);
      return (performance.now() - began) / 1000;
    }).toSorted((a, b) => a - b);
    return { name, seconds: seconds[1] as number };
  });
  const inAll = times.reduce((sum, { seconds }, i) => sum + seconds * (phases[i] as Phase).runs, 0);
  return {
    phases: times,
    hours: inAll / 3600,
    rssGrowth: peakBytes() - rssBefore,
  };
}

/** Waits until the device has finished. A CPU has when the call returns. */
function waitFor(device: Device): void {
  if (device === "cpu" || device === "meta") return;
  using probe = zeros([1], { device });
  probe.item();
}
