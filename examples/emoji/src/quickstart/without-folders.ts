/** Settings with what is of this machine left out, at any depth: a report is shown elsewhere. */
export function withoutFolders(settings: object, folders: { example: string; folder: string }): object {
  return shortened(settings, folders) as object;
}

function shortened(value: unknown, folders: { example: string; folder: string }): unknown {
  if (typeof value === "string")
    return value.replace(folders.example, "example").replace(folders.folder, "run");
  if (Array.isArray(value)) return value.map((inner) => shortened(inner, folders));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, shortened(inner, folders)]));
}
