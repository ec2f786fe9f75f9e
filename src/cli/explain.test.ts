import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import type { Explanation } from "../explain/contract.ts";
import { malformed } from "../explain/truth.model.ts";
import { main } from "./main.ts";
import { RecordingTerminal } from "./terminal.model.ts";

const LOG = fileURLToPath(new URL("../../../traces/wifi-crash.log", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "iova-explain-"));
after(() => rmSync(folder, { recursive: true }));

const BOOT =
  "[    0.000000] Linux version 6.1.0-13-amd64 (debian-kernel@lists.debian.org)\n[    1.000000] systemd[1]: Reloading.\n";

function file(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

async function iova(argv: readonly string[], width = 100): Promise<{ code: number; output: string; errors: string }> {
  const terminal = new RecordingTerminal(width);
  const code = await main(argv, terminal);
  return { code, output: terminal.output, errors: terminal.errors };
}

async function answerOf(...argv: readonly string[]): Promise<Explanation> {
  const { output } = await iova(["explain", ...argv, "--json"]);
  return JSON.parse(output) as Explanation;
}

describe("iova explain", () => {
  test("says in whole sentences what happened, and ends with 1", async () => {
    const { code, output, errors } = await iova(["explain", LOG]);
    assert.deepEqual({ code, errors }, { code: 1, errors: "" });
    assert.match(output, /^Device 0000:03:00\.0 \(ath10k_pci\) tried to write to address 0xcece9e40/);
    assert.match(output, /crash of its firmware/);
    assert.match(output, /not-mapped/);
  });

  for (const width of [80, 100]) {
    test(`fits ${width} columns, except commands, which are copied whole`, async () => {
      const { output } = await iova(["explain", LOG], width);
      const long = output.split("\n").filter((line) => line.length > width && !/^ {4}\S/.test(line));
      assert.deepEqual(long, []);
      assert.ok(output.split("\n").length <= 45, "one screen");
    });
  }
});

describe("iova explain --json", () => {
  test("writes the answer alone as JSON to standard output", async () => {
    const answer = await answerOf(LOG);
    assert.deepEqual(malformed(answer), []);
    const [finding] = answer.findings;
    assert.equal(answer.findings.length, 1);
    assert.equal(finding?.kind, "dma-fault");
    assert.equal(finding?.device, "0000:03:00.0");
    assert.equal(finding?.driver, "ath10k_pci");
    assert.equal(finding?.iova, "0xcece9e40");
    assert.deepEqual(finding?.otherAddresses, ["0xcece9e80"]);
    assert.equal(finding?.access, "write");
    assert.equal(finding?.count, 2);
    assert.ok(finding?.consequenceOf?.proof.some(({ line }) => line === 1));
  });

  test("prints the report, and writes JSON to a file beside it", async () => {
    const target = join(folder, "answer.json");
    const { code, output } = await iova(["explain", LOG, "--json", target]);
    assert.equal(code, 1);
    assert.match(output, /^Device/);
    assert.equal((JSON.parse(readFileSync(target, "utf8")) as Explanation).version, 1);
  });
});

describe("iova explain, told more,", () => {
  test("reads several files as one story, and names each line's file", async () => {
    const boot = file("boot.txt", BOOT);
    const answer = await answerOf(boot, LOG);
    assert.equal(answer.host.kernel, "6.1.0-13-amd64");
    assert.deepEqual(
      answer.inputs.map((input) => [input.file, input.lines]),
      [
        [boot, 2],
        [LOG, 3],
      ],
    );
    assert.deepEqual(answer.findings[0]?.proof[0], { file: LOG, line: 2 });
    assert.match((await iova(["explain", boot, LOG], 400)).output, /wifi-crash\.log 2/);
  });

  test("--device and --at select findings", async () => {
    for (const device of ["0000:03:00.0", "03:00.0"])
      assert.equal((await iova(["explain", LOG, "--device", device])).code, 1);
    assert.equal((await iova(["explain", LOG, "--device", "04:00.0"])).code, 0);
    assert.equal((await iova(["explain", LOG, "--at", "100.6"])).code, 1);
    assert.equal((await iova(["explain", LOG, "--at", "[  100.633518]"])).code, 1);
    assert.equal((await iova(["explain", LOG, "--at", "300"])).code, 0);
  });

  test("lists the other findings if none is of the device or time", async () => {
    const all = "The input has 1 finding: 0000:03:00.0 (ath10k_pci) at 100.633518 s after the boot.\n";
    const device = await iova(["explain", LOG, "--device", "04:00.0"], 120);
    assert.equal(device.output, `No finding of device 04:00.0. ${all}`);
    const time = await iova(["explain", LOG, "--at", "300"], 120);
    assert.equal(time.output, `No finding within 1 s of 300 s. ${all}`);
  });

  test("reads a file that is named twice once", async () => {
    const answer = await answerOf(LOG, LOG);
    assert.deepEqual([answer.inputs.length, answer.findings[0]?.count], [1, 2]);
  });

  test("quotes the lines of a finding, and those that its sentences name", async () => {
    const { output } = await iova(["explain", LOG, "--context", "1"], 120);
    const quoted = output.split("\n").filter((line) => /^[> ] +\d+ {2}\[/.test(line));
    assert.deepEqual(
      quoted.map((line) => line.slice(0, 9).trim()),
      [">      1", ">      2", ">      3"],
    );
  });

  test("ends with 0 when a log holds no problem, and says so", async () => {
    const { code, output } = await iova(["explain", file("boot.txt", BOOT)]);
    assert.equal(code, 0);
    assert.match(output, /^Nothing found: 2 lines/);
  });
});

describe("iova explain --bug-report", () => {
  test("prints a block for a bug report with the lines, the kernel, and what would decide", async () => {
    const { code, output } = await iova(["explain", file("boot.txt", BOOT), LOG, "--bug-report"]);
    assert.equal(code, 1);
    const parts = [
      "Kernel: 6.1.0-13-amd64",
      "2 times, the first at 100.633518 s after the boot:",
      "    [  100.412207] ath10k_pci 0000:03:00.0: firmware crashed!",
      "    [  100.633518] ath10k_pci",
      "- the address had been mapped, and was unmapped before the device was done with it (use-after-unmap)",
      "Would decide:\n- as root",
    ];
    for (const part of parts) assert.ok(output.includes(part), part);
  });

  test("quotes in a bug report the lines of the trace that prove the cause", async () => {
    const [dmesg, trace] = ["dmesg", "trace"].map((name) =>
      LOG.replace("wifi-crash.log", `use-after-unmap.${name}.txt.gz`),
    );
    const { output } = await iova(["explain", dmesg ?? "", trace ?? "", "--bug-report"]);
    assert.match(
      output,
      /\nThe address belonged to a mapping .* that was unmapped 338\.6 ms before the fault was reported\.\n/,
    );
    for (const part of [
      /^ {4}\[ +11\.472318\] DMAR: /m,
      /^ {4}init-1 .* map: IOMMU: /m,
      /^ {4}init-1 .* unmap: IOMMU: /m,
    ])
      assert.match(output, part);
  });
});

test("iova explain unpacks zst and gz files", async () => {
  const plain = fileURLToPath(new URL("../../../traces/fixtures/linux-6.1.txt", import.meta.url));
  const { inputs } = await answerOf(plain, `${plain}.zst`);
  assert.deepEqual(
    inputs.map(({ holds, lines }) => ({ holds, lines })),
    [inputs[0], inputs[0]].map((input) => ({ holds: input?.holds, lines: input?.lines })),
  );
  assert.deepEqual(inputs[0]?.holds, ["trace"]);
  const log = file("log.gz", gzipSync(readFileSync(LOG)));
  assert.deepEqual((await answerOf(log)).findings[0]?.proof[0], { file: log, line: 2 });
});

describe("iova explain refuses, in one line and with 2,", () => {
  mkdirSync(join(folder, "directory"));
  const cases: readonly (readonly [what: string, argv: readonly string[], message: RegExp])[] = [
    ["a file that is not there", [join(folder, "none.txt")], /none\.txt: .*no such file/],
    ["a directory", [join(folder, "directory")], /directory is a directory/],
    ["an empty file", [file("empty.txt", "")], /empty\.txt: empty; expected a kernel log or a trace$/m],
    [
      "text that is neither a log nor a trace",
      [file("poem.txt", "Roses are red,\nviolets are blue.\n")],
      /poem\.txt: no line/,
    ],
    [
      "a binary file",
      [
        file(
          "binary",
          Uint8Array.from({ length: 4096 }, (_, at) => (at * 7) % 256),
        ),
      ],
      /binary/,
    ],
    ["a time that is no number", [LOG, "--at", "noon"], /noon/],
    ["no file at all", [], /FILE/],
  ];
  for (const [what, argv, message] of cases) {
    test(what, async () => {
      const { code, output, errors } = await iova(["explain", ...argv]);
      assert.deepEqual({ code, output }, { code: 2, output: "" }, errors);
      assert.match(errors, message);
      assert.equal(errors.trimEnd().split("\n").length, 1, errors);
    });
  }
});
