// One vote of a person, or a scorer, on a pair of images.
import { z } from "zod";

/** What a judge may say of a pair that is shown side by side, and that a vote of before does not count. */
export const ANSWERS = ["left", "right", "tie", "both bad", "skip", "undo"] as const;
/** One of `ANSWERS`. */
export type Answer = (typeof ANSWERS)[number];

/**
 * One line of a votes file. A pair is known by its prompt and the SHA-256 of its two images, so votes hold wherever the images are
 * copied to and whichever of them is image 0.
 */
export const Vote = z.object({
  schema: z.literal("spo.vote/1").default("spo.vote/1"),
  /** Made by who votes: the same id twice is one vote. */
  id: z.string().min(1),
  prompt: z.string(),
  image_0: z.string().regex(/^[0-9a-f]{64}$/, "expected a SHA-256"),
  image_1: z.string().regex(/^[0-9a-f]{64}$/, "expected a SHA-256"),
  /** Share of image 0: 1 it is better, 0 the other is, ½ they are alike. `null`: no opinion. */
  preference: z.number().min(0).max(1).nullable(),
  /** Who or what said so. A later vote of the same one on the same pair replaces the earlier one. */
  labeller: z.string().default(""),
  /** ISO 8601. */
  at: z.string().optional(),
  /** How it was asked, where a person was shown the pair: which pair, which image stood left, what was said, and how long that took. */
  asked: z
    .object({
      pair: z.string(),
      left: z.union([z.literal(0), z.literal(1)]),
      answer: z.enum(ANSWERS),
      seconds: z.number().min(0),
      /** Faster than a person sees two images. */
      hasty: z.boolean(),
      /** The pair was shown to the same person before, with sides swapped. */
      repeat: z.boolean(),
    })
    .optional(),
});
/** One vote. */
export type Vote = z.output<typeof Vote>;
