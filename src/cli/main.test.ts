import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
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
  return await runIn(100, ...argv);
}

async function runIn(width: number, ...argv: string[]): Promise<{ code: number; output: string; errors: string }> {
  const terminal = new RecordingTerminal(width);
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
    assert.match(replay.output, /Examples:\n {2}\$ iova replay nvme-io-612\n/);
    assert.match(replay.output, /Exit codes:\n {2}0 fine\n/);
    for (const line of `${verbs.output}${replay.output}`.split("\n")) assert.ok(line.length <= 100, line);
  });
});

describe("the width of the screen (review of 2026-11-30, B7)", () => {
  for (const width of [80, 120]) {
    test(`on a terminal of ${width} columns no line of the help and of platforms is wider`, async () => {
      const all = [["--help"], ["replay", "--help"], ["completion", "--help"], ["platforms"]];
      for (const argv of [...all, ...BOARD_KINDS.map(({ name }) => ["platforms", name])]) {
        const { code, output } = await runIn(width, ...argv);
        assert.equal(code, 0);
        for (const line of output.split("\n")) assert.ok(line.length <= width, line);
      }
    });
  }

  test("a narrow screen leaves out columns of the platforms, and their entries in the legend", async () => {
    assert.match((await runIn(80, "platforms")).output, /hypercall\n[\s\S]*hypercall: most entries/);
    const { output } = await runIn(60, "platforms");
    assert.match(output, /^platform +IO pages +entries +format +stray DMA\n/);
    assert.doesNotMatch(output, /hypercall/);
  });
});

describe("iova, for programs and newcomers", () => {
  test("platforms --json FILE writes the file beside the list; without FILE the JSON comes alone", async () => {
    const path = join(folder, "platforms.json");
    const both = await run("platforms", "--json", path);
    assert.equal(both.code, 0);
    assert.match(both.output, /^platform /);
    const alone = await run("platforms", "--json");
    assert.equal(alone.output, readFileSync(path, "utf8"));
    assert.equal((await run("platforms", "--json", "-")).output, alone.output);
    assert.equal((await run("platforms", "--json", path)).code, 0, "a file of JSON is overwritten");
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

  test("version and help are verbs too", async () => {
    assert.deepEqual(await run("version"), await run("--version"));
    assert.deepEqual(await run("help"), await run("--help"));
    for (const verb of ["replay", "help", "completion"])
      assert.deepEqual(await run("help", verb), await run(verb, "--help"));
  });

  test("without a verb shows the help on standard error", async () => {
    const { code, output, errors } = await run();
    assert.deepEqual([code, output], [2, ""]);
    assert.match(errors, /^Usage: iova/);
  });
});

const WRONG_USE: readonly (readonly [argv: readonly string[], message: RegExp])[] = [
  [["plot"], /^iova: unknown command 'plot' \(see: iova --help\)\n$/],
  [["replya"], /^iova: unknown command 'replya' \(did you mean replay\?\)/],
  [["help", "replya"], /^iova: unknown command 'replya' \(did you mean replay\?\)/],
  [["completion"], /^iova: missing required argument 'SHELL'/],
  [["completion", "tcsh"], /Found 'tcsh'; expected one of bash, zsh, fish/],
  [["platforms", "sun4"], /\(did you mean sun4u\?\)/],
  [["plat"], /^iova: unknown command 'plat' \(did you mean platforms\?\)/],
  [
    ["replay", NVME, "--sec", "3"],
    /^iova: unknown option '--sec' \(did you mean --seconds\?\) \(see: iova replay --help\)/,
  ],
  [
    ["replay", NVME, "--p", "3"],
    /^iova: unknown option '--p' \(did you mean --pools or --platform or --page-shift\?\)/,
  ],
  [["replay", NVME, "--wrokers=3"], /^iova: unknown option '--wrokers=3' \(did you mean --workers\?\)/],
  [
    ["replay", NVME, "--platform", "pseries", "-p", "sun4u"],
    /^iova: option '-p, --platform <NAME>' is given twice; expected it once/,
  ],
  [["replay", NVME, "--lazy", "--lazy"], /^iova: option '--lazy' is given twice/],
  [["platforms", "--json", "sun4u"], /^iova: FILE of --json is "sun4u"; .* iova platforms sun4u --json/],
  [["--bogus"], /^iova: unknown option '--bogus'/],
  [["replay"], /^iova: missing required argument 'TRACE'/],
  [["replay", "a", "b"], /^iova: too many arguments for 'replay'/],
  [["platforms", "vax"], /argument 'NAME'. Found 'vax'; expected one of linear-tce/],
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
  [["replay", NVME, "--seconds", "0"], /expected a time above 0 and up to 3600 seconds/],
  [["replay", NVME, "--seconds", "1e9"], /expected a time above 0/],
  [["replay", NVME, "--strict", "--lazy"], /cannot be used with option/],
  [["replay", NVME, "--entries", "16"], /^iova: entries is 16; expected at least 32 for the request of line \d+ alone/],
  [
    ["replay", NVME, "--entries", "400", "--workers", "2"],
    /^iova: entries is 400; expected at least 513, the most that are live/,
  ],
  [["replay", NVME, "--page-shift", "34"], /^iova: memory of the replay is/],
  [["replay", NVME, "--json", join(folder, "no", "such.json")], /There is no folder .*no to write in/],
  [["replay", NVME, "--json", join(NVME, "such.json")], /the path is no folder/],
  [["replay", NVME, "--json", folder], /is a directory; expected a file name/],
  [["replay", NVME, "--json", ""], /Found an empty name; expected a file name or -/],
  [["replay", "--json", NVME], /nvme-io-612\.txt\.gz is there and is no JSON, so it is not overwritten/],
];

const BAD_INPUT: readonly (readonly [what: string, path: () => string, message: RegExp])[] = [
  ["missing", () => join(folder, "none.txt"), /none\.txt: there is no such file/],
  ["a directory", () => folder, /is a directory; expected a trace file/],
  ["empty", () => file("empty", ""), /empty is empty; expected ftrace text/],
  ["binary", () => file("binary", Uint8Array.of(1, 2, 3, 0, 4)), /binary is a binary file \(byte 3 is zero\)/],
  ["foreign", () => file("foreign", "Hello\nworld\n"), /none of its 2 lines is an event; line 1 is `Hello`/],
  [
    "cut gz",
    () => file("cut.gz", gzipSync(new Uint8Array(9999).fill(0x20)).subarray(0, 20)),
    /the gz data end too early after byte 20 of the file/,
  ],
  [
    "without map lines",
    () => file("unmaps", "  a-1 [000] ..... 1.0: unmap: IOMMU: iova=0x1000 - 0x2000 size=4096 unmapped_size=4096\n"),
    /unmaps has no iommu map line \(1 unmap line\): nothing to replay/,
  ],
  [
    "with dma events only",
    () =>
      file(
        "dma",
        "  a-1 [000] ..... 1.0: dma_map_page: d0 dir=TO_DEVICE dma_addr=1000 size=4096 phys_addr=5000 attrs=\n",
      ),
    /dma has no iommu map line \(1 dma mapping\): nothing to replay; record with: trace-cmd record -e iommu/,
  ],
];

describe("wrong use and bad input", () => {
  for (const [argv, message] of WRONG_USE) {
    test(`iova ${argv.join(" ").replaceAll(traces, "").replaceAll(folder, "TMP")} says what is wrong and ends with 2`, async () => {
      const { code, output, errors } = await run(...argv);
      assert.match(errors, message);
      assert.match(errors, /^iova: .*\n$/, "one line");
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
