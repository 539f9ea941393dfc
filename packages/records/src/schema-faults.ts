// Schema faults in words for someone who reads the file and not the schema.
import type { z } from "zod";

/** Faults that are listed; more would repeat the same. */
const MOST = 3;

/** The first faults with their places: `scores.1: expected number, received string; id: missing, expected string`. */
export const schemaFaults = ({ issues }: z.ZodError): string =>
  issues
    .slice(0, MOST)
    .map(({ path, message }) => `${path.length > 0 ? `${path.join(".")}: ` : ""}${inWords(message)}`)
    .join("; ");

const inWords = (message: string): string =>
  message
    .replace(/^Invalid input: expected (.*), received undefined$/, "missing, expected $1")
    .replace(/^Invalid (input|option): /, "");
