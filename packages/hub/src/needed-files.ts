// Which files of a repository a model needs. Repositories hold the same weights several times over; we take each once.

/** Folders of a pipeline that the engine reads. The safety checker and its feature extractor are not among them. */
const PARTS = ["unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler"];
const WITH_WEIGHTS = ["unet", "vae", "text_encoder", "text_encoder_2"];

/** What a latent reward model has beside its UNet and text encoders; its repository has no index. */
const LATENT_STATE = "state_dict.pt";
const LATENT_PARTS = ["unet", "text_encoder"];

/** Whether a repository holds a latent reward model. */
export const isLatentModel = (paths: readonly string[]): boolean =>
  !paths.includes("model_index.json") && paths.includes(LATENT_STATE);

/** Names of weights, the best first. safetensors go before pickles, whatever the name. */
const STEMS = [
  "diffusion_pytorch_model",
  "model",
  "open_clip_model",
  "pytorch_model",
  "open_clip_pytorch_model",
];
const WEIGHTS =
  /^(?<stem>\w+?)(?:\.(?<variant1>[a-z]\w*))?(?<shard>-\d{5}-of-\d{5})?(?:\.(?<variant2>[a-z]\w*))?\.(?<kind>safetensors|bin)$/;
const INDEX = /\.(?:safetensors|bin)\.index(?:\.\w+)?\.json$/;

export interface Choice {
  /** Paths to fetch. */
  files: string[];
  /** The folders (`""` is the repository's own) for which there were no weights of the wanted variant, so that others were chosen. */
  otherVariant: string[];
  /** The folders that should hold weights and hold none that are understood. */
  withoutWeights: string[];
}

/**
 * Chooses among a repository's paths: of a pipeline (with model_index.json) or a latent reward model the parts that the engine reads, else
 * the files of the topmost folder. Of each folder configs, tokenizer files and one set of weights.
 *
 * variant: `fp16` for `….fp16.safetensors`; a folder without it gives its plain weights, as in diffusers.
 */
export function neededFiles(paths: readonly string[], variant?: string): Choice {
  const pipeline = paths.includes("model_index.json");
  const choice: Choice = { files: [], otherVariant: [], withoutWeights: [] };
  const latent = isLatentModel(paths);
  const folders = pipeline || latent ? ["", ...PARTS] : [""];
  for (const folder of folders) {
    const names = paths
      .filter((path) => (folder ? path.startsWith(`${folder}/`) : true))
      .map((path) => (folder ? path.slice(folder.length + 1) : path))
      .filter((name) => !name.includes("/"));
    if (names.length === 0) {
      // A part that a repository does not have at all is for its model_index.json to say; see `missingParts`.
      continue;
    }
    const own = names.filter((name) => /\.(json|txt|model)$/.test(name) && !INDEX.test(name));
    if (latent && folder === "") own.push(LATENT_STATE);
    const wantsWeights = pipeline || latent ? WITH_WEIGHTS.includes(folder) : true;
    if (wantsWeights) {
      const { files, variant: found } = weightsOf(names, variant);
      for (const file of files) own.push(file);
      if (files.length === 0) choice.withoutWeights.push(folder);
      else if (variant && found !== variant) choice.otherVariant.push(folder);
    }
    for (const name of own) choice.files.push(folder ? `${folder}/${name}` : name);
  }
  return choice;
}

/** One set of weights of a folder: its files, shards and index. */
function weightsOf(
  names: readonly string[],
  variant: string | undefined,
): { files: string[]; variant?: string } {
  const found = names.flatMap((name) => {
    const groups = WEIGHTS.exec(name)?.groups;
    if (!groups || !STEMS.includes(groups.stem as string)) return [];
    const { stem, kind } = groups as { stem: string; kind: string };
    return [
      { name, stem, kind, variant: groups.variant1 ?? groups.variant2, shard: groups.shard !== undefined },
    ];
  });
  const rank = (each: (typeof found)[number]): number =>
    (each.kind === "safetensors" ? 0 : 1000) +
    (each.variant === variant ? 0 : each.variant === undefined ? 100 : 10_000) +
    STEMS.indexOf(each.stem) * 2 +
    (each.shard ? 1 : 0);
  // A variant that was not asked for is no stand-in.
  const fit = found.filter((each) => each.variant === undefined || each.variant === variant);
  const best = fit.toSorted((a, b) => rank(a) - rank(b))[0];
  if (!best) return { files: [] };
  const files = fit.filter((each) => rank(each) === rank(best)).map(({ name }) => name);
  if (best.shard) {
    const indices = [`${best.stem}.${best.kind}.index.json`];
    if (best.variant)
      indices.push(
        `${best.stem}.${best.kind}.index.${best.variant}.json`,
        `${best.stem}.${best.variant}.${best.kind}.index.json`,
      );
    const ofVariant = indices.filter((name) => names.includes(name));
    for (const name of ofVariant) if (!best.variant || name !== indices[0]) files.push(name);
  }
  return { files, variant: best.variant };
}

/**
 * What a folder of the cache lacks of a model, in words; empty when nothing. A cache filled by another program may hold a part only.
 *
 * modelIndex: the parsed model_index.json, if the folder has one.
 */
export function missingParts(paths: readonly string[], modelIndex: unknown, variant?: string): string[] {
  const { withoutWeights } = neededFiles(paths, variant);
  if (isLatentModel(paths))
    return LATENT_PARTS.filter(
      (part) => !paths.includes(`${part}/config.json`) || withoutWeights.includes(part),
    ).map((part) => `${part}/`);
  if (typeof modelIndex !== "object" || modelIndex === null) {
    return paths.includes("config.json") && withoutWeights.length === 0
      ? []
      : ["config.json and weights, or model_index.json"];
  }
  const missing = Object.entries(modelIndex)
    .filter(([part, kind]) => PARTS.includes(part) && Array.isArray(kind) && kind[1] !== null)
    .map(([part]) => part)
    .filter((part) => !paths.some((path) => path.startsWith(`${part}/`)) || withoutWeights.includes(part));
  return missing.map((part) => `${part}/`);
}
