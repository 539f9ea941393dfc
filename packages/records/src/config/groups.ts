// The settings of trainings by what they are about, for a help that is read from top to bottom.

const GROUPS: readonly (readonly [heading: string, names: readonly string[]])[] = [
  [
    "Models and data",
    [
      "model",
      "configs",
      "init",
      "spm",
      "judge",
      "kind",
      "teacher",
      "from",
      "pairs",
      "prompts",
      "promptCache",
      "split",
      "allowOutside",
      "relabel",
      "output",
      "resolution",
    ],
  ],
  ["Length", ["rounds", "steps", "promptsPerRound", "batch", "microBatch", "seed"]],
  [
    "Candidates and pairs",
    [
      ...["guidanceScale", "eta", "etaBefore", "stepNoise", "candidates", "noiseBlock"],
      ...["firstBranch", "lastBranch", "innerSteps", "threshold", "thresholdMax", "thresholdBy"],
      ...["judgeAgreement", "judgeTimestep", "marginSoftmax", "continueFrom"],
    ],
  ],
  ["People as the judge", ["human"]],
  [
    "What is shown to the preference model",
    [
      "bank",
      "imageShare",
      "imageTarget",
      "maxTimestep",
      "cleanShare",
      "pixelNoise",
      "augmentation",
      "mirror",
      "emptyPrompts",
    ],
  ],
  ["What learns", ["objective", "adapter", "rank", "alpha", "targets", "textEncoders", "loraLayout", "ema"]],
  ["Loss and optimizer", ["beta", "ratio", "clip", "optimizer", "warmup", "warmupRounds", "maxGradNorm"]],
  [
    "Computing",
    [
      ...["device", "dtype", "baseDtype", "spmDtype", "vaeDtype", "vaeSlicing", "vaeTiling", "offload"],
      ...["gradientCheckpointing", "memoryFormat", "samplingBatch", "readAhead", "reduce"],
    ],
  ],
  [
    "Measurements and what is kept",
    [
      ...[
        "heldOut",
        "samples",
        "sampleEvery",
        "sampleSteps",
        "guards",
        "stripEvery",
        "evalPairs",
        "evalSplit",
        "evalEvery",
        "evalTimesteps",
      ],
      "saveEvery",
    ],
  ],
];

/** Paths of settings under headings, each once; what has no heading stands last, under "Others". Groups without a setting are left out. */
export function grouped<T extends { path: string }>(
  settings: readonly T[],
): { heading: string; settings: T[] }[] {
  const headingOf = ({ path }: T): string =>
    GROUPS.find(([, names]) => names.includes(path.split(".", 1)[0] as string))?.[0] ?? "Others";
  return [...GROUPS.map(([heading]) => heading), "Others"]
    .map((heading) => ({ heading, settings: settings.filter((setting) => headingOf(setting) === heading) }))
    .filter(({ settings }) => settings.length > 0);
}
