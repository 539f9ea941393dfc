// `org/name[/path/in/it][@revision]`. No imports: a command may ask what a word is before it loads anything.

/** A model on a hub: its repository, a file in it, and a revision. */
export interface HubId {
  /** `org/name`. */
  repo: string;
  /** Branch, tag or commit. */
  revision: string;
  /** One file of the repository, or undefined for the model's folder. */
  file?: string;
}

const NAME = /^[\w-](?:[\w.-]{0,94}[\w-])?$/;

/**
 * Reads a hub id; undefined when the text cannot be one (a path, a single word, names that a hub does not allow).
 *
 * `runs/first` reads like an id too: look whether it is a path on this machine first.
 */
export function parseHubId(text: string): HubId | undefined {
  const at = text.indexOf("@");
  const path = at < 0 ? text : text.slice(0, at);
  const revision = at < 0 ? "main" : text.slice(at + 1);
  const [org, name, ...rest] = path.split("/");
  if (!org || !name || ![org, name].every((part) => NAME.test(part) && !/--|\.\./.test(part)))
    return undefined;
  if (!isSafePath(revision) || (rest.length > 0 && !isSafePath(rest.join("/")))) return undefined;
  return { repo: `${org}/${name}`, revision, file: rest.length > 0 ? rest.join("/") : undefined };
}

/**
 * Whether a name from outside stays in the folder that it is joined to, by the rules of every system, and looks like itself when it is
 * listed.
 */
export function isSafePath(path: string): boolean {
  return path
    .split("/")
    .every(
      (part) => part !== "" && part !== "." && part !== ".." && !/[\\:]/.test(part) && !DECEIVES.test(part),
    );
}

/** Control characters, directions and characters without width: a terminal acts on such a name, or shows another one. */
const DECEIVES = /[\p{Cc}\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]/u;
