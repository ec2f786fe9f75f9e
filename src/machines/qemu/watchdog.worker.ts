/**
 * The thread that starts one QEMU and watches it. Callers of QEMU block in a read; this thread does not, so it can see that they
 * wait for too long, kill QEMU (they then read end-of-file), and say how QEMU ended.
 *
 * QEMU's life hangs on this thread's: `setpriv --pdeathsig KILL` makes the kernel kill it when the thread that forked it ends,
 * however that happens: SIGKILL of the process, a crash, `worker.terminate()` of this thread's parent. That request holds from some time
 * after the fork on. To leave no gap, a shell makes the request first, says so, and becomes QEMU only when this thread answers:
 * if the thread has ended before, the shell reads end-of-file instead and exits.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { constants } from "node:os";
import type { Duplex } from "node:stream";
import { parentPort, workerData } from "node:worker_threads";
import { bytesOf, compareExchange, copyIn, load, notify, store, wordsOf } from "../../shared/memory.ts";
import { CAUSE, MESSAGE_AT, PHASE, STATE_BYTES, type WatchdogJob, WORD } from "./state.ts";

/** Descriptor 3 is the line to this thread; QEMU does not get it. */
const BECOME_QEMU = 'echo ready >&3; read -r go <&3 && exec "$@" 3>&-';

const job = workerData as WatchdogJob;
const words = wordsOf(job.state);
// The creator has given up: its files are closed, and their numbers may be others'.
if (compareExchange(words, WORD.phase, PHASE.starting, PHASE.spawning) !== PHASE.starting) process.exit();
const child = start();
child.once("error", (error) => ended(-1, null, error.message));
child.once("exit", (code, signal) => ended(code ?? -1, signal));
const watch = setInterval(look, Math.min(Math.max(job.callMilliseconds / 8, 5), 250));
parentPort?.on("message", () => child.kill("SIGKILL"));

function start(): ChildProcess {
  const command = ["--pdeathsig", "KILL", "sh", "-c", BECOME_QEMU, "sh", job.program, ...job.args];
  const process = spawn("setpriv", command, { stdio: [...job.standard, "pipe", ...job.others] });
  const line = process.stdio[3] as Duplex | null | undefined;
  // An error here is the shell's end, of which we hear anyway.
  line?.on("error", () => {});
  line?.once("data", () => line.end("go\n"));
  // The fork is done: the parent may close the files that it opened for QEMU.
  if (process.pid !== undefined) announce(PHASE.running);
  return process;
}

let seen = 0;
let since = performance.now();

function look(): void {
  const now = performance.now();
  const sequence = load(words, WORD.sequence);
  if (sequence !== seen || (sequence & 1) === 0) {
    seen = sequence;
    since = now;
    return;
  }
  // 1: the first hold of the lock, without a reply so far.
  if (now - since < (sequence === 1 ? job.startMilliseconds : job.callMilliseconds)) return;
  compareExchange(words, WORD.cause, CAUSE.none, CAUSE.timedOut);
  child.kill("SIGKILL");
}

function ended(code: number, signal: NodeJS.Signals | null, message = ""): void {
  if (load(words, WORD.phase) === PHASE.ended) return;
  if (message !== "") {
    compareExchange(words, WORD.cause, CAUSE.none, CAUSE.notStarted);
    const text = new TextEncoder().encode(message).subarray(0, STATE_BYTES - MESSAGE_AT);
    copyIn(bytesOf(job.state), MESSAGE_AT, text);
    store(words, WORD.messageBytes, text.length);
  }
  store(words, WORD.exitCode, code);
  store(words, WORD.signal, signal === null ? 0 : constants.signals[signal]);
  announce(PHASE.ended);
  clearInterval(watch);
  parentPort?.close();
}

function announce(phase: number): void {
  store(words, WORD.phase, phase);
  notify(words, WORD.phase, Number.POSITIVE_INFINITY);
}
