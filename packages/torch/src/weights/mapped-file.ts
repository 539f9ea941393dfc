import { existsSync } from "node:fs";
import { native } from "@spo/native";
import { type DType, dtypeCode } from "../dtype.js";
import { UserError } from "../errors.js";
import { wrap } from "../handle.js";
import type { Tensor } from "../tensor.js";

/** A file in memory: nothing is read before it is used, and tensors over it share its pages (writes stay private to the process). */
export class MappedFile {
  readonly path: string;
  readonly size: number;
  readonly #mapping: number;

  /** Throws a UserError (`DATA`) when there is no such file or it cannot be read. */
  constructor(path: string) {
    if (!existsSync(path)) throw new UserError(`${path} does not exist.`, { code: "DATA" });
    try {
      [this.#mapping, this.size] = native.map(path);
    } catch (error) {
      throw new UserError(`${(error as Error).message}.`, { code: "DATA", cause: error });
    }
    this.path = path;
  }

  /** A copy of a part. The part must lie in the file. */
  bytes(offset: number, length: number): Uint8Array {
    const handle = native.fromMapping(this.#mapping, offset, dtypeCode("uint8"), [length]);
    try {
      return new Uint8Array(native.copyOut(handle));
    } finally {
      native.releaseOne(handle);
    }
  }

  /** A tensor over the file's own memory; a copy where `offset` is not aligned to the dtype. */
  tensor(offset: number, dtype: DType, shape: readonly number[]): Tensor {
    return wrap(native.fromMapping(this.#mapping, offset, dtypeCode(dtype), shape));
  }

  /** No more tensors can be taken; those that exist stay valid. */
  close(): void {
    native.unmap(this.#mapping);
  }
}
