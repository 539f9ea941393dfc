// What every page is made of: one file that works offline, holds its images and runs no script.
import { type Html, html, Html as Raw } from "./html.js";
import { STYLE } from "./style.js";

/** A page with the common style, as text. style: rules of its own. */
export function htmlDocument(title: string, content: Html, style = ""): string {
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>${title}</title>
<style>${new Raw(STYLE + style)}</style>
</head>
<body><main>
${content}
</main></body>
</html>
`.text;
}
