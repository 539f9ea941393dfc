// The setting of encoded prompts on disk. No tensor code: help and checks need no engine.
import { pathText } from "@spo/records/config";
import { UserError } from "@spo/torch/files";

/** For the schema of a recipe whose text encoders can go before it trains. */
export const promptCacheSettings = {
  promptCache: pathText()
    .nullable()
    .default(null)
    .describe(
      "folder where encoded prompts are kept: those that are there are not encoded again, and the text encoders are freed before the training; null: prompts are encoded in each training",
    ),
};

/** Throws a UserError (`CONFIG`) where text encoders are to be freed that the training needs. */
export function requireCacheable({
  promptCache,
  textEncoders,
  adapter,
}: {
  promptCache: string | null;
  textEncoders: boolean;
  adapter: "lora" | "full";
}): void {
  if (promptCache === null || (!textEncoders && adapter === "lora")) return;
  throw new UserError(
    `promptCache frees the text encoders, and ${textEncoders ? "textEncoders trains them" : "adapter full writes them into the result"}.`,
    { code: "CONFIG", hint: "Leave promptCache out." },
  );
}
