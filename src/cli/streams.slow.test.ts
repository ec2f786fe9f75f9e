/** The command in a process of its own: what becomes of output that can't be written, and of standard input. */
import assert from "node:assert/strict";
import { type SpawnSyncReturns, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { fileURLToPath } from "node:url";

const IOVA = fileURLToPath(new URL("../../../bin/iova.js", import.meta.url));
const NVME = fileURLToPath(new URL("../../../traces/nvme-io-612.txt.gz", import.meta.url));
const FULL = "/dev/full";
const noFull = existsSync(FULL) ? false : "there is no /dev/full here";
const folder = mkdtempSync(join(tmpdir(), "iova-process-"));
after(() => rmSync(folder, { recursive: true }));

interface Streams {
  readonly stdin?: string | Uint8Array;
  readonly stdout?: number;
  readonly stderr?: number;
}

function run(argv: readonly string[], { stdin = "", stdout, stderr }: Streams = {}): SpawnSyncReturns<string> {
  return spawnSync(process.execPath, [IOVA, ...argv], {
    input: stdin,
    stdio: ["pipe", stdout ?? "pipe", stderr ?? "pipe"],
    encoding: "utf8",
    env: { ...process.env, NO_COLOR: "1", FORCE_COLOR: "0" },
  });
}

describe("output that can't be written (review of 2026-11-30, B5)", () => {
  for (const argv of [["platforms"], ["platforms", "--json"], ["--help"], ["replay", "--help"]]) {
    test(`iova ${argv.join(" ")} > /dev/full is one line on standard error and exit code 3`, { skip: noFull }, () => {
      const { status, stderr } = run(argv, { stdout: openSync(FULL, "w") });
      assert.deepEqual([status, stderr], [3, "iova: standard output: no space is left on the device\n"]);
    });
  }

  test("--json /dev/full: the list is printed, then one line on standard error, and exit code 3", {
    skip: noFull,
  }, () => {
    const { status, stdout, stderr } = run(["platforms", "--json", FULL]);
    assert.deepEqual([status, stderr], [3, `iova: --json ${FULL}: no space is left on the device\n`]);
    assert.match(stdout, /^platform .*\n[\s\S]* on QEMU too\n$/);
  });

  test("messages that can't be written change no exit code", { skip: noFull }, () => {
    assert.equal(run(["plot"], { stderr: openSync(FULL, "w") }).status, 2);
    assert.equal(run(["platforms"], { stderr: openSync(FULL, "w") }).status, 0);
  });

  test("a reader that closes the pipe is no error, and nothing is said", () => {
    const { status, stdout, stderr } = spawnSync(
      "/bin/sh",
      ["-c", `{ "$0" "$1" platforms --json; echo "ended with $?" >&2; } | true`, process.execPath, IOVA],
      { encoding: "utf8" },
    );
    assert.deepEqual([status, stdout, stderr], [0, "", "ended with 0\n"]);
  });
});

describe("a reader that closes the pipe while a file is to be written", () => {
  test("the file is written all the same", () => {
    const path = join(folder, "replay.json");
    const { status, stdout, stderr } = spawnSync(
      "/bin/sh",
      [
        "-c",
        `{ sleep 0.2; "$0" "$1" replay nvme-io-612 --seconds 100ms --table pooled --cache none --json "$2"; echo "ended with $?" >&2; } | true`,
        process.execPath,
        IOVA,
        path,
      ],
      { encoding: "utf8" },
    );
    assert.deepEqual([status, stdout, stderr], [0, "", "ended with 0\n"]);
    assert.ok(JSON.parse(readFileSync(path, "utf8")));
  });
});

describe("--json FILE that may not be written (review of 2026-11-30, B6)", () => {
  // The superuser may write anywhere, unless it gives that capability up.
  const without = process.getuid?.() === 0 ? ["setpriv", "--bounding-set=-all", "--"] : [];
  const refused = (path: string): ReturnType<typeof run> => {
    const [command = "", ...args] = [...without, process.execPath, IOVA, "platforms", "--json", path];
    return spawnSync(command, args, { encoding: "utf8", env: { ...process.env, NO_COLOR: "1", FORCE_COLOR: "0" } });
  };
  const skip = process.platform === "linux" ? false : "permissions are tried on Linux";

  test("a folder without permission, and a file without, are named, before anything is printed", { skip }, () => {
    const locked = join(folder, "locked");
    mkdirSync(locked, { mode: 0o500 });
    const file = join(folder, "mine.json");
    writeFileSync(file, "{}", { mode: 0o400 });
    for (const [path, message] of [
      [join(locked, "out.json"), `No permission to write in the folder ${locked}.`],
      [file, `No permission to write the file ${file}.`],
    ] as const) {
      const { status, stdout, stderr } = refused(path);
      assert.deepEqual([status, stdout], [2, ""]);
      assert.ok(
        stderr.startsWith("iova: ") && stderr.includes(message) && stderr.indexOf("\n") === stderr.length - 1,
        stderr,
      );
    }
  });
});

describe("an error that nothing handles", () => {
  test("ends with exit code 3, not with Node's 1, in one line", () => {
    const { status, stderr } = spawnSync(
      process.execPath,
      [
        "--input-type=module",
        "--eval",
        `process.argv.push("iova", "version"); await import(${JSON.stringify(IOVA)}); setTimeout(() => { throw new Error("lost"); });`,
      ],
      { encoding: "utf8" },
    );
    assert.equal(status, 3, stderr);
    assert.match(stderr, /^iova: Error: lost; at .*\n$/);
  });
});

describe("standard input", () => {
  test("- is a trace there, plain or gz (review of 2026-11-30, B8)", () => {
    const argv = [
      "replay",
      "-",
      "--seconds",
      "50ms",
      "--table",
      "pooled",
      "--cache",
      "none",
      "--workers",
      "1",
      "--json",
    ];
    const { status, stdout, stderr } = run(argv, { stdin: readFileSync(NVME) });
    assert.deepEqual([status, stderr], [0, ""]);
    const { trace } = JSON.parse(stdout) as { trace: { file: string; events: number } };
    assert.deepEqual([trace.file, trace.events], ["-", 12741]);
  });

  test("without anything in it, or of another kind, it is named in the error", () => {
    const empty = run(["replay", "-"]);
    assert.deepEqual([empty.status, empty.stdout], [2, ""]);
    assert.match(empty.stderr, /^iova: standard input is empty; expected ftrace text.*\n$/);
    const foreign = run(["replay", "-"], { stdin: "Hello\n" });
    assert.match(foreign.stderr, /^iova: standard input holds no trace: its only line is no event.*\n$/);
  });
});
