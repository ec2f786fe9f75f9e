import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { tarOf } from "../capture/tar.ts";
import { nodeHost } from "./host.ts";
import { main } from "./main.ts";
import { RecordingTerminal } from "./terminal.model.ts";

const traces = fileURLToPath(new URL("../../../traces/", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "iova-replay-"));
after(() => rmSync(folder, { recursive: true }));

async function run(...argv: string[]): Promise<{ code: number; output: string; errors: string }> {
  const terminal = new RecordingTerminal();
  const code = await main(argv, terminal);
  return { code, output: terminal.output.replaceAll(traces, ""), errors: terminal.errors };
}

/** The report with what differs from run to run and from machine to machine masked. */
function masked(output: string): string {
  const words = output.replace(/\d+ cores?/g, "N cores").split("\n");
  const table = words.findIndex((line) => line.startsWith("table"));
  return words
    .map((line, i) =>
      i > table && table >= 0 ? line.replace(/<?\d[\d,.]*(k|M|G|µs|ms|s|%)?/g, "#").replace(/ +/g, " ") : line,
    )
    .join("\n");
}

describe("iova replay", () => {
  test("the report of a kernel's NVMe trace has these lines, whatever numbers this machine measures", async () => {
    const argv = [
      "replay",
      join(traces, "nvme-io-612.txt.gz"),
      "--workers",
      "2",
      "--seconds",
      "0.3",
      "--entries",
      "65536",
    ];
    const { code, output, errors } = await run(...argv);
    assert.deepEqual([code, errors], [0, ""]);
    for (const line of output.split("\n")) assert.ok(line.length <= 100, line);
    const [summary = "", rest = ""] = masked(output).split("\n\n");
    assert.equal(
      summary,
      [
        "nvme-io-612.txt.gz: 12,741 events on 4 CPUs in 2.579 s",
        "943 requests of 9,914 pieces (21.7 pages of 4 KiB each on average), by 1 device; 1 never unmapped;",
        "  12,753 lines read",
        "skipped lines: 12 comments (from line 1)",
        "2 worker threads on N cores play the CPUs of the trace (0 and 3; 1 and 2), over and over",
        "linear-tce: a table of 65,536 entries of 4 KiB (powernv-tce) per row; at most 513 live at once; 1",
        "  mapping in 16 checked by DMA",
      ].join("\n"),
    );
    assert.match(
      rest,
      /^table +req\/s +ratio +locks +contended +wait +steps +flush +fail +hole +checked +wrong\nsingle-lock # .* #\npooled # .* #\npooled\+cache # .* #\nlocks: /,
    );
  });
});

test("iova replay takes an archive of iova capture, and plays the trace in it", async () => {
  const trace = readFileSync(join(traces, "fixtures/vfio.txt"));
  const log = Buffer.from("[    1.000000] Linux version 6.12.0\n");
  const members = [
    { name: "iova/dmesg.txt", bytes: log.length, pieces: [log] },
    { name: "iova/trace.txt", bytes: trace.length, pieces: [trace] },
  ];
  const archive = join(folder, "capture.tar.gz");
  writeFileSync(archive, gzipSync(Buffer.concat([...tarOf(members, 0)])));
  const options = ["--seconds", "0.1", "--table", "pooled", "--cache", "none", "--json"];
  const ofArchive = await run("replay", archive, ...options);
  const ofTrace = await run("replay", join(traces, "fixtures/vfio.txt"), ...options);
  assert.deepEqual([ofArchive.code, ofArchive.errors, ofTrace.code], [0, "", 0]);
  assert.deepEqual(JSON.parse(ofArchive.output).requests, JSON.parse(ofTrace.output).requests);
});

describe("iova replay on a platform that was asked for", () => {
  for (const [platform, calls] of [
    ["sun4v", true],
    ["ldc", false],
    ["linear-tce", false],
  ] as const) {
    test(`${platform}: report, rows and JSON name the platform; hypercalls are printed where they write entries: ${calls}`, async () => {
      const json = join(folder, `${platform}.json`);
      const trace = join(traces, "nvme-io-612.txt.gz");
      const { code, output } = await run("replay", trace, "--platform", platform, "--seconds", "0.1", "--json", json);
      assert.equal(code, 0);
      for (const line of output.split("\n")) assert.ok(line.length <= 100, line);
      const names = ["single-lock", "pooled", "pooled+cache"].map((table) => `${platform}/${table}`);
      for (const name of names) assert.match(output, new RegExp(`^${name.replace("+", "\\+")} +\\d`, "m"));
      assert.match(output, new RegExp(`^${platform}: a table of`, "m"));
      assert.equal(/Hypercalls per request/.test(output), calls);
      const { replay, rows } = JSON.parse(readFileSync(json, "utf8")) as {
        replay: { platform: string };
        rows: { name: string; translationsWrong: number; hypercalls: number; requests: number }[];
      };
      assert.equal(replay.platform, platform);
      assert.deepEqual(
        rows.map(({ name }) => name),
        names,
      );
      for (const row of rows) {
        assert.equal(row.translationsWrong, 0);
        // One for the entries of a mapping, one for its end; some of either lie beyond the ends of what was measured.
        const perRequest = row.hypercalls / row.requests;
        if (calls) assert.ok(perRequest > 1 && perRequest < 3, `${perRequest} calls per request`);
      }
    });
  }
});

describe("iova replay of unusual recordings", () => {
  test("says what is missing, lost and left out of a recording", async () => {
    const broken = join(folder, "broken.txt");
    const overrun = readFileSync(join(traces, "fixtures/overrun.txt"), "utf8");
    const lost =
      "CPU:1 [LOST 77 EVENTS]\n[    9.1] usb 1-1: new device\n  a-1 [000] ..... 9.2: map: IOMMU: iova=0x10\n";
    writeFileSync(
      broken,
      `${overrun}${lost}  a-1 [000] ..... 9.3: sched_switch: x\n  dd-1 [000] ..... 9.4: map: IOMMU: iova=0x0`,
    );
    const { code, output } = await run(
      "replay",
      broken,
      "--seconds",
      "0.1",
      "--workers",
      "1",
      "--table",
      "pooled",
      "--cache",
      "none",
    );
    assert.equal(code, 0);
    const text = output.replaceAll(folder, "").replaceAll(/\n {2}/g, " ");
    for (const line of [
      "1 event of other kinds left out; the first, line 55: `a-1 [000] ..... 9.3: sched_switch: x`",
      "1 dma mapping without a map line: no IOMMU translates for that device, or the line is lost",
      "note: the ring buffer overran: the header says that 7,478 of 11,196 events were kept; the oldest are lost",
      "note: the header promises 7,478 events, 41 are here: a part of the recording",
      "note: the kernel lost 77 events (line 52 says so first)",
      "note: 2 events can't be read; the first, line 54: `a-1 [000] ..... 9.2: map: IOMMU: iova=0x10`: paddr= is missing",
      "note: 1 line is no event; the first, line 53: `[    9.1] usb 1-1: new device`",
      "note: the file ends in the middle of line 56: that line is left out",
      "note: 3 unmap lines of what was mapped before the trace, or in lost events: left out",
      "1 worker thread on",
    ]) {
      assert.ok(text.includes(line), `${line}\nis not in\n${text}`);
    }
  });
});

describe("iova replay on workers", () => {
  test("a trace of one CPU is played by each worker; cross-CPU unmaps are reported", async () => {
    const one = await run(
      "replay",
      join(traces, "fixtures/linux-6.1.txt"),
      "--seconds",
      "0.1",
      "--workers",
      "3",
      "--table",
      "pooled",
    );
    assert.match(
      one.output,
      /3 worker threads on \d+ cores? play the CPUs of the trace \(0; 0; 0\), each as a device of its own/,
    );
    const two = await run(
      "replay",
      join(traces, "fixtures/vfio.txt"),
      "--seconds",
      "0.1",
      "--workers",
      "2",
      "--table",
      "single-lock",
    );
    assert.match(
      two.output.replaceAll("\n  ", " "),
      /2 requests were mapped on one CPU and unmapped on another \(2 of another worker\): here the worker that mapped a request also/,
    );
  });
});

describe("iova replay for programs", () => {
  test("--json holds the same numbers; to standard output it comes alone", async () => {
    const path = join(folder, "out.json");
    const argv = [
      "replay",
      join(traces, "fixtures/e1000e.txt"),
      "--seconds",
      "0.1",
      "--lazy",
      "--pools",
      "4",
      "--entries",
      "8192",
    ];
    const report = await run(...argv, "--json", path);
    const fromFile = JSON.parse(readFileSync(path, "utf8"));
    assert.match(report.output, /pooled tables invalidate lazily/);
    const alone = await run(...argv, "--json", "-");
    const fromOutput = JSON.parse(alone.output);
    for (const json of [fromFile, fromOutput]) {
      assert.deepEqual(
        json.rows.map((row: { name: string }) => row.name),
        ["single-lock", "pooled", "pooled+cache"],
      );
      assert.deepEqual(
        json.rows.map((row: { invalidate: string }) => row.invalidate),
        ["strict", "lazy", "lazy"],
      );
      assert.deepEqual(
        json.rows.map((row: { pools: number }) => row.pools),
        [1, 4, 4],
      );
      assert.equal(json.rows[0].ratio, 1);
      assert.equal(json.trace.events, 58);
      assert.equal(json.trace.lineClasses.comments.count, 12);
      assert.equal(json.replay.entries, 8192);
      for (const row of json.rows) {
        for (const key of [
          "requestsPerSecond",
          "lockMeanWaitMicroseconds",
          "largestHoleEntries",
          "translationsChecked",
        ]) {
          assert.equal(typeof row[key], "number", key);
        }
        assert.ok(row.requestsPerSecond > 0 && row.translationsChecked > 0);
        assert.deepEqual([row.translationsWrong, row.entriesLost], [0, 0]);
      }
    }
  });
});

describe("iova replay, when things go wrong", () => {
  afterEach(() => {
    delete process.env["MISBEHAVE"];
  });
  const misbehaving = async (
    how: string,
    seconds = "0.1",
  ): Promise<{ code: number; output: string; errors: string }> => {
    process.env["MISBEHAVE"] = how;
    const terminal = new RecordingTerminal();
    const host = nodeHost(new URL("../replay/runner.test.worker.js", import.meta.url));
    const argv = [
      "replay",
      join(traces, "nvme-io-612.txt.gz"),
      "--workers",
      "2",
      "--seconds",
      seconds,
      "--table",
      "pooled",
    ];
    const code = await main(argv, terminal, host);
    return { code, output: terminal.output, errors: terminal.errors };
  };

  test("a wrong translation is reported, and the exit code is 1", async () => {
    const { code, output } = await misbehaving("wrong page");
    assert.equal(code, 1);
    assert.match(
      output.replaceAll("\n  ", " "),
      /WRONG: pooled translated [\d,]+ of [\d,]+ checked pages wrongly; the first: a \w+ \w+ bus address/,
    );
    assert.doesNotMatch(output, /were right/);
  });

  test("failed calls are reported with their reason", async () => {
    const { code, output } = await misbehaving("refused");
    assert.equal(code, 0);
    assert.match(output, /pooled: [\d,]+ calls failed \([\d,]+ platform-refused\)\./);
  });

  test("a worker that dies ends the command with a message and exit code 3", async () => {
    // The planted death comes after this number of calls, and ends the replay.
    assert.deepEqual((await misbehaving("throw", "20")).code, 3);
    assert.equal(
      (await misbehaving("exit", "20")).errors,
      "iova: pooled: worker 1 ended by itself, with exit code 7\n",
    );
  });
});
