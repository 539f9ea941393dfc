// The page that the browser gets: one script and one style, built by the set-up.
import { existsSync, readFileSync } from "node:fs";
import { UserError } from "@spo/records";

/** The built page. */
export interface ClientFiles {
  script: string;
  style: string;
}

/** Reads the built page. Throws a UserError (`ENVIRONMENT`) where it was not built. */
export function readClient(): ClientFiles {
  const at = (name: string): URL => new URL(`../page/${name}`, import.meta.url);
  if (!existsSync(at("studio.js")))
    throw new UserError("The page of Studio is not built.", {
      code: "ENVIRONMENT",
      hint: "`npm run setup` in the clone builds it.",
    });
  return { script: readFileSync(at("studio.js"), "utf8"), style: readFileSync(at("studio.css"), "utf8") };
}

/** The document of every address of the page. */
export const clientDocument = (nonce: string): string =>
  documentOf(
    "Studio",
    `<link rel="stylesheet" href="/studio.css" nonce="${nonce}">`,
    `<div id="app"></div><noscript>Studio needs JavaScript.</noscript><script type="module" src="/studio.js" nonce="${nonce}"></script>`,
  );

/** A page of words, for who is not let in. */
export const wordsDocument = (title: string, words: string): string =>
  documentOf(title, "", `<main><h1>${escaped(title)}</h1><p>${escaped(words)}</p></main>`);

/** Goes on to another address of this server, as if the person had typed it: so a cookie for this site alone is sent along. */
export const forwardDocument = (to: string): string =>
  documentOf("Studio", `<meta http-equiv="refresh" content="0;url=${to}">`, "");

const documentOf = (title: string, head: string, body: string): string =>
  `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark"><title>${escaped(title)}</title>${head}</head><body>${body}</body></html>`;

const escaped = (text: string): string =>
  text.replace(/[&<>"']/g, (character) => `&#${character.codePointAt(0)};`);
