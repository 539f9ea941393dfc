// What torch.save wrote: .ckpt, .pt, .bin, as zip archives and as the form before them.
import { join } from "node:path";
import { loadSingleFile, loadUnet } from "@spo/diffusion";
import { readSafetensors, scope } from "@spo/torch";
import {
  legacyFile,
  opcodes,
  pickleDict,
  type Storages,
  tensorOpcodes,
  zipFile,
} from "../../../packages/torch/src/weights/torch-file.fixture.js";
import { mutateBytes } from "../byte-mutators.js";
import { Draws } from "../draws.js";
import type { Kind } from "../kind.js";
import { copy, disposeAll, GOLDEN, readTensors, withFile } from "./weights.js";

/** Opcodes and what they are misused for. */
const PICKLE = [
  ...[
    "\x80\x02",
    "\x80\x05",
    "\x80\xff",
    "(",
    ".",
    "0",
    "1",
    "2",
    "}",
    "]",
    ")",
    "t",
    "u",
    "s",
    "a",
    "e",
    "R",
    "Q",
    "b",
    "o",
    "\x81",
    "\x93",
    "N",
    "\x88",
    "\x89",
  ],
  ...[
    "cos\nsystem\n",
    "c__builtin__\neval\n",
    "cbuiltins\ngetattr\n",
    "ctorch\nFloatStorage\n",
    "ctorch._utils\n_rebuild_tensor_v2\n",
    "ccollections\nOrderedDict\n",
  ],
  ...[
    "cnumpy\ndtype\n",
    "cnumpy.core.multiarray\n_reconstruct\n",
    "cnumpy._core.multiarray\nscalar\n",
    "c__main__\nX\n",
    "ipickle\nloads\n",
  ],
  ...[
    "h\x00",
    "j\xff\xff\xff\xff",
    "q\x00",
    "r\xff\xff\xff\x7f",
    "p0\n",
    "g0\n",
    "g99999999\n",
    "\x94",
    "J\xff\xff\xff\xff",
    "K\xff",
    "M\xff\xff",
  ],
  ...[
    "\x8a\xff",
    "\x8b\xff\xff\xff\x7f",
    "I99999999999999999999\n",
    "L1L\n",
    "X\xff\xff\xff\x7f",
    "X\x00\x00\x00\x00",
    "\x8c\x03abc",
    "U\x03abc",
    "T\xff\xff\xff\x7f",
    "B\xff\xff\xff\x7f",
    "\x8e\xff\xff\xff\xff\xff\xff\xff\x7f",
    "\x95\xff\xff\xff\xff\xff\xff\xff\xff",
  ],
  ...[
    "state_dict",
    "storage",
    "cpu",
    "cuda:0",
    "PK\x03\x04",
    "PK\x01\x02",
    "PK\x05\x06",
    "PK\x06\x06",
    "archive/data.pkl",
    "../data.pkl",
    "byteorder",
    "big",
  ],
];

const view = (storage: string, shape: number[]) => ({
  storage,
  shape,
  strides: shape.map((_, i) => shape.slice(i + 1).reduce((a, b) => a * b, 1)),
  offset: 0,
});

/** A safetensors file's weights as opcodes by name, and their storages. */
function pickledWeights(path: string): { items: Record<string, readonly number[]>; storages: Storages } {
  const storages: Record<string, Storages[string]> = {};
  const items: Record<string, readonly number[]> = {};
  for (const [name, value] of readSafetensors(path)) {
    const key = String(Object.keys(storages).length);
    const { buffer, byteOffset, byteLength, length } = scope(
      () => value.to({ dtype: "float32" }).toTypedArray() as Float32Array,
    );
    storages[key] = {
      type: "FloatStorage",
      bytes: new Uint8Array(buffer, byteOffset, byteLength),
      count: length,
    };
    items[name] = tensorOpcodes(view(key, [...value.shape]), storages);
    value.dispose();
  }
  return { items, storages };
}

/** Opcodes of a dict within another. */
const dictOpcodes = (items: Readonly<Record<string, readonly number[]>>): number[] => [
  ...[...opcodes.dict, ...opcodes.mark],
  ...Object.entries(items).flatMap(([name, value]) => [...opcodes.text(name), ...value]),
  ...opcodes.setItems,
];

const [pickle, storages] = [pickleOf(), storagesOf()];

function storagesOf(): Storages {
  const bytes = new Uint8Array(Float32Array.from([1, 2, 3, 4, 5, 6]).buffer);
  return {
    "0": { type: "FloatStorage", bytes, count: 6 },
    "1": { type: "LongStorage", bytes: new Uint8Array(16), count: 2 },
  };
}

function pickleOf(): Uint8Array {
  const known = storagesOf();
  return pickleDict({
    "a.weight": tensorOpcodes(view("0", [2, 3]), known),
    "a.bias": tensorOpcodes({ ...view("0", [3]), offset: 3, parameter: true }, known),
    positions: tensorOpcodes(view("1", [2]), known),
    step: opcodes.int(7),
  });
}

export const pickleKinds: readonly Kind[] = [
  {
    name: "pickle-zip",
    group: "pickle",
    words: PICKLE,
    make: (folder) => {
      withFile(folder, "weights.pt", zipFile(pickle, storages));
      copy(folder, "torch-bin/mixed.bin", "torch-bin/nested.bin", "torch-bin/parameters.bin");
    },
    read: (folder) => {
      for (const name of ["weights.pt", "mixed.bin", "nested.bin", "parameters.bin"])
        readTensors(join(folder, name));
    },
  },
  {
    // The archive is whole: only the pickle in it is damaged, so that the reader goes on to it.
    name: "pickle-in-zip",
    group: "pickle",
    share: 2,
    make: (folder) => withFile(folder, "any.txt", Buffer.from("the case is made of its number")),
    read(folder, index) {
      const damaged =
        index < 0 ? pickle : mutateBytes(pickle, new Draws("pickle-in-zip/inner", index), PICKLE);
      withFile(folder, "weights.pt", zipFile(damaged, storages));
      readTensors(join(folder, "weights.pt"));
    },
    writes: true,
  },
  {
    name: "pickle-legacy",
    group: "pickle",
    words: PICKLE,
    make: (folder) => {
      withFile(folder, "weights.bin", legacyFile(pickle, storages));
      copy(folder, "torch-bin/legacy.bin");
    },
    read: (folder) => {
      for (const name of ["weights.bin", "legacy.bin"]) readTensors(join(folder, name));
    },
  },
  {
    name: "checkpoint",
    group: "pickle",
    changed: /\.ckpt$/,
    words: [
      ...PICKLE,
      "model.diffusion_model.",
      "pytorch-lightning_version",
      "callbacks",
      "optimizer_states",
    ],
    make(folder) {
      copy(folder, "tiny-sd15:configs");
      const { items, storages: all } = pickledWeights(join(GOLDEN, "single-file-sd15.safetensors"));
      const whole = pickleDict({
        epoch: opcodes.int(3),
        global_step: opcodes.int(1000),
        state_dict: dictOpcodes(items),
      });
      withFile(folder, "model.ckpt", zipFile(whole, all));
    },
    read: (folder) =>
      disposeAll(loadSingleFile(join(folder, "model.ckpt"), { configs: join(folder, "configs") })),
  },
  {
    name: "model-bin",
    group: "pickle",
    changed: /\.bin$/,
    words: PICKLE,
    make(folder) {
      copy(folder, "tiny-sd15/unet/config.json:unet/config.json");
      const { items, storages: all } = pickledWeights(
        join(GOLDEN, "tiny-sd15/unet/diffusion_pytorch_model.safetensors"),
      );
      withFile(join(folder, "unet"), "diffusion_pytorch_model.bin", zipFile(pickleDict(items), all));
    },
    read: (folder) => void loadUnet(join(folder, "unet")).dispose(),
  },
];
