/** A character map as sentencepiece compiles it, and tokenizer.json keeps it. */
export interface CharacterMap {
  /** A double-array trie of UTF-8 bytes: u32 units. */
  trie: Uint32Array;
  /** Replacements as zero-terminated UTF-8, at the places that the trie names. */
  replacements: Uint8Array;
}

/**
 * Takes a compiled character map apart: the trie's size in bytes as u32, the trie, the replacements, all little-endian. Throws a RangeError
 * where it is shorter than it says. Source: sentencepiece, normalizer.cc.
 */
export function readCharacterMap(bytes: Uint8Array): CharacterMap {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const size = view.getUint32(0, true);
  const trie = Uint32Array.from({ length: size / 4 }, (_, i) => view.getUint32(4 + 4 * i, true));
  return { trie, replacements: bytes.subarray(4 + size) };
}

/** Bytes of a cluster of code points from which on its code points are looked up one by one. */
const LONG_CLUSTER = 6;

const clusters = new Intl.Segmenter("en", { granularity: "grapheme" });
const [encoder, decoder] = [new TextEncoder(), new TextDecoder()];

/**
 * Text with its characters replaced: a grapheme cluster of fewer than 6 bytes by the replacement of its shortest start that has one, else
 * each of its code points; what has none stays. Source: huggingface/tokenizers, normalizers/precompiled.rs.
 */
export function mapCharacters(text: string, map: CharacterMap): string {
  let mapped = "";
  for (const { segment } of clusters.segment(text)) {
    const bytes = encoder.encode(segment);
    const whole = bytes.length < LONG_CLUSTER ? replacementOf(bytes, map) : undefined;
    mapped += whole ?? [...segment].map((char) => replacementOf(encoder.encode(char), map) ?? char).join("");
  }
  return mapped;
}

/** The replacement of the shortest start of a text that has one. Source: darts-clone, common prefix search. */
function replacementOf(bytes: Uint8Array, { trie, replacements }: CharacterMap): string | undefined {
  let at = offsetOf(trie[0] ?? 0);
  for (const byte of bytes) {
    if (byte === 0) return undefined;
    at ^= byte;
    const unit = trie[at] ?? 0;
    if ((unit & 0x800000ff) >>> 0 !== byte) return undefined;
    at ^= offsetOf(unit);
    if ((unit >>> 8) & 1) {
      const start = (trie[at] ?? 0) & 0x7fffffff;
      return decoder.decode(replacements.subarray(start, replacements.indexOf(0, start)));
    }
  }
  return undefined;
}

const offsetOf = (unit: number): number => (unit >>> 10) << ((unit & 512) >>> 6);
