/** The verb in a real Linux, on its tracefs, behind its IOMMU: what it records, what it leaves behind, whatever ends it. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { type GuestRun, needGuest, withGuest } from "../../scripts/linux-guest.ts";
import { scriptOf } from "./script.ts";

const IOVA = fileURLToPath(new URL("../../../bin/iova.js", import.meta.url));
/** Two minutes on an idle machine with two cores; a bound for what hangs. */
const LIMIT_MILLISECONDS = 1_200_000;
/** The guest's own tracing, which a capture must leave alone. */
const OWN_TRACING = "trace_event=iommu:io_page_fault trace_buf_size=1M trace_clock=global";
const FAULT_ADDRESS = "0x12345000";

const SCRIPT = `
# Prints the present values of all settings that a capture could change.
settings() {
  cd /sys/kernel/tracing
  grep . buffer_size_kb current_tracer trace_clock trace_options tracing_on set_event instances/*/tracing_on
  find events -name enable | sort | xargs grep .
  cat /proc/sys/kernel/printk
  cd /results
}
# Starts a capture in the background, and waits until it records. Its process is $capture.
begin() {
  name=$1; shift
  node /iova/bin/iova.js capture "$@" > $name.out 2> $name.err &
  capture=$!
  until grep -q '^recording' $name.err || ! kill -0 $capture 2>/dev/null; do sleep 0.2; done
}
ended() { wait $capture; echo $? > $name.code; settings > $name.settings; }

settings > before.settings
(while true; do dd if=/dev/nvme0n1 of=/dev/null bs=64k count=16 iflag=direct 2>/dev/null; sleep 0.1; done) &
load=$!

begin fault -o fault.tar.gz --stacks 0000:00:04.0 --buffer 4M
sleep 1
fault ${FAULT_ADDRESS}
ended

begin interrupted -o - --buffer 1M
iova capture --seconds 1 > second.out 2> second.err; echo $? > second.code
kill -INT $capture
ended

begin killed -o killed.tar.gz --buffer 1M
kill -KILL $capture
wait $capture
ls /sys/kernel/tracing/instances > killed.instances
begin next --seconds 0.5 -o /dev/full --buffer 1M
ended

sh /script.sh > script.out 2> script.err &
capture=$!; name=script
until grep -q '^recording' script.err || ! kill -0 $capture 2>/dev/null; do sleep 0.2; done
fault ${FAULT_ADDRESS}
ended
mv iova-*.tar.gz script.tar.gz
kill $load
`;

test("a capture in a Linux guest records, stops at a fault, and leaves every setting as it was, whatever ends it", async (t) => {
  const missing = needGuest();
  if (missing !== undefined) return t.skip(missing);
  await withGuest(
    {
      script: SCRIPT,
      files: { "/script.sh": scriptOf({ bufferKib: 1024 }) },
      parameters: OWN_TRACING,
      milliseconds: LIMIT_MILLISECONDS,
    },
    async (run) => {
      const text = (name: string): string => textOf(run, name);
      await t.test("stops at the first fault; the archive has all it must", () => {
        assert.equal(text("fault.code"), "0\n", text("fault.err"));
        assert.match(text("fault.err"), /^a fault: DMAR: .*00:04\.0/m);
        assertArchive(run, "fault.tar.gz");
      });
      await t.test("explain reads the archive without unpacking, and knows what the address was", () =>
        assertExplained(run),
      );
      await t.test("Ctrl-C ends the recording, and the archive is written", () => {
        assert.equal(text("interrupted.code"), "0\n", text("interrupted.err"));
        assert.match(text("interrupted.err"), /^ended by Ctrl-C$/m);
        assertArchive(run, "interrupted.out");
      });
      await t.test("a second capture at the same time is refused, and the first one goes on", () => {
        assert.equal(text("second.code"), "2\n");
        assert.match(text("second.err"), /^iova: \S+ is in use: another iova capture is running/);
      });
      await t.test("the next capture removes the tracing instance of a killed one, and says so", () => {
        assert.equal(text("killed.instances"), "iova\niova-faults\n");
        assert.equal(existsSync(join(run.folder, "killed.tar.gz")), false);
        assert.match(text("next.err"), /^removed the tracefs instances that a killed capture had left$/m);
      });
      await t.test("a full disk is one line and exit code 3", () => {
        assert.equal(text("next.code"), "3\n");
        assert.match(text("next.err"), /^iova: --output \/dev\/full: no space is left on the device$/m);
      });
      await t.test("the script of --dry-run records and stops as the verb does", () => {
        assert.equal(text("script.code"), "0\n", text("script.err"));
        assertArchive(run, "script.tar.gz");
        const trace = spawnSync("tar", ["-xOzf", join(run.folder, "script.tar.gz"), "--wildcards", "*/trace.txt"]);
        assert.match(trace.stdout.toString(), /console: DMAR: .*00:04\.0/);
      });
      await t.test("the machine's own settings are as before, after each of these endings", () => {
        const before = text("before.settings");
        assert.match(before, /^set_event:iommu:io_page_fault$/m);
        for (const name of ["fault", "interrupted", "next", "script"])
          assert.equal(text(`${name}.settings`), before, name);
      });
    },
  );
});

function textOf(run: GuestRun, name: string): string {
  const path = join(run.folder, name);
  if (!existsSync(path)) throw new Error(`the guest left no ${name}; its console:\n${run.console}`);
  return readFileSync(path, "utf8");
}

/** The content that each archive must have, whatever ended the recording. */
function assertArchive(run: GuestRun, name: string): void {
  const archive = join(run.folder, name);
  const list = spawnSync("tar", ["-tzf", archive], { encoding: "utf8" });
  assert.equal(list.status, 0, `${list.stderr}; the console:\n${run.console}`);
  const files = list.stdout.split("\n").filter((path) => path !== "" && !path.endsWith("/"));
  const member = (file: string): string => {
    const path = files.find((candidate) => candidate.endsWith(`/${file}`));
    assert.ok(path, `${file} in ${files.join(" ")}`);
    return spawnSync("tar", ["-xOzf", archive, path], { encoding: "utf8", maxBuffer: 2 ** 28 }).stdout;
  };
  const trace = member("trace.txt");
  assert.match(trace, /^# entries-in-buffer\/entries-written: /m);
  assert.match(trace, / map: IOMMU: iova=0x/);
  assert.match(trace, / unmap: IOMMU: iova=0x/);
  // The same line in both: the offset of their clocks.
  assert.match(trace, / console: iova capture: recording starts \(\d+\)/);
  assert.match(member("dmesg.txt"), /^\[ *\d+\.\d{6}\] iova capture: recording starts \(\d+\)$/m);
  assert.match(member("dmesg.txt"), /^\[ *0\.0+\] Linux version /m);
  assert.match(member("cmdline.txt"), /intel_iommu=on/);
  assert.match(member("groups.txt"), /^\/sys\/kernel\/iommu_groups\/\d+\/devices\/0000:00:04\.0$/m);
  assert.match(
    member("groups.txt"),
    /^\/sys\/kernel\/iommu_groups\/\d+\/reserved_regions:0x00000000fee00000 \S+ msi$/m,
  );
  assert.match(member("lspci.txt"), /0000:00:04\.0/);
}

function assertExplained(run: GuestRun): void {
  const explained = spawnSync(process.execPath, [IOVA, "explain", "--json", "-", join(run.folder, "fault.tar.gz")], {
    encoding: "utf8",
  });
  assert.equal(explained.status, 1, explained.stderr);
  const { findings } = JSON.parse(explained.stdout) as {
    readonly findings: readonly { readonly kind: string; readonly device?: string; readonly iova?: string }[];
  };
  assert.deepEqual(
    findings.map(({ kind, device, iova }) => [kind, device, iova]),
    [["dma-fault", "0000:00:04.0", FAULT_ADDRESS]],
    explained.stdout,
  );
}
