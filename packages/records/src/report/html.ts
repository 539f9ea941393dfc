/** Markup that is safe to insert as it is. Anything else is escaped by `html`. */
export class Html {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

type Part = Html | string | number | undefined | false | null | readonly Part[];

/** A tagged template: what is filled in is escaped, unless it is `Html` itself. */
export function html(strings: TemplateStringsArray, ...parts: readonly Part[]): Html {
  return new Html(strings.reduce((all, text, i) => all + rendered(parts[i - 1]) + text));
}

function rendered(part: Part): string {
  if (part instanceof Html) return part.text;
  if (part === undefined || part === false || part === null) return "";
  if (typeof part === "object") return part.map(rendered).join("");
  return String(part).replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
