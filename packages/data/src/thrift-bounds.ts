// Checks that the metadata of a parquet file claims no more than it has: a parser allocates what is claimed, and reads on after the end.

/** Structs and lists within each other: a file's metadata has some ten. */
const MOST_DEPTH = 64;

/**
 * Walks one struct of Thrift's compact protocol without keeping anything. Throws an Error where a list or a text is longer than what is
 * left, where it ends too soon, and for types that the protocol does not have. Source: Thrift's thrift-compact-protocol.md.
 */
export function requireBoundedThrift(bytes: Uint8Array): void {
  let at = 0;
  const next = (): number => {
    const byte = bytes[at++];
    if (byte === undefined) throw new Error("its metadata ends too soon");
    return byte;
  };
  const varint = (): number => {
    let value = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      const byte = next();
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
    throw new Error("its metadata is damaged");
  };
  const skip = (count: number): void => {
    if (count > bytes.length - at) throw new Error("its metadata claims more than there is");
    at += count;
  };
  const list = (depth: number): void => {
    const head = next();
    const size = head >> 4 === 15 ? varint() : head >> 4;
    if (size > bytes.length - at) throw new Error("its metadata claims more than there is");
    const type = head & 15;
    for (let i = 0; i < size; i++) {
      if (type === 1 || type === 2)
        skip(1); // alone a truth value is in its field's head
      else value(type, depth + 1);
    }
  };
  const struct = (depth: number): void => {
    for (let head = next(); head !== 0; head = next()) {
      if (head >> 4 === 0) varint(); // the field's number, where it is no small step from the one before
      value(head & 15, depth + 1);
    }
  };
  const value = (type: number, depth: number): void => {
    if (depth > MOST_DEPTH) throw new Error("its metadata is nested too deeply");
    if (type === 1 || type === 2) return;
    if (type === 3) skip(1);
    else if (type <= 6) varint();
    else if (type === 7) skip(8);
    else if (type === 8) skip(varint());
    else if (type === 9 || type === 10) list(depth);
    else if (type === 12) struct(depth);
    else throw new Error("its metadata is damaged");
  };
  struct(0);
}
