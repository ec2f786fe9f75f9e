/**
 * `npm start`: makes the clone ready, then shows the two main commands on shipped files: a kernel log and a trace are explained, then a trace
 * is replayed. Arguments are passed on to the replay: `npm start -- --workers 4`.
 */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { ROOT, tryReady } from "./ready.js";

const LOG = "traces/wifi-crash.log";
const TRACE = "traces/use-after-unmap.trace.txt.gz";
const DMESG = "traces/use-after-unmap.dmesg.txt.gz";
const REPLAYED = "traces/nvme-io-612.txt.gz";
/** `iova explain` ends with 1 when it has found something. */
const FOUND = 1;

/** Runs the command as a user would, and shows what was typed. Returns its exit code. */
function iova(...args) {
  console.log(`\n$ iova ${args.join(" ")}`);
  const { status, signal } = spawnSync(process.execPath, [join(ROOT, "bin/iova.js"), ...args], {
    cwd: ROOT,
    stdio: "inherit",
  });
  if (signal !== null) process.kill(process.pid, signal);
  return status ?? 3;
}

if (tryReady()) {
  for (const explained of [[LOG], [TRACE, "--dmesg", DMESG]]) {
    const status = iova("explain", ...explained);
    if (status !== FOUND) process.exit(status === 0 ? 3 : status);
  }
  process.exitCode = iova("replay", REPLAYED, ...process.argv.slice(2));
} else process.exitCode = 2;
