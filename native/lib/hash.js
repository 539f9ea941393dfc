// @ts-check
import { createHash } from "node:crypto";

/** The first 80 bits of SHA-256, in hexadecimal. @param {string | Buffer} text */
export const hash = (text) => createHash("sha256").update(text).digest("hex").slice(0, 20);
