import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { chart } from "./chart.ts";
import { main } from "./main.ts";
import { RecordingTerminal } from "./terminal.model.ts";
import { isUtf8Locale } from "./terminal.ts";

const folder = mkdtempSync(join(tmpdir(), "iova-stat-"));
after(() => rmSync(folder, { recursive: true }));

async function run(argv: readonly string[], width = 100, isUtf8 = false) {
  const terminal = new RecordingTerminal(width, isUtf8);
  const code = await main(["stat", ...argv], terminal);
  return { code, output: terminal.output, errors: terminal.errors };
}

interface Answer {
  readonly version: number;
  readonly devices: Readonly<Record<string, unknown>>[];
}

describe("iova stat", () => {
  for (const width of [80, 120]) {
    test(`the report fits ${width} columns and a screen; block characters only where the locale has them`, async () => {
      const ascii = await run(["nvme-io-612"], width);
      assert.deepEqual([ascii.code, ascii.errors], [0, ""]);
      const lines = ascii.output.split("\n");
      for (const line of lines) assert.ok(line.length <= width, line);
      assert.ok(lines.length <= 30, `${lines.length} lines`);
      assert.match(ascii.output, /12,741 events on 4 CPUs in 2\.579 s/);
      assert.match(ascii.output, /^device +maps .*peak live +least hole\n0000:00:06\.0 +943 /m);
      assert.match(ascii.output, /^live {8}[ .:#]+$/m);
      assert.doesNotMatch(ascii.output, /[▁-█]/);
      const blocks = await run(["nvme-io-612"], width, true);
      assert.match(blocks.output, /^live {8}[ ▁-█]+$/m);
    });
  }

  test("the CSV reads back as the numbers of the JSON, one line a device", async () => {
    const csv = join(folder, "devices.csv");
    const { code, output } = await run(["nvme-io-612", "--json", "--csv", csv]);
    assert.equal(code, 0);
    const { version, devices } = JSON.parse(output) as Answer;
    assert.equal(version, 1);
    const [head = [], ...rows] = readFileSync(csv, "utf8")
      .trimEnd()
      .split("\n")
      .map((line) => line.split(","));
    assert.deepEqual(
      rows.map((row) => row[0]),
      devices.map(({ device }) => device),
    );
    for (const [at, row] of rows.entries()) {
      for (const name of ["maps", "unmaps", "failures", "mapLines", "bytes", "pages"]) {
        assert.equal(Number(row[head.indexOf(name)]), devices[at]?.[name], name);
      }
    }
    assert.equal((await run(["nvme-io-612", "--csv", csv])).code, 0, "a CSV file of ours is overwritten");
    assert.equal((await run(["nvme-io-612", "--csv"])).output, readFileSync(csv, "utf8"));
  });

  test("--device takes one device, with or without its segment; an unknown one is refused with the list of devices", async () => {
    const full = await run(["nvme-io-612", "--device", "0000:00:06.0", "--json"]);
    assert.deepEqual(await run(["nvme-io-612", "--device", "00:06.0", "--json"]), full);
    assert.deepEqual(
      (JSON.parse(full.output) as Answer).devices.map(({ device }) => device),
      ["0000:00:06.0"],
    );
    const none = await run(["nvme-io-612", "--device", "00:09.0"]);
    assert.deepEqual([none.code, none.output], [2, ""]);
    assert.match(none.errors, /nothing is mapped for '00:09\.0'; expected one of: .*0000:00:06\.0/);
  });

  test("--csv does not overwrite a file that is not a CSV of iova, and two outputs do not share standard output", async () => {
    const trace = join(folder, "trace.txt");
    writeFileSync(trace, "# tracer: nop\n");
    const refused = await run(["nvme-io-612", "--csv", trace]);
    assert.equal(refused.code, 2);
    assert.match(refused.errors, /is no CSV of ours, so it is not overwritten; .* write --csv last or as --csv -/);
    assert.equal(readFileSync(trace, "utf8"), "# tracer: nop\n");
    const both = await run(["nvme-io-612", "--csv", "-", "--json", "-"]);
    assert.deepEqual([both.code, both.output], [2, ""]);
    assert.match(both.errors, /--json and --csv both go to standard output/);
  });
});

test("a chart fills a column at the highest value, leaves it empty at the lowest, and shows little as little", () => {
  assert.deepEqual(chart([0, 0.01, 5, 10], 0, 10, false), ["   #", "  :#", " .##"]);
  assert.deepEqual(chart([7, 7], 7, 7, false), ["##", "##", "##"]);
  assert.deepEqual(chart([0, 10], 0, 10, true), [" █", " █", " █"]);
});

test("the locale is UTF-8 as the first variable that is set says", () => {
  assert.equal(isUtf8Locale({ LANG: "de_DE.UTF-8" }), true);
  assert.equal(isUtf8Locale({ LC_ALL: "C", LANG: "de_DE.UTF-8" }), false);
  assert.equal(isUtf8Locale({ LC_ALL: "", LC_CTYPE: "en_US.utf8" }), true);
  assert.equal(isUtf8Locale({}), false);
});
