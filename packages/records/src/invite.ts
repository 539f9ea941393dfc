// Invitations to judge: who has the secret may vote under a name, and do nothing else. The file holds no secret, only its SHA-256.
import { createHash, randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { appendLine } from "@spo/torch/files";
import { z } from "zod";
import { parseRecord, readOrdinary } from "./read-record.js";

/** One line of a file of invitations. */
const Invite = z.object({
  schema: z.literal("spo.invite/1"),
  sha256: z.string(),
  labeller: z.string(),
  at: z.string(),
});

const digest = (secret: string): string => createHash("sha256").update(secret).digest("hex");

/** Adds an invitation to a file, and gives its secret. Throws a UserError (`RESOURCE`) where it cannot be kept. */
export function addInvite(path: string, labeller: string, at = new Date()): string {
  const secret = randomBytes(24).toString("base64url");
  const line: z.output<typeof Invite> = {
    schema: "spo.invite/1",
    sha256: digest(secret),
    labeller,
    at: at.toISOString(),
  };
  appendLine(path, JSON.stringify(line));
  return secret;
}

/** Under which name the secret lets vote; undefined where there is no such invitation. Lines that are none are passed over. */
export function invitedBy(path: string, secret: string): string | undefined {
  if (!existsSync(path)) return undefined;
  const wanted = digest(secret);
  for (const line of readOrdinary(path).toString("utf8").split("\n")) {
    try {
      const { sha256, labeller } = parseRecord(line, Invite);
      if (sha256 === wanted) return labeller;
    } catch {
      // A half line, or one of another program: it invites nobody.
    }
  }
  return undefined;
}
