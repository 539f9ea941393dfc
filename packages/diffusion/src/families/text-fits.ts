// Checks that a tokenizer's ids and lengths fit its text encoder.
import { UserError } from "@spo/torch";
import { warn } from "@spo/torch/warnings";
import type { ClipTokenizer } from "../tokenizer/clip-tokenizer.js";

/** What of a text encoder is looked at. */
interface ReadsText {
  config: { vocab_size?: number; max_position_embeddings?: number };
}

/**
 * Throws a UserError (`CONFIG`) where a tokenizer makes more tokens than the text encoder has positions, or ends and fills up with ids that
 * it does not know; warns of words whose ids it does not know. part: the tokenizer's folder.
 */
export function requireTextFits(tokenizer: ClipTokenizer, encoder: ReadsText, part: string): void {
  const { vocab_size: vocabulary = 49408, max_position_embeddings: positions = 77 } = encoder.config;
  const refuse = (why: string): never => {
    throw new UserError(`The ${part} does not fit its text encoder: ${why}.`, {
      code: "CONFIG",
      hint: "Give the tokenizer and the text encoder of one model.",
    });
  };
  const { modelMaxLength: length, vocabSize } = tokenizer;
  if (length > positions)
    refuse(`it makes ${length} tokens (model_max_length), and there are ${positions} positions`);
  const always = tokenizer.encodePadded("").find((id) => id >= vocabulary);
  if (always !== undefined)
    refuse(`it marks a text with the id ${always}, and there are ${vocabulary} embeddings`);
  if (vocabSize > vocabulary)
    warn(
      `The ${part} has ids up to ${vocabSize - 1}, and its text encoder ${vocabulary} embeddings: a prompt with a word beyond them is refused.`,
    );
}

/**
 * Throws a UserError (`DATA`) for ids that are no rows of an encoder's embeddings. texts: as they were encoded, n of them with L ids each.
 */
export function requireKnownIds(ids: readonly number[], texts: readonly string[], encoder: ReadsText): void {
  const { vocab_size: vocabulary = 49408 } = encoder.config;
  const at = ids.findIndex((id) => id >= vocabulary);
  if (at < 0) return;
  const text = texts[Math.floor(at / (ids.length / texts.length))];
  throw new UserError(
    `The prompt ${JSON.stringify(text)} has a word with the id ${ids[at]}, and the text encoder has ${vocabulary} embeddings.`,
    { code: "DATA", hint: "The tokenizer knows more words than the model: leave the word out." },
  );
}
