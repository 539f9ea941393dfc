/** glibc maps blocks above its threshold, at most this, one by one. */
const MAPPED = (32 << 20) + (1 << 16);

/**
 * Zeroed bytes. From a megabyte on they lie in a mapping of their own, of which only what is written takes memory, and which the system has
 * back as soon as they are freed: as parts of a thread's heap they would leave holes that stay resident.
 */
export function largeBytes(length: number): Uint8Array<ArrayBuffer> {
  if (length < 1 << 20) return new Uint8Array(length);
  return new Uint8Array(new ArrayBuffer(Math.max(length, MAPPED)), 0, length);
}
