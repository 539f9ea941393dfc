// Who may see runs: whoever has the token that the command printed. A browser has it once, in its first address, and then a cookie.
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";

/** Wrong tokens in a minute after which none is looked at. */
const MOST_TRIES = 20;
const WINDOW_MS = 60_000;

/** The token of one server, and the secret of its browsers' cookies. */
export class Credentials {
  readonly token: string;
  readonly #session = randomBytes(24).toString("base64url");
  #wrong: number[] = [];

  /** token: default, a random one. */
  constructor(token: string = randomBytes(24).toString("base64url")) {
    this.token = token;
  }

  /** The value of the cookie. */
  get session(): string {
    return this.#session;
  }

  /** Whether a token is the right one; "later" where too many wrong ones came, which a person does not type. */
  check(token: string, now = performance.now()): "right" | "wrong" | "later" {
    this.#wrong = this.#wrong.filter((at) => now - at < WINDOW_MS);
    if (this.#wrong.length >= MOST_TRIES) return "later";
    if (isSame(token, this.token)) return "right";
    this.#wrong.push(now);
    return "wrong";
  }

  isSession(cookie: string): boolean {
    return isSame(cookie, this.#session);
  }
}

/** In a time that does not tell how much of it is right. */
const isSame = (given: string, wanted: string): boolean => timingSafeEqual(digest(given), digest(wanted));

const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
