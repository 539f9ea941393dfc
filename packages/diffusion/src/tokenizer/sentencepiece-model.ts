import { UserError } from "@spo/torch";

/** What of a sentencepiece model a tokenizer needs. */
export interface SentencePieceModel {
  /** Pieces with their scores, in the order of their ids. */
  pieces: [piece: string, score: number][];
  unknownId: number;
  /** Compiled character map. */
  characterMap: Uint8Array;
}

/** Fields of the messages, by number. Source: sentencepiece, sentencepiece_model.proto. */
const FIELDS = {
  model: { pieces: 1, trainer: 2, normalizer: 3 },
  piece: { text: 1, score: 2, type: 3 },
  trainer: { type: 3 },
  normalizer: { characterMap: 2 },
} as const;
const UNIGRAM = 1;
const UNKNOWN = 2;

/** Reads a spiece.model. name: of the file. Throws a UserError (`DATA`) where it is damaged or no unigram model. */
export function readSentencePiece(bytes: Uint8Array, name: string): SentencePieceModel {
  const refuse = (why: string): never => {
    throw new UserError(`${name} ${why}.`, {
      code: "DATA",
      hint: "Copy or download the tokenizer's folder again.",
    });
  };
  const found: SentencePieceModel = { pieces: [], unknownId: -1, characterMap: new Uint8Array() };
  let type = UNIGRAM; // the default
  try {
    for (const [field, value] of fieldsOf(bytes)) {
      if (!(value instanceof Uint8Array)) continue;
      if (field === FIELDS.model.pieces) {
        const parts = new Map(fieldsOf(value));
        if (parts.get(FIELDS.piece.type) === UNKNOWN) found.unknownId = found.pieces.length;
        const text = parts.get(FIELDS.piece.text);
        found.pieces.push([
          new TextDecoder().decode(text as Uint8Array | undefined),
          Number(parts.get(FIELDS.piece.score) ?? 0),
        ]);
      } else if (field === FIELDS.model.trainer) {
        type = Number(new Map(fieldsOf(value)).get(FIELDS.trainer.type) ?? UNIGRAM);
      } else if (field === FIELDS.model.normalizer) {
        const map = new Map(fieldsOf(value)).get(FIELDS.normalizer.characterMap);
        if (map instanceof Uint8Array) found.characterMap = map;
      }
    }
  } catch (error) {
    if (error instanceof RangeError || error instanceof TypeError)
      refuse("is damaged: it ends within a field");
    throw error;
  }
  if (type !== UNIGRAM) refuse("is no unigram model, as T5's is");
  if (found.unknownId < 0) refuse("names no unknown piece");
  return found;
}

/** The fields of a protobuf message: numbers, or bytes of what has a length. Throws a RangeError where it ends too soon. */
function* fieldsOf(bytes: Uint8Array): Generator<[field: number, value: number | Uint8Array]> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const varint = (): number => {
    let [value, scale] = [0, 1];
    while (true) {
      const byte = view.getUint8(at++);
      value += (byte & 127) * scale;
      if (byte < 128) return value;
      scale *= 128;
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    const field = Math.floor(tag / 8);
    switch (tag % 8) {
      case 0:
        yield [field, varint()];
        break;
      case 1:
        yield [field, view.getFloat64(at, true)];
        at += 8;
        break;
      case 2: {
        const length = varint();
        if (at + length > bytes.length) throw new RangeError("a field ends after its message");
        yield [field, bytes.subarray(at, at + length)];
        at += length;
        break;
      }
      case 5:
        yield [field, view.getFloat32(at, true)];
        at += 4;
        break;
      default:
        throw new RangeError(`a field of the kind ${tag % 8}`);
    }
  }
}
