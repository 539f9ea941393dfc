import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { packTar, type TarEntry } from "modern-tar";
import { afterAll, expect, test } from "vitest";
import { archivesOf, unpackArchive } from "./unpack-archive.js";

const folder = mkdtempSync(join(tmpdir(), "spo-unpack-"));
afterAll(() => rmSync(folder, { recursive: true }));
let next = 0;

const file = (name: string, body: Uint8Array, more: object = {}): TarEntry => ({
  header: { name, size: body.length, type: "file", ...more },
  body,
});
const bytes = (length: number, seed: number): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => (i * 7919 + seed * 104729 + ((i * i) >> 3)) % 256);

/** Writes an archive in parts of these names, cut evenly. */
async function archive(
  entries: TarEntry[],
  names: string[],
  gzip = true,
): Promise<{ at: string; paths: string[] }> {
  const at = join(folder, `set-${next++}`);
  mkdirSync(at);
  const tar = await packTar(entries);
  const whole = gzip ? gzipSync(tar) : Buffer.from(tar);
  const paths = names.map((name, i) => {
    const path = join(at, name);
    const cut = (place: number): number => Math.floor((whole.length * place) / names.length);
    writeFileSync(path, whole.subarray(cut(i), cut(i + 1)));
    return path;
  });
  return { at, paths };
}

test.each([
  ["one gzip", ["images.tar.gz"], true],
  ["one tar", ["images.tar"], false],
  ["parts of a gzip by number", ["images.tar.gz.00", "images.tar.gz.01", "images.tar.gz.02"], true],
  ["parts of a tar, more than ten", Array.from({ length: 11 }, (_, i) => `images.tar.part${i}`), false],
  ["parts by letters", ["images.tgz.part-aa", "images.tgz.part-ab"], true],
])("images and lists come out byte for byte: %s", async (_, names, gzip) => {
  const wanted = {
    "images/a.png": bytes(3000, 1),
    "images/deep/b.JPG": bytes(70_000, 2),
    "train.json": bytes(9, 3),
  };
  const { at, paths } = await archive(
    [
      ...Object.entries(wanted).map(([name, body]) => file(name, body)),
      file("run.sh", bytes(5, 4)),
      { header: { name: "link.png", size: 0, type: "symlink", linkname: "/etc/passwd" } },
    ],
    names,
    gzip,
  );
  const [one, ...more] = archivesOf([...paths].reverse());
  expect(more).toEqual([]);
  const out = join(at, "out");
  const done = await unpackArchive(one as NonNullable<typeof one>, out);
  expect(done).toEqual({ files: 3, bytes: 73_009, passedOver: 2 });
  for (const [name, body] of Object.entries(wanted))
    expect(Buffer.compare(readFileSync(join(out, name)), body)).toBe(0);
  expect(readdirSync(out, { recursive: true }).sort()).toEqual(
    ["images", "images/a.png", "images/deep", "images/deep/b.JPG", "train.json"].sort(),
  );
});

test.each(["../out.png", "/tmp/out.png", "a/../../out.png", "a\\..\\..\\out.png", "C:/out.png"])(
  "a name that leads outside is refused: %s",
  async (name) => {
    const { at, paths } = await archive([file(name, bytes(5, 1))], ["x.tar"], false);
    const [one] = archivesOf(paths);
    await expect(unpackArchive(one as NonNullable<typeof one>, join(at, "in", "out"))).rejects.toThrow(
      /names a file outside/,
    );
    expect(existsSync(join(at, "out.png"))).toBe(false);
  },
);

test("what is damaged, cut, missing or no tar is refused with words", async () => {
  const { at, paths } = await archive(
    [file("a.png", bytes(30_000, 1))],
    ["x.tar.gz.0", "x.tar.gz.1", "x.tar.gz.2"],
  );
  const [a, b, c] = paths as [string, string, string];
  expect(() => archivesOf([a, c])).toThrow(/between the parts 0 and 2 one is missing/);
  expect(() => archivesOf([c])).toThrow(/first part is 2/);
  expect(() => archivesOf([join(at, "x.zip")])).toThrow(/no tar file by its name/);
  const open = async (parts: string[]): Promise<unknown> =>
    unpackArchive({ name: "x.tar.gz", parts }, join(at, "out"));
  await expect(open([a, b])).rejects.toThrow(/no whole tar archive/);
  expect(existsSync(join(at, "out", "a.png"))).toBe(false);
  writeFileSync(join(at, "text.tar"), "no archive ".repeat(100));
  await expect(open([join(at, "text.tar")])).rejects.toThrow(/no whole tar archive/);
  await expect(open([join(at, "none.tar")])).rejects.toThrow(/does not exist/);
});

test("an archive that grows without measure is stopped", async () => {
  const { at, paths } = await archive([file("a.png", new Uint8Array(80 << 20))], ["x.tar.gz"]);
  await expect(unpackArchive({ name: "x", parts: paths }, join(at, "out"))).rejects.toThrow(
    /more than 100 times/,
  );
  expect(existsSync(join(at, "out", "a.png"))).toBe(false);
});
