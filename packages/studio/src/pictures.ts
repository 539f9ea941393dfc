// Pictures by ID. Their type is that of their bytes, never of a name, and only of kinds that run nothing.

/** The media type of an image's first bytes; undefined for anything else, SVG among it. */
export function imageType(bytes: Uint8Array): string | undefined {
  const starts = (signature: readonly number[], at = 0): boolean =>
    signature.every((byte, i) => bytes[at + i] === byte);
  if (starts([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])) return "image/png";
  if (starts([0xff, 0xd8, 0xff])) return "image/jpeg";
  if (starts([0x52, 0x49, 0x46, 0x46]) && starts([0x57, 0x45, 0x42, 0x50], 8)) return "image/webp";
  return undefined;
}

/** An answer with a picture, which the browser may keep; 404 where there is none. */
export function pictureResponse(bytes: Uint8Array | undefined): Response {
  const type = bytes && imageType(bytes);
  if (!bytes || !type)
    return Response.json({ code: "DATA", message: "There is no such picture." }, { status: 404 });
  return new Response(new Uint8Array(bytes), {
    headers: {
      "Content-Type": type,
      "Cache-Control": "private, max-age=86400",
      "Content-Disposition": "inline",
    },
  });
}
