// A hub for tests: one server that speaks the protocol, and one on another origin that stores the large files, each with faults on demand.
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface FakeRequest {
  method: string;
  path: string;
  /** Whether it came to the hub or to the storage. */
  at: "hub" | "storage";
  authorization?: string;
  range?: string;
}

/** What goes wrong with one download. */
export interface Fault {
  /** End the connection after so many bytes of the answer. */
  cutAfter?: number;
  /** Send so many bytes of the answer, then nothing, and do not end. */
  stallAfter?: number;
  status?: number;
  headers?: Record<string, string>;
  /** In place of the contents. */
  body?: Uint8Array;
  /** Send the whole file although a range was asked for. */
  ignoreRange?: boolean;
  /** Send nothing, and do not end. */
  silent?: boolean;
}

interface Repo {
  files: Map<string, Uint8Array>;
  commit: string;
  branches: Set<string>;
  gate?: { status: number; code: string };
}

export class FakeHub {
  readonly requests: FakeRequest[] = [];
  /** Asked for each download of contents, at whichever server. */
  onDownload: (request: FakeRequest, count: number) => Fault | undefined = () => undefined;
  /** Asked for each question about a repository. */
  onQuestion: (request: FakeRequest, count: number) => Fault | undefined = () => undefined;
  /** Sizes to claim in the listing instead of the true ones. */
  readonly claimedSizes = new Map<string, number>();
  readonly #repos = new Map<string, Repo>();
  readonly #servers: Server[] = [];
  #downloads = 0;
  #questions = 0;
  endpoint = "";
  #storage = "";

  static async start(): Promise<FakeHub> {
    const hub = new FakeHub();
    const listen = async (at: FakeRequest["at"], host: string): Promise<string> => {
      const server = createServer((request, response) => hub.#answer(at, request, response));
      hub.#servers.push(server);
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      return `http://${host}:${(server.address() as AddressInfo).port}`;
    };
    hub.endpoint = await listen("hub", "127.0.0.1");
    hub.#storage = await listen("storage", "localhost");
    return hub;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of this.#servers) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }

  /** Puts a repository there, or a new commit into it. Gives the commit. */
  commit(
    name: string,
    files: Readonly<Record<string, Uint8Array | string>>,
    { branches = ["main"], gate }: { branches?: string[]; gate?: Repo["gate"] } = {},
  ): string {
    const contents = new Map(Object.entries(files).map(([path, data]) => [path, Buffer.from(data)]));
    const hash = createHash("sha1").update(name);
    for (const [path, data] of contents) hash.update(path).update(data);
    const commit = hash.digest("hex");
    this.#repos.set(name, { files: contents, commit, branches: new Set(branches), gate });
    return commit;
  }

  /** Downloads of contents so far, by method GET. */
  downloads(path: string): FakeRequest[] {
    return this.requests.filter((each) => each.method === "GET" && each.path.includes(`/${path}`));
  }

  #answer(at: FakeRequest["at"], message: IncomingMessage, response: ServerResponse): void {
    const url = new URL(message.url ?? "/", "http://any");
    const path = decodeURIComponent(url.pathname);
    const request: FakeRequest = {
      method: message.method ?? "GET",
      path,
      at,
      authorization: message.headers.authorization,
      range: message.headers.range,
    };
    this.requests.push(request);
    const fail = (status: number, code: string, error: string): void => {
      const headers = { "content-type": "application/json", "x-error-code": code, "x-error-message": error };
      response.writeHead(status, headers).end(JSON.stringify({ error }));
    };
    if (at === "storage") {
      const [, name = "", file = ""] = /^\/blobs\/([^/]+\/[^/]+)\/(.+)$/.exec(path) ?? [];
      const data = this.#repos.get(name)?.files.get(file);
      if (data) this.#send(request, response, data, {});
      else fail(404, "", "no such blob");
      return;
    }
    const api = /^\/api\/models\/([^/]+\/[^/]+)(?:\/(revision|tree)\/(.+?))?$/.exec(path);
    const download = /^\/([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/.exec(path);
    const name = api?.[1] ?? download?.[1] ?? "";
    const revision = api ? (api[3] ?? "main") : (download?.[2] ?? "");
    const repo = this.#repos.get(name);
    if (!repo) fail(401, "", "Invalid username or password.");
    else if (repo.gate) fail(repo.gate.status, repo.gate.code, "Access to this model is restricted.");
    else if (revision !== repo.commit && !repo.branches.has(revision))
      fail(404, "RevisionNotFound", "Invalid rev id");
    else if (api) this.#question(request, response, api[2] === "tree" ? this.#tree(repo) : info(name, repo));
    else {
      const file = download?.[3] ?? "";
      const data = repo.files.get(file);
      if (data) this.#contents(request, response, { name, file, commit: repo.commit, data });
      else fail(404, "EntryNotFound", "Entry not found");
    }
  }

  /** Small files from here, large ones by a redirect to the storage. */
  #contents(
    request: FakeRequest,
    response: ServerResponse,
    { name, file, commit, data }: { name: string; file: string; commit: string; data: Uint8Array },
  ): void {
    const { oid, lfs } = describe(file, data);
    const headers = { "x-repo-commit": commit, etag: `"${lfs?.oid ?? oid}"` };
    if (!lfs) {
      this.#send(request, response, data, headers);
      return;
    }
    const linked = { "x-linked-etag": `"${lfs.oid}"`, "x-linked-size": String(data.length) };
    const location = `${this.#storage}/blobs/${name}/${file}`;
    response.writeHead(302, { ...headers, ...linked, location }).end();
  }

  #question(request: FakeRequest, response: ServerResponse, answer: object): void {
    const fault = this.onQuestion(request, this.#questions++);
    if (fault?.status) response.writeHead(fault.status, fault.headers).end();
    else response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(answer));
  }

  #send(
    request: FakeRequest,
    response: ServerResponse,
    data: Uint8Array,
    headers: Record<string, string>,
  ): void {
    if (request.method === "HEAD") {
      response.writeHead(200, { ...headers, "content-length": data.length }).end();
      return;
    }
    const fault = this.onDownload(request, this.#downloads++) ?? {};
    if (fault.silent) return;
    if (fault.status) {
      response.writeHead(fault.status, fault.headers).end();
      return;
    }
    const range = fault.ignoreRange ? null : /^bytes=(\d+)-(\d*)$/.exec(request.range ?? "");
    const contents = fault.body ?? data;
    const from = range ? Number(range[1]) : 0;
    const sent = contents.subarray(from);
    response.writeHead(range ? 206 : 200, {
      ...headers,
      "content-length": sent.length,
      ...(range ? { "content-range": `bytes ${from}-${contents.length - 1}/${contents.length}` } : {}),
    });
    if (fault.stallAfter !== undefined) response.write(sent.subarray(0, fault.stallAfter));
    else if (fault.cutAfter === undefined) response.end(sent);
    else response.write(sent.subarray(0, fault.cutAfter), () => response.destroy());
  }

  #tree(repo: Repo): object[] {
    return [...repo.files].map(([path, data]) => {
      const { oid, lfs } = describe(path, data);
      const size = this.claimedSizes.get(path) ?? data.length;
      return { type: "file", path, size, oid, ...(lfs ? { lfs: { ...lfs, size } } : {}) };
    });
  }
}

function info(name: string, { commit, files }: Repo): object {
  const now = "2026-01-01T00:00:00.000Z";
  return {
    _id: "0",
    id: name,
    modelId: name,
    sha: commit,
    private: false,
    gated: false,
    downloads: 0,
    likes: 0,
    tags: [],
    lastModified: now,
    createdAt: now,
    siblings: [...files.keys()].map((rfilename) => ({ rfilename })),
  };
}

/** Ids of a file's contents; large files by SHA-256 behind a pointer, as git LFS has them. */
function describe(
  path: string,
  data: Uint8Array,
): { oid: string; lfs?: { oid: string; pointerSize: number } } {
  const git = (bytes: Uint8Array): string =>
    createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
  if (!/\.(safetensors|bin)$/.test(path)) return { oid: git(data) };
  const sha256 = createHash("sha256").update(data).digest("hex");
  const pointer = Buffer.from(
    `version https://git-lfs.github.com/spec/v1\noid sha256:${sha256}\nsize ${data.length}\n`,
  );
  return { oid: git(pointer), lfs: { oid: sha256, pointerSize: pointer.length } };
}
