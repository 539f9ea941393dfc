// The standard cache of the Hugging Face libraries:
//   models--org--name/blobs/<sha256 or git id>       contents
//   models--org--name/snapshots/<commit>/<path>      links to them
//   models--org--name/refs/<branch>                  the commit that a branch was at
import { copyFileSync, existsSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { makeFolder, removeLeftovers, renameDurably, temporaryOf, writeFileAtomic } from "@spo/torch/files";

/** The places of one repository. */
export interface RepoCache {
  folder: string;
  blobs: string;
  locks: string;
}

export const isCommit = (revision: string): boolean => /^[0-9a-f]{40}$/.test(revision);

/** cache: as in HubEnvironment; repo: `org/name`. */
export function repoCache(cache: string, repo: string): RepoCache {
  const name = `models--${repo.replaceAll("/", "--")}`;
  return { folder: join(cache, name), blobs: join(cache, name, "blobs"), locks: join(cache, ".locks", name) };
}

export const snapshotFolder = ({ folder }: RepoCache, commit: string): string =>
  join(folder, "snapshots", commit);

/** The commit of a revision as far as the cache knows. */
export function cachedCommit({ folder }: RepoCache, revision: string): string | undefined {
  if (isCommit(revision)) return revision;
  try {
    const commit = readFileSync(join(folder, "refs", revision), "utf8").trim();
    return isCommit(commit) ? commit : undefined;
  } catch {
    return undefined;
  }
}

export function writeRef(repo: RepoCache, revision: string, commit: string): void {
  if (isCommit(revision) || cachedCommit(repo, revision) === commit) return;
  writeFileAtomic(join(repo.folder, "refs", revision), commit);
}

/** Branches and tags of which the cache knows a commit. */
export function cachedRevisions({ folder }: RepoCache): string[] {
  const refs = join(folder, "refs");
  if (!existsSync(refs)) return [];
  return readdirSync(refs, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(refs, join(entry.parentPath, entry.name)));
}

/** Paths of a snapshot's files whose contents are there. */
export function snapshotFiles(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true })
    .map(String)
    .filter((path) => sizeOf(join(folder, path)) !== undefined)
    .map((path) => path.replaceAll("\\", "/"))
    .sort();
}

/** Size of a file that is there, bytes; through links. */
export function sizeOf(path: string): number | undefined {
  const found = statSync(path, { throwIfNoEntry: false });
  return found?.isFile() ? found.size : undefined;
}

/** Makes a snapshot's file a link to its blob; a copy where the system has no links. */
export function linkBlob(blob: string, pointer: string): void {
  makeFolder(dirname(pointer));
  removeLeftovers(pointer);
  const made = temporaryOf(pointer);
  rmSync(made, { force: true });
  try {
    symlinkSync(relative(dirname(pointer), blob), made);
  } catch (error) {
    if (!["EPERM", "ENOSYS", "ENOTSUP"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
    copyFileSync(blob, made);
  }
  renameDurably(made, pointer);
}
