import { fileURLToPath } from "node:url";

/** The folder of the example: its models, data, prompts and settings, in a clone or where the package is installed. */
export const EXAMPLE_FOLDER: string = fileURLToPath(new URL("..", import.meta.url)).replace(/\/$/, "");
