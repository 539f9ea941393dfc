// A kind's cases on disk: the sound folder, and what case N makes of it.
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join, sep } from "node:path";
import { Draws } from "./draws.js";
import type { Kind } from "./kind.js";
import { mutateFile } from "./mutate-file.js";

/** What stands at a path: contents, nothing, a folder, or a link to elsewhere. */
type Entry = Uint8Array | "gone" | "folder" | { link: string };

/** A folder of one kind, in which one case after the other is set up. */
export class Cases {
  readonly folder: string;
  readonly #kind: Kind;
  readonly #sound = new Map<string, Uint8Array>();
  readonly #changeable: string[];
  #dirty: string[] = [];

  /** sound: the folder that the kind made. folder: a place of this object's own. */
  constructor(kind: Kind, sound: string, folder: string) {
    this.#kind = kind;
    this.folder = folder;
    for (const entry of readdirSync(sound, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const path = join(entry.parentPath, entry.name);
      this.#sound.set(path.slice(sound.length + 1).replaceAll(sep, "/"), readFileSync(path));
    }
    const pattern = kind.changed ?? /(?:)/;
    this.#changeable = [...this.#sound.keys()].filter((path) => pattern.test(path)).sort();
    if (this.#changeable.length === 0) throw new Error(`the kind ${kind.name} has no file to change`);
    rmSync(folder, { recursive: true, force: true });
    cpSync(sound, folder, { recursive: true });
  }

  /** Sets up case N, −1 being the sound files. Gives the bytes of what is there. */
  set(index: number): number {
    this.#restore();
    if (index < 0 || this.#kind.count !== undefined) return this.#size();
    const changes = this.#changesOf(index);
    for (const [path, entry] of changes) {
      const at = join(this.folder, path);
      rmSync(at, { recursive: true, force: true }); // a new file: the old one may still be mapped
      mkdirSync(dirname(at), { recursive: true });
      if (entry instanceof Uint8Array) writeFileSync(at, entry);
      else if (entry === "folder") mkdirSync(at);
      else if (entry !== "gone") symlinkSync(entry.link, at);
    }
    this.#dirty = [...changes.keys()];
    let size = this.#size();
    for (const entry of changes.values()) if (entry instanceof Uint8Array) size += entry.length;
    return size;
  }

  #changesOf(index: number): Map<string, Entry> {
    const draws = new Draws(this.#kind.name, index);
    const { words = [] } = this.#kind;
    const changes = new Map<string, Entry>();
    for (let i = draws.chance(0.15) ? 2 : 1; i > 0; i--) {
      const path = draws.pick(this.#changeable);
      const whole = draws.next();
      const bytes = this.#sound.get(path) as Uint8Array;
      if (whole < 0.01) changes.set(path, "gone");
      else if (whole < 0.015) changes.set(path, "folder");
      else if (whole < 0.02)
        changes.set(path, { link: draws.pick([path.split("/").at(-1) as string, "/dev/null", "nowhere"]) });
      else if (whole < 0.03) changes.set(path, Buffer.alloc(0));
      else if (whole < 0.05) changes.set(path, this.#sound.get(draws.pick(this.#changeable)) as Uint8Array);
      else changes.set(path, mutateFile(path, bytes, draws, words));
    }
    return changes;
  }

  #restore(): void {
    if (this.#kind.writes) {
      rmSync(this.folder, { recursive: true, force: true });
      this.#dirty = [...this.#sound.keys()];
    }
    for (const path of this.#dirty) {
      const at = join(this.folder, path);
      rmSync(at, { recursive: true, force: true });
      mkdirSync(dirname(at), { recursive: true });
      writeFileSync(at, this.#sound.get(path) as Uint8Array);
    }
    this.#dirty = [];
  }

  #size(): number {
    return [...this.#sound.values()].reduce((sum, bytes) => sum + bytes.length, 0);
  }
}
