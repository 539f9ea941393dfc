// The questions of a training in its run's folder: a preference set that Studio shows, and the latents of each pair beside it.
import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Ballot, hashOfImage, readVotes } from "@spo/data";
import { readOrdinary } from "@spo/records";
import {
  type Device,
  openSafetensors,
  scope,
  type Tensor,
  writeFileAtomic,
  writeSafetensors,
} from "@spo/torch";
import { makeFolder } from "@spo/torch/files";
import { z } from "zod";
import type { StepPairs } from "../../objectives/step-pairs.js";

/** Of the run's folder: the set; its votes stand beside it. */
const [SET, VOTES] = ["human", "human.votes.jsonl"];

const Question = z.object({
  id: z.string(),
  prompt: z.string(),
  image_0: z.string(),
  image_1: z.string(),
  has_label: z.literal(false),
  split: z.literal("train"),
  /** Counted from 0: when it was asked. */
  round: z.number(),
  timestep: z.number(),
  /** False: the training no longer waits for an answer. */
  open: z.boolean(),
  /** Row of the prompt among those of the training. */
  row: z.number(),
  margin: z.number(),
});
/** A pair that people are asked about: image 0 is the one that the judge took for the better one. */
export type Question = z.output<typeof Question>;

/** A new question. */
export interface NewQuestion extends Pick<Question, "prompt" | "round" | "timestep" | "row" | "margin"> {
  images: readonly [Uint8Array, Uint8Array];
  /** The steps that led to the two images. */
  pairs: StepPairs;
}

/** What people said of a question: the share of image 0; "no pair" where they see none; undefined while nobody has answered. */
export type Answered = number | "no pair" | undefined;

/** The questions of one run. */
export class QuestionSet {
  readonly #folder: string;
  readonly #votes: string;
  #questions: Question[] = [];
  #openBefore = new Set<string>();
  readonly #hashes = new Map<string, readonly [string, string]>();

  constructor(run: string) {
    this.#folder = join(run, SET);
    this.#votes = join(run, VOTES);
  }

  /** Those that wait for an answer, the oldest first. */
  get open(): Question[] {
    return this.#questions.filter(({ open }) => open);
  }

  /**
   * Goes on at a round, 0 for a new training: questions of later rounds are asked again. openThen: IDs of those that waited when that state
   * was saved; others with an answer were learned from before it.
   */
  resume(round: number, openThen: readonly string[]): void {
    const list = join(this.#folder, "pairs.jsonl");
    const known = existsSync(list) ? readOrdinary(list).toString("utf8").split("\n").filter(Boolean) : [];
    this.#openBefore = new Set(openThen);
    this.#questions = known
      .map((line) => Question.parse(JSON.parse(line)))
      .filter((question) => question.round < round)
      .map((question) => ({
        ...question,
        open: this.#openBefore.has(question.id) && existsSync(this.#latentsOf(question.id)),
      }));
  }

  /** Adds questions of a round; `write` makes them known. */
  add(asked: readonly NewQuestion[]): void {
    for (const [i, { images, pairs, ...facts }] of asked.entries()) {
      const id = `${String(facts.round).padStart(6, "0")}-${i}`;
      const names = [0, 1].map((which) => `images/${id}_${which}.png`) as [string, string];
      makeFolder(join(this.#folder, "images"));
      for (const [which, name] of names.entries())
        writeFileAtomic(join(this.#folder, name), images[which] as Uint8Array);
      const { latentsWin, latentsLose, nextWin, nextLose, ...rest } = pairs;
      this.#hashes.delete(id);
      makeFolder(join(this.#folder, "latents"));
      const tensors = { latentsWin, nextWin, nextLose, ...(latentsLose !== latentsWin && { latentsLose }) };
      writeSafetensors(this.#latentsOf(id), tensors, { pairs: JSON.stringify(rest) });
      this.#questions.push({
        ...{ id, image_0: names[0], image_1: names[1], has_label: false, split: "train", open: true },
        ...facts,
      });
    }
  }

  /** Questions that need no answer any more. */
  settle(ids: ReadonlySet<string>): void {
    this.#questions = this.#questions.map((each) => (ids.has(each.id) ? { ...each, open: false } : each));
  }

  /** Writes the list that Studio reads. */
  write(): void {
    if (this.#questions.length === 0) return;
    makeFolder(this.#folder);
    const lines = this.#questions.map((question) => `${JSON.stringify(question)}\n`);
    writeFileAtomic(join(this.#folder, "pairs.jsonl"), lines.join(""));
  }

  /** IDs of the open ones, for a checkpoint. Latents that neither it nor the one before needs are removed. */
  save(): string[] {
    const open = this.open.map(({ id }) => id);
    const needed = new Set([...open, ...this.#openBefore]);
    const folder = join(this.#folder, "latents");
    for (const name of existsSync(folder) ? readdirSync(folder) : [])
      if (!needed.has(name.replace(/\.safetensors$/, ""))) rmSync(join(folder, name));
    this.#openBefore = new Set(open);
    return open;
  }

  /** What people have said of the open questions so far, by ID. Throws a UserError (`DATA`) where the votes are damaged. */
  async answers(): Promise<Map<string, Answered>> {
    if (!existsSync(this.#votes)) return new Map();
    const votes = readVotes(this.#votes);
    const ballot = new Ballot(votes);
    const bad = new Ballot(
      votes.map((vote) => ({ ...vote, preference: vote.asked?.answer === "both bad" ? 1 : null })),
    );
    const found = new Map<string, Answered>();
    for (const question of this.open) {
      const { id, prompt } = question;
      const [hash0, hash1] = await this.#hashesOf(question);
      const share = ballot.label0(prompt, hash0, hash1);
      const isBad = bad.label0(prompt, hash0, hash1) !== undefined;
      found.set(id, share === 0.5 || (share === undefined && isBad) ? "no pair" : share);
    }
    return found;
  }

  /** The steps of a question's pair; the caller disposes of them. */
  pairsOf({ id }: Question, device: Device): StepPairs {
    using file = openSafetensors(this.#latentsOf(id));
    return scope(() => {
      const rest = JSON.parse(file.metadata.pairs as string) as Omit<StepPairs, keyof StepTensors>;
      const at = (name: keyof StepTensors): Tensor => file.get(name).to({ device });
      const latentsWin = at("latentsWin");
      const latentsLose = file.has("latentsLose") ? at("latentsLose") : latentsWin;
      return { ...rest, latentsWin, latentsLose, nextWin: at("nextWin"), nextLose: at("nextLose") };
    });
  }

  #latentsOf(id: string): string {
    return join(this.#folder, "latents", `${id}.safetensors`);
  }

  async #hashesOf({ id, image_0, image_1 }: Question): Promise<readonly [string, string]> {
    const hashOf = (image: string): Promise<string> => hashOfImage({ path: join(this.#folder, image) });
    const known = this.#hashes.get(id) ?? ([await hashOf(image_0), await hashOf(image_1)] as const);
    this.#hashes.set(id, known);
    return known;
  }
}

type StepTensors = Pick<StepPairs, "latentsWin" | "latentsLose" | "nextWin" | "nextLose">;
