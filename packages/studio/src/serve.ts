// Studio as a server of its own.
import { hostname, networkInterfaces } from "node:os";
import { serve as listen, type ServerType } from "@hono/node-server";
import { UserError } from "@spo/records";
import { bracketed, isLoopback } from "./access/hosts.js";
import { createStudio, type StudioOptions } from "./studio.js";

/** Where the server listens. */
export interface ServeOptions extends StudioOptions {
  /** Default: this machine alone. */
  host?: string;
  /** 0: a free one. */
  port?: number;
}

/** A server that listens. */
export interface Served {
  /** With the token: who opens it is let in. */
  url: string;
  token: string;
  /** Whether other machines can reach it. */
  isPublic: boolean;
  /** Ends it; open connections are closed. */
  close: () => Promise<void>;
}

/** A connection that sends its request slower is closed. */
const REQUEST_MS = 20_000;

/** Starts Studio. Throws a UserError (`USAGE`) for a port or a host that cannot be had, and as `createStudio`. */
export async function serve({ host = "127.0.0.1", port = 0, ...options }: ServeOptions): Promise<Served> {
  const isAny = host === "0.0.0.0" || host === "::";
  const studio = createStudio({
    ...options,
    hosts: [...(options.hosts ?? []), ...(isAny ? ownNames() : [host])],
  });
  const server = await listening(studio.fetch, host, port);
  const address = server.address();
  const taken = typeof address === "object" && address ? address.port : port;
  const shown = isAny ? "127.0.0.1" : bracketed(host);
  return {
    url: `http://${shown}:${taken}/?token=${studio.token}`,
    token: studio.token,
    isPublic: !isLoopback(host),
    close: () =>
      new Promise((resolve, reject) => {
        const closed = new Promise((done) => server.close(done)); // nobody new is let in
        const written = studio.close();
        Promise.all([written, closed]).then(() => resolve(), reject);
        written.finally(() => {
          if ("closeAllConnections" in server) server.closeAllConnections();
        });
      }),
  };
}

function listening(
  fetch: (request: Request) => Promise<Response>,
  host: string,
  port: number,
): Promise<ServerType> {
  return new Promise((resolve, reject) => {
    const serverOptions = { requestTimeout: REQUEST_MS, headersTimeout: REQUEST_MS };
    const server = listen({ fetch, hostname: host, port, serverOptions }, () => {
      server.off("error", fail);
      resolve(server);
    });
    const fail = (error: NodeJS.ErrnoException): void => reject(listenFault(error, host, port));
    server.once("error", fail);
  });
}

function listenFault(error: NodeJS.ErrnoException, host: string, port: number): unknown {
  const fault = (message: string, hint: string): UserError =>
    new UserError(message, { code: "USAGE", hint, cause: error });
  switch (error.code) {
    case "EADDRINUSE":
      return fault(
        `--port ${port} is in use by another program.`,
        "Give another --port; --port 0 takes a free one.",
      );
    case "EACCES":
      return fault(`--port ${port} may not be taken.`, "Ports from 1024 on may; --port 0 takes a free one.");
    case "EADDRNOTAVAIL":
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return fault(
        `--host ${host} is no address of this machine.`,
        "127.0.0.1 is this machine alone, 0.0.0.0 all of its addresses.",
      );
    default:
      return error;
  }
}

/** By which other machines may call this one. */
const ownNames = (): string[] => [
  hostname(),
  ...Object.values(networkInterfaces()).flatMap((all) => (all ?? []).map(({ address }) => address)),
];
