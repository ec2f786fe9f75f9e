import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { BOARD_KINDS } from "../machines/boards.ts";
import { main } from "./main.ts";
import { RecordingTerminal } from "./terminal.model.ts";

const traces = fileURLToPath(new URL("../../../traces/", import.meta.url));
const NVME = join(traces, "nvme-io-612.txt.gz");
const folder = mkdtempSync(join(tmpdir(), "iova-cli-"));
after(() => rmSync(folder, { recursive: true }));

function file(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

async function run(...argv: string[]): Promise<{ code: number; output: string; errors: string }> {
  const terminal = new RecordingTerminal();
  const code = await main(argv, terminal);
  return { code, output: terminal.output, errors: terminal.errors };
}

describe("iova", () => {
  test("--version is the package's", async () => {
    const { code, output } = await run("--version");
    assert.equal(code, 0);
    assert.match(output, /^\d+\.\d+\.\d+\n$/);
  });

  test("--help names the verbs, replay --help has examples and exit codes; no line is wider than 100 columns", async () => {
    const verbs = await run("--help");
    const replay = await run("replay", "--help");
    assert.deepEqual([verbs.code, replay.code], [0, 0]);
    assert.match(verbs.output, /^ {2}replay \[options\] <TRACE>/m);
    for (const flag of "platform workers table pools entries page-shift cache strict lazy seconds json".split(" ")) {
      assert.match(replay.output, new RegExp(`--${flag}\\b`));
    }
    assert.match(replay.output, /Examples:\n {2}\$ iova replay traces/);
    assert.match(replay.output, /Exit codes:\n {2}0 fine;/);
    for (const line of `${verbs.output}${replay.output}`.split("\n")) assert.ok(line.length <= 100, line);
  });

  test("platforms lists every platform with its pages, levels and format, and tells of one in detail", async () => {
    const list = await run("platforms");
    assert.deepEqual([list.code, list.errors], [0, ""]);
    for (const kind of BOARD_KINDS) {
      assert.match(list.output, new RegExp(`^${kind.name} +\\d+[KMG].* ${kind.format} +${kind.strayAccess}`, "m"));
      const one = await run("platforms", kind.name);
      assert.ok(one.output.startsWith(`${kind.name}: ${kind.summary.slice(0, 20)}`), one.output);
      list.output += one.output;
    }
    for (const line of list.output.split("\n")) assert.ok(line.length <= 100, line);
    assert.match(list.output, /powernv and sun4u on QEMU too/);
    const { platforms } = JSON.parse((await run("platforms", "--json")).output) as {
      platforms: { name: string; machines: string[] }[];
    };
    assert.deepEqual(
      platforms.map(({ name }) => name),
      BOARD_KINDS.map(({ name }) => name),
    );
    assert.deepEqual(
      platforms.filter(({ machines }) => machines.includes("qemu")).map(({ name }) => name),
      ["powernv", "sun4u"],
    );
  });

  test("without a verb shows the help on standard error", async () => {
    const { code, output, errors } = await run();
    assert.deepEqual([code, output], [2, ""]);
    assert.match(errors, /^Usage: iova/);
  });
});

const WRONG_USE: readonly (readonly [argv: readonly string[], message: RegExp])[] = [
  [["plot"], /^iova: unknown command 'plot'/],
  [["--bogus"], /^iova: unknown option '--bogus'/],
  [["replay"], /^iova: missing required argument 'TRACE'/],
  [["replay", "a", "b"], /^iova: too many arguments for 'replay'/],
  [["platforms", "vax"], /^iova: platform is vax; expected one of linear-tce/],
  [["replay", NVME, "--platform", "vax"], /Found 'vax'; expected one of linear-tce, /],
  [
    ["replay", NVME, "--platform", "sun4v", "--entries", "300000"],
    /^iova: entries of sun4v is 300000; expected .* 262144/,
  ],
  [["replay", NVME, "--platform", "linear-iopte", "--page-shift", "12"], /^iova: page shift is 12; expected one that/],
  [["replay", NVME, "--bogus"], /^iova: unknown option '--bogus'/],
  [
    ["replay", NVME, "--workers", "0"],
    /'--?w.*' argument '0' is invalid. Found '0'; expected a whole number from 1 to 64/,
  ],
  [["replay", NVME, "--workers", "two"], /expected a whole number from 1 to 64/],
  [["replay", NVME, "--workers", "2.5"], /Found '2.5'; expected a whole number/],
  [["replay", NVME, "--workers=-1"], /Found '-1'; expected a whole number/],
  [["replay", NVME, "--pools", "1025"], /expected a whole number from 1 to 1024/],
  [["replay", NVME, "--entries", "4294967296"], /expected a whole number from 1 to 2147483647/],
  [["replay", NVME, "--page-shift", "4"], /expected a whole number from 12 to 34/],
  [["replay", NVME, "--table", "single-lock,best"], /Found 'best'; expected a list of: single-lock, pooled/],
  [["replay", NVME, "--table", "pooled,pooled"], /Found a word twice/],
  [["replay", NVME, "--table", ""], /expected a list of/],
  [["replay", NVME, "--cache", "lifo"], /Found 'lifo'; expected none or fifo/],
  [["replay", NVME, "--seconds", "0"], /expected a number above 0 and up to 3600/],
  [["replay", NVME, "--seconds", "1e9"], /expected a number above 0/],
  [["replay", NVME, "--strict", "--lazy"], /cannot be used with option/],
  [["replay", NVME, "--entries", "16"], /^iova: entries is 16; expected at least 32 for the request of line \d+ alone/],
  [
    ["replay", NVME, "--entries", "400", "--workers", "2"],
    /^iova: entries is 400; expected at least 513: so many are live/,
  ],
  [["replay", NVME, "--page-shift", "34"], /^iova: memory of the replay is/],
  [["replay", NVME, "--json", join(folder, "no", "such.json")], /no folder to write in at/],
  [["replay", NVME, "--json", folder], /it is a directory; expected a file name/],
];

const BAD_INPUT: readonly (readonly [what: string, path: () => string, message: RegExp])[] = [
  ["missing", () => join(folder, "none.txt"), /none\.txt: there is no such file/],
  ["a directory", () => folder, /is a directory; expected a trace file/],
  ["empty", () => file("empty", ""), /empty is empty; expected ftrace text/],
  ["binary", () => file("binary", Uint8Array.of(1, 2, 3, 0, 4)), /binary is binary: byte 3 of its text is 0/],
  ["foreign", () => file("foreign", "Hello\nworld\n"), /none of its 2 lines is an event; line 1 is `Hello`/],
  [
    "cut gz",
    () => file("cut.gz", gzipSync(new Uint8Array(9999).fill(0x20)).subarray(0, 20)),
    /the gz data end too early after byte 20 of the file/,
  ],
  [
    "without map lines",
    () => file("unmaps", "  a-1 [000] ..... 1.0: unmap: IOMMU: iova=0x1000 - 0x2000 size=4096 unmapped_size=4096\n"),
    /unmaps has no iommu map line \(1 unmap lines\): nothing to replay/,
  ],
  [
    "with dma events only",
    () =>
      file(
        "dma",
        "  a-1 [000] ..... 1.0: dma_map_page: d0 dir=TO_DEVICE dma_addr=1000 size=4096 phys_addr=5000 attrs=\n",
      ),
    /dma has no iommu map line \(1 dma mappings\): nothing to replay; record with: trace-cmd record -e iommu/,
  ],
];

describe("wrong use and bad input", () => {
  for (const [argv, message] of WRONG_USE) {
    test(`iova ${argv.join(" ").replaceAll(traces, "").replaceAll(folder, "TMP")} says what is wrong and ends with 2`, async () => {
      const { code, output, errors } = await run(...argv);
      assert.match(errors, message);
      assert.deepEqual([code, output], [2, ""]);
    });
  }
  for (const [what, path, message] of BAD_INPUT) {
    test(`a trace that is ${what} is an error that says what and where, and ends with 2`, async () => {
      const { code, output, errors } = await run("replay", path());
      assert.match(errors, message);
      assert.match(errors, /^iova: .*\n$/);
      assert.deepEqual([code, output], [2, ""]);
    });
  }
});
