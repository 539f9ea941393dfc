import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { completionScript, SHELLS } from "./completion-scripts.js";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "spo's completion-")); // a quote, for the quoting
  mkdirSync(join(folder, "here/models"), { recursive: true });
  for (const name of ["my prompts.txt", "mine.json"]) writeFileSync(join(folder, "here", name), "");
  // Answers with the words that it was asked about, then as the command does.
  writeFileSync(
    join(folder, "answer.mjs"),
    `const [last, ...before] = process.argv.slice(2).reverse();
    const put = (...lines) => process.stdout.write(lines.map((line) => line + "\\n").join(""));
    if (before[0] === "--echo") put(JSON.stringify(before.reverse()) + "\\twords");
    else if (before[0] === "--scorer") put(...["clip:", "cosine:"].filter((word) => word.startsWith(last)).map((word) => word + "\\tscorer"), ":files");
    else if (before[0] === "--folder") put(":folders");
    else if (last.startsWith("--kind=")) put("--kind=one\\ta: b", "--kind=only\\t");
    else put("samplers\\t", "sample\\tmake images");`,
  );
});
afterAll(() => rmSync(folder, { recursive: true }));

const script = (shell: (typeof SHELLS)[number]): string =>
  completionScript(shell, [process.execPath, join(folder, "answer.mjs")]);

/** What a shell says to a script. */
function asked(shell: string, code: string): string {
  const { stdout, stderr } = spawnSync(shell, ["-c", code], {
    cwd: join(folder, "here"),
    encoding: "utf8",
  });
  expect(stderr).toBe("");
  return stdout;
}

/** What bash would put in place of the last part of a line, and the ways in which it would. parts: as bash parts the line. */
function bash(line: string, parts: readonly string[]) {
  const words = parts.map((part) => `'${part}'`).join(" ");
  const out = asked(
    "bash",
    `compopt() { options+=("$*"); }
    ${script("bash")}
    COMP_LINE='${line}' COMP_POINT=${line.length} COMP_WORDS=(${words}) COMP_CWORD=${parts.length - 1}
    _spo_complete
    printf '> %s\\n' "\${COMPREPLY[@]}"
    printf '+ %s\\n' "\${options[@]}"`,
  );
  const behind = (mark: string): string[] =>
    out.split("\n").flatMap((text) => (text.startsWith(mark) ? text.slice(2) || [] : []));
  return { replies: behind("> "), options: behind("+ ") };
}

describe("bash", () => {
  test("completes a command, called by name, by path or by npx", () => {
    for (const begin of ["spo", "./node_modules/.bin/spo", "npx spo"])
      expect(bash(`${begin} sam`, [...begin.split(" "), "sam"]).replies).toEqual(["samplers", "sample"]);
    expect(bash("npx vitest s", ["npx", "vitest", "s"]).replies).toEqual([]);
  });

  test("gives the words of the line, the last one empty behind a space", () => {
    expect(bash("spo x --echo ", ["spo", "x", "--echo", ""]).replies).toEqual(['["x","--echo"]']);
  });

  test("puts a value behind = and : without what stands before", () => {
    expect(bash("spo --kind=o", ["spo", "--kind", "=", "o"]).replies).toEqual(["one", "only"]);
    expect(bash("spo --scorer c", ["spo", "--scorer", "c"])).toEqual({
      replies: ["clip:", "cosine:"],
      options: expect.arrayContaining(["-o nospace"]),
    });
    expect(bash("spo --scorer clip:m", ["spo", "--scorer", "clip", ":", "m"]).replies.sort()).toEqual([
      ...["mine.json", "models", "my prompts.txt"],
    ]);
  });

  test("completes files and folders only where they may stand", () => {
    expect(bash("spo --folder m", ["spo", "--folder", "m"]).replies).toEqual(["models"]);
    expect(bash("spo sam", ["spo", "sam"]).options).toEqual(["+o default"]);
  });
});

test.each(SHELLS)("the script of %s is one that the shell reads", (shell) => {
  const text = script(shell);
  expect(text).not.toContain("@ASK@");
  const path = join(folder, `spo.${shell}`);
  writeFileSync(path, text);
  const { error, status, stderr } = spawnSync(shell, ["-n", path], { encoding: "utf8" });
  if (!error) expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
});

const has = (shell: string): boolean => spawnSync(shell, ["--version"]).error === undefined;

test.skipIf(!has("fish"))("fish completes commands with what they are about, values and files", () => {
  const completed = (line: string): string[] =>
    asked("fish", `${script("fish")}\ncomplete -C '${line}'`)
      .split("\n")
      .filter(Boolean)
      .sort();
  expect(completed("spo sam")).toEqual(["sample\tmake images", "samplers"]);
  expect(completed("npx spo sam")).toEqual(["sample\tmake images", "samplers"]);
  expect(completed("spo x --echo ")).toEqual(['["x","--echo"]\twords']);
  expect(completed("spo --kind=o")).toEqual(["--kind=one\ta: b", "--kind=only"]);
  expect(completed("spo --folder m")).toEqual(["models/\tDirectory"]);
});
