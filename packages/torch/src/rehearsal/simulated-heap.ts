// The resident memory that a process's allocations lead to: a simulation of the addon's allocator of large blocks, and of glibc's as the
// addon configures it.
import type { MemoryBook } from "./rehearse.js";

/** Bytes from which a block is large; `kFrom` of the addon's large-blocks.h. */
const LARGE_FROM = 1 << 20;

/** Bytes that may be kept even where less was ever in use; `kAlways` of it. */
const ALWAYS = 128 << 20;

/** A process whose allocations are simulated, one piece of work after the other. */
export class SimulatedProcess {
  /** One is the main thread's, the other serves the rest. */
  readonly #heaps = [new SimulatedHeap(), new SimulatedHeap()] as const;
  readonly #large = new SimulatedLargeBlocks();

  /** Plays a book → the peak of resident bytes. Blocks that it frees without having allocated them are ignored. */
  play(book: MemoryBook): number {
    const [own, others] = this.#heaps;
    const all = [own, others, this.#large];
    let most = 0;
    for (let i = 0; i < book.length; i += 2) {
      const [block, bytes] = [book[i] as number, book[i + 1] as number];
      const heap = block > 0 ? own : others;
      if (bytes > 0) (bytes < LARGE_FROM ? heap : this.#large).allocate(Math.abs(block), bytes);
      else for (const each of all) each.free(Math.abs(block)); // it goes back to where it is from
      most = Math.max(
        most,
        all.reduce((sum, { resident }) => sum + resident, 0),
      );
    }
    return most;
  }
}

/** Mappings of whole pages. Freed ones are kept for the next, as many as fit within the most that was ever in use and the slack. */
class SimulatedLargeBlocks {
  readonly #sizes = new Map<number, number>();
  /** Sizes, in the order in which they were freed. */
  readonly #kept: number[] = [];
  #keptBytes = 0;
  #used = 0;
  #most = 0;

  /** Bytes. */
  get resident(): number {
    return this.#used + this.#keptBytes;
  }

  allocate(block: number, bytes: number): void {
    const size = up(bytes, PAGE);
    this.#reuse(size);
    this.#sizes.set(block, size);
    this.#used += size;
    this.#most = Math.max(this.#most, this.#used);
    while (this.resident > Math.max(this.#most, ALWAYS)) this.#keptBytes -= this.#kept.shift() as number;
  }

  /** Takes a kept block of this size; else the next larger, whose rest stays; else the next smaller, which grows. */
  #reuse(size: number): void {
    let best = 0;
    for (const [i, each] of this.#kept.entries()) {
      const chosen = this.#kept[best] as number;
      if (each >= size ? chosen < size || each <= chosen : chosen < size && each >= chosen) best = i;
    }
    const had = this.#kept[best];
    if (had === undefined) return;
    if (had > size) this.#kept[best] = had - size;
    else this.#kept.splice(best, 1);
    this.#keptBytes -= Math.min(had, size);
  }

  free(block: number): void {
    const size = this.#sizes.get(block);
    if (size === undefined) return;
    this.#sizes.delete(block);
    this.#used -= size;
    this.#kept.push(size);
    this.#keptBytes += size;
  }
}

/** A piece of the heap, in order of addresses. */
interface Chunk {
  start: number;
  size: number;
  free: boolean;
  before?: Chunk;
  after?: Chunk;
}

/** The trim threshold that the addon sets by `mallopt`. */
const TRIM_FROM = 512 << 20;
const TOP_PAD = 16 << 20;

const PAGE = 4096;
const LEAST = 32; // bytes of a chunk
const ALIGNMENT = 64; // of a tensor's memory; libtorch's

/**
 * A heap that grows at its end, gives the smallest free chunk that will do and joins neighbours that are free. What was freed inside of it
 * stays resident.
 *
 * Source: glibc 2.36, `_int_memalign`, `_int_malloc`, `sysmalloc`, `systrim`; with tcache and bins of small chunks left out.
 */
export class SimulatedHeap {
  readonly #chunks = new Map<number, Chunk>();
  readonly #free = new Set<Chunk>();
  #last: Chunk | undefined;
  /** First address that is not in use, the end of what the system gave, and the highest that was ever used and not given back. */
  #top = 0;
  #end = 0;
  #touched = 0;

  /** Bytes. */
  get resident(): number {
    return this.#touched;
  }

  allocate(block: number, bytes: number): void {
    const wanted = Math.max(LEAST, up(bytes + 8, 16));
    const room = wanted + ALIGNMENT + 3 * 16; // that an aligned chunk surely fits in
    const found = this.#smallest(room);
    if (!found && room + LEAST > this.#end - this.#top)
      this.#end = up(this.#top + room + TOP_PAD + LEAST, PAGE);
    const chunk = found ?? this.#extend(room);
    this.#free.delete(chunk);
    chunk.free = false;
    // The memory begins 16 bytes into the chunk; what stands before and after the aligned chunk is free again.
    let start = up(chunk.start + 16, ALIGNMENT) - 16;
    if (start > chunk.start && start - chunk.start < LEAST) start += ALIGNMENT;
    const used = start > chunk.start ? this.#cut(chunk, start - chunk.start) : chunk;
    if (used !== chunk) this.#release(chunk);
    if (used.size >= wanted + LEAST) this.#release(this.#cut(used, wanted));
    this.#touched = Math.max(this.#touched, used.start + used.size);
    this.#chunks.set(block, used);
  }

  /** A block that was not allocated here is left alone. */
  free(block: number): void {
    const chunk = this.#chunks.get(block);
    this.#chunks.delete(block);
    if (chunk) this.#release(chunk);
  }

  #smallest(room: number): Chunk | undefined {
    let best: Chunk | undefined;
    for (const chunk of this.#free)
      if (chunk.size >= room && !(best && best.size <= chunk.size)) best = chunk;
    return best;
  }

  #extend(size: number): Chunk {
    const chunk: Chunk = { start: this.#top, size, free: false, before: this.#last };
    if (this.#last) this.#last.after = chunk;
    this.#last = chunk;
    this.#top += size;
    return chunk;
  }

  /** Cuts a chunk in two → the second. */
  #cut(chunk: Chunk, size: number): Chunk {
    const rest: Chunk = {
      start: chunk.start + size,
      size: chunk.size - size,
      free: false,
      before: chunk,
      after: chunk.after,
    };
    if (rest.after) rest.after.before = rest;
    else this.#last = rest;
    chunk.after = rest;
    chunk.size = size;
    return rest;
  }

  #release(chunk: Chunk): void {
    chunk.free = true;
    this.#free.add(chunk);
    if (chunk.before?.free) this.#join(chunk.before, chunk);
    const joined = chunk.before?.free ? chunk.before : chunk;
    if (joined.after?.free) this.#join(joined, joined.after);
    if (joined.after) return;
    this.#free.delete(joined);
    this.#last = joined.before;
    if (this.#last) this.#last.after = undefined;
    this.#top = joined.start;
    if (this.#end - this.#top < TRIM_FROM) return;
    this.#end = up(this.#top + TOP_PAD, PAGE);
    this.#touched = Math.min(this.#touched, this.#end);
  }

  #join(first: Chunk, second: Chunk): void {
    this.#free.delete(second);
    first.size += second.size;
    first.after = second.after;
    if (second.after) second.after.before = first;
    else this.#last = first;
  }
}

const up = (n: number, unit: number): number => Math.ceil(n / unit) * unit;
