import { shortageOf, UserError } from "@spo/torch/files";

/** Loads the engine, which only commands that compute need. Throws a UserError (`ENVIRONMENT`) where it is not built or does not load. */
export async function loadEngine(): Promise<typeof import("@spo/torch")> {
  try {
    return await import("@spo/torch");
  } catch (error) {
    const shortage = shortageOf(error);
    if (shortage) throw shortage;
    throw new UserError(`The engine does not load: ${(error as Error).message}`, {
      code: "ENVIRONMENT",
      hint: "Run `npm run setup`; `npx spo doctor` tells what is missing.",
      cause: error,
    });
  }
}
