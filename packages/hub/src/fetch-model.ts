// A model by its name on a hub → a folder, or a file, on this disk.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { listFiles, modelInfo } from "@huggingface/hub";
import { asUserError, UserError, withLock } from "@spo/torch/files";
import { parseBoundedJson } from "@spo/torch/text-files";
import {
  cachedCommit,
  cachedRevisions,
  isCommit,
  linkBlob,
  type RepoCache,
  repoCache,
  sizeOf,
  snapshotFiles,
  snapshotFolder,
  writeRef,
} from "./cache.js";
import { downloadBlob, type RemoteFile } from "./download-blob.js";
import { type HubEnvironment, hubEnvironment } from "./environment.js";
import { refusalError } from "./faults.js";
import { type HubClient, HubRefusal, hubClient, PATIENCE, type Patience } from "./hub-fetch.js";
import { type HubId, isSafePath } from "./hub-id.js";
import { isLatentModel, missingParts, neededFiles } from "./needed-files.js";

/** What happens while a model is fetched. */
export type HubEvent =
  /** Bytes of all files that are wanted; `file` is the one that moves. */
  | { type: "progress"; file: string; done: number; total: number }
  | { type: "retry"; reason: string; waitMs: number }
  /** Another process fetches this file. */
  | { type: "wait"; file: string }
  | { type: "note"; message: string };

/** What of a model is fetched, and how the caller hears of it. */
export interface FetchOptions {
  /** Default: of the process's variables. */
  environment?: HubEnvironment;
  /** `fp16` for the half-precision weights of a pipeline, where it has them. */
  variant?: string;
  /** Of a model's folder only configs and tokenizer files, no weights. */
  configsOnly?: boolean;
  signal?: AbortSignal;
  onEvent?: (event: HubEvent) => void;
  patience?: Partial<Patience>;
}

/**
 * The folder of a model, or the path of one file of it, in the standard cache; fetched if it is not there yet.
 *
 * Asks the hub for the commit that a branch is at. Where the hub cannot be reached, or HF_HUB_OFFLINE is set, the commit that the cache
 * knows is taken. Throws UserErrors, and the signal's reason when it is aborted: what has arrived is kept.
 */
export async function fetchModel(id: HubId, options: FetchOptions = {}): Promise<string> {
  const environment = options.environment ?? hubEnvironment();
  const repo = repoCache(environment.cache, id.repo);
  // A commit never changes: what is whole needs no look at the hub.
  const cached = fromCache(repo, id, options);
  if (typeof cached === "string" && (environment.offline || isCommit(id.revision))) return cached;
  if (environment.offline) throw notCached(id, cached as CacheMiss, environment.cache);

  const patience = { ...PATIENCE, ...options.patience };
  const { signal, onEvent } = options;
  const client = hubClient({
    ...environment,
    patience,
    signal,
    onRetry: (reason, waitMs) => onEvent?.({ type: "retry", reason, waitMs }),
  });
  try {
    return await fetchOnline(id, { environment, repo, client, patience }, options);
  } catch (error) {
    if (error instanceof HubRefusal) {
      throw refusalError(id, error.refusal, {
        endpoint: environment.endpoint,
        loggedIn: environment.token !== undefined,
      });
    }
    if (typeof cached === "string" && error instanceof UserError && error.code === "ENVIRONMENT") {
      onEvent?.({
        type: "note",
        message: `${error.message} The cache has ${id.repo}, which is taken as it is.`,
      });
      return cached;
    }
    throw error;
  } finally {
    await client.close().catch(() => {}); // a cut connection is no fault any more
  }
}

interface Online {
  environment: HubEnvironment;
  repo: RepoCache;
  client: HubClient;
  patience: Patience;
}

async function fetchOnline(
  id: HubId,
  { environment: { endpoint }, repo, client, patience }: Online,
  options: FetchOptions,
): Promise<string> {
  const { signal, onEvent } = options;
  const { fetch } = client;
  const hub = { hubUrl: endpoint, fetch };
  const { sha: commit } = await modelInfo({
    name: id.repo,
    revision: id.revision,
    additionalFields: ["sha"],
    ...hub,
  });
  if (!isCommit(commit)) throw oddAnswer(endpoint, `the commit of ${id.repo} is "${commit}"`);

  const remote = new Map<string, RemoteFile>();
  for await (const entry of listFiles({ repo: id.repo, revision: commit, recursive: true, ...hub })) {
    if (entry.type === "file") remote.set(entry.path, remoteFile(entry, endpoint));
  }
  const wanted = choose(id, [...remote.keys()], endpoint, options).map(
    (path) => remote.get(path) as RemoteFile,
  );

  const folder = snapshotFolder(repo, commit);
  const total = wanted.reduce((sum, { size }) => sum + size, 0);
  let before = 0;
  for (const file of wanted) {
    const progress = (done: number) =>
      onEvent?.({ type: "progress", file: file.path, done: before + done, total });
    const blob = join(repo.blobs, file.id);
    const pointer = join(folder, file.path);
    try {
      if (sizeOf(pointer) !== file.size) {
        await withLock(
          join(repo.locks, `${file.id}.spo.lock`),
          async () => {
            if (sizeOf(blob) !== file.size) {
              await downloadBlob(repo.blobs, file, {
                endpoint,
                repo: id.repo,
                commit,
                fetch,
                patience,
                signal,
                onRetry: (reason, waitMs) => onEvent?.({ type: "retry", reason, waitMs }),
                onBytes: progress,
              });
            }
            linkBlob(blob, pointer);
          },
          { signal, onWait: () => onEvent?.({ type: "wait", file: file.path }) },
        );
      }
    } catch (error) {
      throw asUserError(error, pointer);
    }
    progress(file.size);
    before += file.size;
  }
  // Last: until all is there, a branch stands at what was whole before.
  writeRef(repo, id.revision, commit);
  return id.file ? join(folder, id.file) : folder;
}

interface Entry {
  path: string;
  size: number;
  oid?: string;
  lfs?: { oid: string; size: number };
}

/** Checks what a hub says of a file before anything is named by it. */
function remoteFile({ path, size, oid, lfs }: Entry, endpoint: string): RemoteFile {
  const id = lfs ? lfs.oid.replace(/^sha256:/, "") : (oid ?? "");
  if (!(lfs ? /^[0-9a-f]{64}$/ : /^[0-9a-f]{40}$/).test(id))
    throw oddAnswer(endpoint, `the id of ${path} is "${id}"`);
  if (!isSafePath(path)) throw oddAnswer(endpoint, `a file is named "${path}"`);
  const bytes = lfs?.size ?? size;
  if (!Number.isSafeInteger(bytes) || bytes < 0) throw oddAnswer(endpoint, `the size of ${path} is ${bytes}`);
  return { path, size: bytes, id, kind: lfs ? "sha256" : "git" };
}

const oddAnswer = (endpoint: string, what: string): UserError =>
  new UserError(`${endpoint} answers oddly: ${what}.`, {
    code: "DATA",
    hint: "Is HF_ENDPOINT the address of a Hugging Face hub?",
  });

function choose(
  id: HubId,
  paths: readonly string[],
  endpoint: string,
  { variant, configsOnly, onEvent }: FetchOptions,
): string[] {
  if (id.file) {
    if (paths.includes(id.file)) return [id.file];
    const near = nearest(id.file, paths);
    throw new UserError(`${id.repo} has no file ${id.file} at ${id.revision}.`, {
      code: "DATA",
      hint: near
        ? `Did you mean ${id.repo}/${near}?`
        : `${endpoint}/${id.repo}/tree/${id.revision} lists its files.`,
    });
  }
  const { files, otherVariant, withoutWeights } = neededFiles(paths, variant);
  const parted = paths.includes("model_index.json") || isLatentModel(paths);
  if (!parted && (!paths.includes("config.json") || withoutWeights.length > 0)) {
    const single = paths.filter((path) => /\.(safetensors|ckpt|pt|bin)$/.test(path));
    throw new UserError(
      `${id.repo} holds no model folder: neither model_index.json, nor config.json with weights.`,
      {
        code: "DATA",
        hint:
          single.length > 0
            ? `Name one of its files: ${single
                .slice(0, 4)
                .map((path) => `${id.repo}/${path}`)
                .join(", ")}.`
            : `Look at ${endpoint}/${id.repo}.`,
      },
    );
  }
  if (withoutWeights.length > 0) {
    throw new UserError(`${id.repo} has no weights that are understood in ${withoutWeights.join(", ")}.`, {
      code: "DATA",
      hint: "safetensors and PyTorch's .bin are. Perhaps another revision, such as @fp16, has them.",
    });
  }
  if (configsOnly) return files.filter((path) => !/\.(safetensors|bin)$/.test(path));
  if (otherVariant.length > 0) {
    const message = `${id.repo} has no ${variant} weights in ${otherVariant.map((folder) => folder || "its folder").join(", ")}; the plain ones are taken.`;
    onEvent?.({ type: "note", message });
  }
  return files;
}

/** A path with the same last name, or the only one of its kind. */
function nearest(file: string, paths: readonly string[]): string | undefined {
  const name = (path: string): string => (path.split("/").at(-1) as string).toLowerCase();
  const kind = file.split(".").at(-1) as string;
  const same = paths.find((path) => name(path) === name(file));
  const ofKind = paths.filter((path) => path.endsWith(`.${kind}`));
  return same ?? (ofKind.length === 1 ? ofKind[0] : undefined);
}

/** Why the cache does not have it. */
interface CacheMiss {
  /** Of the revision, when it is known. */
  commit?: string;
  missing: string[];
  revisions: string[];
}

/** What the cache has without the network: a path, or what it lacks. */
function fromCache(repo: RepoCache, id: HubId, { variant, configsOnly }: FetchOptions): string | CacheMiss {
  const commit = cachedCommit(repo, id.revision);
  const revisions = cachedRevisions(repo);
  if (commit === undefined) return { missing: [], revisions };
  const folder = snapshotFolder(repo, commit);
  const files = snapshotFiles(folder);
  if (id.file) {
    return files.includes(id.file) ? join(folder, id.file) : { commit, missing: [id.file], revisions };
  }
  if (configsOnly && files.some((path) => path.endsWith("config.json"))) return folder;
  const missing = missingParts(files, readIndex(join(folder, "model_index.json")), variant);
  return missing.length === 0 ? folder : { commit, missing, revisions };
}

function readIndex(path: string): unknown {
  if (sizeOf(path) === undefined) return undefined;
  try {
    return parseBoundedJson(readFileSync(path, "utf8"));
  } catch {
    return undefined; // not whole: then the parts are missing too
  }
}

function notCached(
  { repo, revision }: HubId,
  { commit, missing, revisions }: CacheMiss,
  cache: string,
): UserError {
  const what = commit
    ? `is in the cache only in part (missing: ${missing.join(", ")})`
    : revisions.length > 0
      ? `is in the cache, but not at ${revision} (there is: ${revisions.join(", ")})`
      : "is not in the cache";
  return new UserError(`${repo} ${what}, and HF_HUB_OFFLINE forbids to fetch it. The cache is ${cache}.`, {
    code: "DATA",
    hint: "Run once with HF_HUB_OFFLINE=0, or set HF_HOME to the cache that has it.",
  });
}
