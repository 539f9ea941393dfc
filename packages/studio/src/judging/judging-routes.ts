// What the page of judging asks for.
import { statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { ANSWERS, addInvite, invitedBy, UserError, VoteLog } from "@spo/records";
import { Hono } from "hono";
import { z } from "zod";
import type { Guest } from "../access/guests.js";
import type {
  Invitation,
  JudgingList,
  JudgingResults,
  JudgingSet,
  NextPairs,
  QueuedJob,
  VotesTraining,
} from "../api.js";
import { pictureResponse } from "../pictures.js";
import type { FoundRun } from "../runs/find-runs.js";
import type { RunIndex } from "../runs/run-index.js";
import type { RunLogs } from "../runs/run-logs.js";
import { Judging, type JudgingSettings, shown } from "./judging.js";
import { imageOfPair, PAIR_LIST, type PairsToJudge, pairsOfRun, pairsOfSet } from "./pairs-to-judge.js";
import { judgingResults } from "./results.js";

/** Pairs that a page may have at a time. */
const MOST_NEXT = 10;

const Name = z.string().trim().min(1).max(100);
const Ballot = z.strictObject({
  id: z.string().min(8).max(100),
  pair: z.string().max(100),
  labeller: Name,
  answer: z.enum(ANSWERS),
  seconds: z.number().min(0).max(1e6),
  repeat: z.boolean(),
});

const Invited = z.strictObject({ labeller: Name });

/** anew: whether it begins with the base, and not where the last one ended. */
const Train = z.strictObject({ anew: z.boolean() });

/** Trainings on the votes of sets. */
interface TrainOnVotes {
  of: (set: FoundRun) => VotesTraining;
  start: (set: FoundRun, votes: number, anew: boolean) => QueuedJob;
}

/** The judgings of a folder's sets and runs. */
export class Judgings {
  readonly #index: RunIndex;
  readonly #logs: RunLogs;
  readonly #settings: JudgingSettings;
  readonly #open = new Map<string, Promise<Judging>>();
  readonly #sets = new Map<string, { of: string; pairs: PairsToJudge }>();
  #isClosed = false;
  readonly routes = new Hono<{ Variables: { guest?: Guest } }>();

  constructor(index: RunIndex, logs: RunLogs, settings: JudgingSettings, trainings?: TrainOnVotes) {
    this.#index = index;
    this.#logs = logs;
    this.#settings = settings;
    this.routes.get("/", async (c) => {
      const sets = (await index.sets()).map(({ id, name }) => ({ id, title: name }));
      const list: JudgingList = { schema: "spo.studio.judging/1", sets };
      return c.json(list);
    });
    this.routes.get("/:id/next", async (c) => {
      const { pairs, judging } = await this.#of(c.req.param("id"));
      const labeller = labellerOf(c.req.query("labeller"));
      const except = (c.req.query("except") ?? "").split(",").slice(0, MOST_NEXT);
      const given = judging.next(pairs, { labeller, except, count: MOST_NEXT });
      const answered = judging.answeredBy(labeller);
      const base = `/api/judging/${c.req.param("id")}/pictures`;
      const next = given.map(({ pair, repeat }) => {
        const src = (side: string): string =>
          `${base}/${pair.id}/${side}?labeller=${encodeURIComponent(labeller)}${repeat ? "&repeat=1" : ""}`;
        return { pair: pair.id, prompt: pair.prompt, left: src("left"), right: src("right"), repeat };
      });
      const answer: NextPairs = {
        schema: "spo.studio.next/1",
        set: setOf(c.req.param("id"), pairs),
        answered,
        next,
      };
      return c.json(answer);
    });
    this.routes.get("/:id/pictures/:pair/:side", async (c) => {
      const pairs = await this.#pairsOf(c.req.param("id"));
      const pair = pairs.pairs.find(({ id }) => id === c.req.param("pair"));
      const side = ["left", "right"].indexOf(c.req.param("side"));
      if (!pair || side < 0) return pictureResponse(undefined);
      const { left } = shown(pair, labellerOf(c.req.query("labeller")), c.req.query("repeat") === "1");
      return pictureResponse(imageOfPair(pairs, pair, (side === 0 ? left : 1 - left) as 0 | 1));
    });
    this.routes.post("/:id/votes", async (c) => {
      const { success, data } = Ballot.safeParse(await c.req.json().catch(() => undefined));
      if (!success) throw new UserError("This is no vote.", { code: "USAGE" });
      const guest = c.get("guest");
      if (guest && guest.labeller !== data.labeller)
        throw new UserError(`The invitation is for ${guest.labeller}.`, { code: "USAGE" });
      const { pairs, judging } = await this.#of(c.req.param("id"));
      await judging.vote(pairs, data);
      return c.json({ kept: data.id });
    });
    this.routes.post("/:id/invites", async (c) => {
      const { success, data } = Invited.safeParse(await c.req.json().catch(() => undefined));
      if (!success) throw new UserError("Who is invited is not said.", { code: "USAGE" });
      const id = c.req.param("id");
      const secret = addInvite(invitesPath((await this.#pairsOf(id)).folder), data.labeller);
      const invitation: Invitation = {
        schema: "spo.studio.invitation/1",
        ...{ labeller: data.labeller, path: `/?invite=${id}.${secret}` },
      };
      return c.json(invitation);
    });
    this.routes.post("/:id/train", async (c) => {
      const { success, data } = Train.safeParse(await c.req.json().catch(() => undefined));
      if (!success) throw new UserError("This is no training.", { code: "USAGE" });
      const set = await index.findSet(c.req.param("id"));
      if (!trainings || !set)
        throw new UserError("Studio was not started to train on these votes.", {
          code: "USAGE",
          hint: "`npx spo train votes` does it; with `--train` the page does.",
        });
      const { pairs, judging } = await this.#of(set.id);
      const { votes } = judgingResults(judging.votes, pairs);
      return c.json(trainings.start(set, votes, data.anew) satisfies QueuedJob);
    });
    this.routes.get("/:id/results", async (c) => {
      const { pairs, judging } = await this.#of(c.req.param("id"));
      const set = await index.findSet(c.req.param("id"));
      const results: JudgingResults = {
        schema: "spo.studio.votes/1",
        training: set && trainings?.of(set),
        ...judgingResults(judging.votes, pairs),
      };
      return c.json(results);
    });
  }

  /** Who has the token of an invitation, `JUDGING.SECRET`; undefined where there is no such one. */
  async guest(token: string): Promise<Guest | undefined> {
    const [judging, secret] = token.split(".") as [string, string?];
    if (secret === undefined) return undefined;
    const folder = await this.#folderOf(judging);
    const labeller = folder === undefined ? undefined : invitedBy(invitesPath(folder), secret);
    return labeller === undefined ? undefined : { judging, labeller };
  }

  /** Waits until all votes that came are on the disk. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const judging of this.#open.values()) await (await judging.catch(() => undefined))?.close();
    this.#open.clear();
  }

  async #of(id: string): Promise<{ pairs: PairsToJudge; judging: Judging }> {
    const pairs = await this.#pairsOf(id);
    let judging = this.#open.get(id);
    if (!judging) {
      if (this.#isClosed)
        throw new UserError("Studio is ending.", { code: "RESOURCE", hint: "The vote is sent again." });
      judging = VoteLog.open(votesPath(pairs.folder)).then((log) => new Judging(log, this.#settings));
      this.#open.set(id, judging);
      judging.catch(() => this.#open.delete(id)); // the next request tries again
    }
    return { pairs, judging: await judging };
  }

  /** A list of thousands is read again only when it has changed. */
  #pairsOfSet(set: FoundRun): PairsToJudge {
    const found = statSync(join(set.folder, PAIR_LIST), { throwIfNoEntry: false });
    const of = `${found?.size} ${found?.mtimeMs}`;
    const known = this.#sets.get(set.id);
    if (known?.of === of) return known.pairs;
    const pairs = pairsOfSet(set);
    this.#sets.set(set.id, { of, pairs });
    return pairs;
  }

  async #folderOf(id: string): Promise<string | undefined> {
    return ((await this.#index.findSet(id)) ?? (await this.#index.find(id)))?.folder;
  }

  async #pairsOf(id: string): Promise<PairsToJudge> {
    const set = await this.#index.findSet(id);
    if (set) return this.#pairsOfSet(set);
    const run: FoundRun | undefined = await this.#index.find(id);
    if (!run)
      throw new UserError("There is nothing to judge here; it may have been removed.", { code: "DATA" });
    return pairsOfRun(run, await this.#logs.of(run));
  }
}

function labellerOf(name: string | undefined): string {
  const { success, data } = Name.safeParse(name);
  if (success) return data;
  throw new UserError("Who judges is not said.", { code: "USAGE", hint: "A name of 1 to 100 characters." });
}

/** Beside the folder, not in it: a set's folder is read whole, and a run's belongs to its training. */
export const votesPath = (folder: string): string => join(dirname(folder), `${basename(folder)}.votes.jsonl`);

const invitesPath = (folder: string): string => join(dirname(folder), `${basename(folder)}.invites.jsonl`);

const setOf = (id: string, { title, names, pairs }: PairsToJudge): JudgingSet => ({
  id,
  title,
  names: names && [...names],
  pairs: pairs.length,
});
