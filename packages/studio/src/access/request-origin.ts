// Whether another site made a browser send a request.

/** Why a request is refused; undefined where it may pass. Reads may come from anywhere but other sites, writes from this page alone. */
export function foreignRequest(request: Request): string | undefined {
  const { method, headers } = request;
  const site = headers.get("sec-fetch-site");
  if (method === "GET" || method === "HEAD") {
    // Opening the address from another page is a navigation, which shows nothing to that page.
    const opens =
      headers.get("sec-fetch-mode") === "navigate" && headers.get("sec-fetch-dest") === "document";
    return site === null || site === "same-origin" || site === "none" || opens
      ? undefined
      : "it comes from another site";
  }
  if (site !== null && site !== "same-origin") return "it comes from another site";
  const origin = headers.get("origin");
  // By host alone: a proxy may have taken the encryption off.
  if (origin !== null && hostOf(origin) !== new URL(request.url).host) return "it comes from another site";
  // A program has neither header; it shows the token, which no browser sends by itself.
  if (origin === null && site === null && !headers.has("authorization"))
    return "it does not say where it comes from";
  if (!/^application\/json(;|$)/i.test(headers.get("content-type") ?? "")) return "its content is not JSON";
  return undefined;
}

const hostOf = (origin: string): string | undefined =>
  URL.canParse(origin) ? new URL(origin).host : undefined;
