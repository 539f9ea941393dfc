// @ts-check
import { expect, test } from "vitest";
import { glibcIn, platformManifest, platformOf } from "./pack-addon.mjs";

test("a platform's package is installed on that platform alone, in the version of @spo/native", () => {
  const manifest = platformManifest(platformOf("arm64"));
  expect(manifest).toMatchObject({
    name: "@spo/native-linux-arm64",
    os: ["linux"],
    cpu: ["arm64"],
    libc: ["glibc"],
  });
  expect(() => platformOf("riscv64")).toThrow("Use one of linux-x64, linux-arm64");
});

test("the glibc that a library asks for is the newest among its symbols' versions", () => {
  const info = `
    0x0010:   Name: GLIBC_2.4  Flags: none  Version: 3
    0x0020:   Name: GLIBC_2.34  Flags: none  Version: 9
    0x0030:   Name: GLIBC_2.17  Flags: none  Version: 2
    0x0040:   Name: GLIBCXX_3.4.30  Flags: none  Version: 4
    0x0050:   Name: CXXABI_1.3.9  Flags: none  Version: 5`;
  expect(glibcIn(info)).toBe("2.34");
});
