import { UserError } from "@spo/torch";

/** What the UserError says that a call ends with. Throws when it ends otherwise. */
export function refusal(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    if (error instanceof UserError) return error.message;
    throw error;
  }
  throw new Error("nothing was thrown");
}
