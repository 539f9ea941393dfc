// What an invited person may ask for: one judging's pairs, and to vote there under the name of the invitation.

/** Who came by an invitation. */
export interface Guest {
  /** The judging's ID. */
  judging: string;
  /** The name that the votes stand under. */
  labeller: string;
}

/** Whether a guest may ask for this; the name in a vote is checked where the vote is read. */
export function isForGuests({ method, url }: Request, { judging, labeller }: Guest): boolean {
  const { pathname, searchParams } = new URL(url);
  if (method === "POST") return pathname === `/api/judging/${judging}/votes`;
  if (method !== "GET") return false;
  if (["/studio.js", "/studio.css", "/favicon.ico", `/judge/${judging}`].includes(pathname)) return true;
  const own = `/api/judging/${judging}/`;
  const isOwn = pathname === `${own}next` || pathname.startsWith(`${own}pictures/`);
  return isOwn && searchParams.get("labeller") === labeller;
}
