/**
 * One capture, from the checks to the archive. The order keeps the machine's settings changed for as short as possible: record, stop, put the
 * recording aside, put the settings back; only then compress.
 */

import { setTimeout as sleep } from "node:timers/promises";
import { counted } from "../units/counts.ts";
import type { ArchiveFile } from "./archive-file.ts";
import { FaultWatch } from "./fault-watch.ts";
import type { HostFiles } from "./host-files.ts";
import { KernelLog } from "./kernel-log.ts";
import { bufferKibFor, deviceNamed, lookAt, type Machine } from "./machine.ts";
import { ABOUT_MEMBER, LOG_MEMBER, MEMBERS, TRACE_MEMBER } from "./members.ts";
import { planOf, RECORDER, START_MARK } from "./plan.ts";
import { Recording } from "./recording.ts";
import type { TarMember } from "./tar.ts";

export interface CaptureOptions {
  /** Stops then; absent: at the first fault or when asked. */
  readonly seconds?: number;
  /** Size of each CPU's buffer; absent: what the memory allows. */
  readonly bufferKib?: number;
  /** `dma:*` events, and faults that end the recording, of this device alone. */
  readonly device?: string;
  /** Stacks of the unmaps of this device. */
  readonly stacks?: string;
}

/** The surroundings of a capture. */
export interface Surroundings {
  readonly files: HostFiles;
  /** User id of the process; 0 is root. */
  readonly user: number | undefined;
  readonly archive: ArchiveFile;
  /** Folder inside the archive. */
  readonly folder: string;
  /** Asked many times a second: why to stop now, such as "Ctrl-C". */
  stopAsked(): string | undefined;
  /** A line for the user. */
  note(line: string): void;
  /** Takes the function that puts everything back, before anything is changed: for whatever ends the process. */
  onRestore(restore: () => void): void;
}

export interface CaptureResult {
  readonly why: string;
  readonly seconds: number;
  /** Events in the archive, and older ones that were overwritten. */
  readonly events: number;
  readonly overwritten: number;
  /** The message that ended it; absent when something else did. */
  readonly fault?: string;
}

const POLL_MILLISECONDS = 50;
/** So long after a fault, the rest of its message is in the log. */
const REST_OF_MESSAGE_MILLISECONDS = 300;

/** Throws IovaError when the machine can't record or the recording fails, ArchiveError when the archive can't be written. */
export async function capture(options: CaptureOptions, around: Surroundings): Promise<CaptureResult> {
  const { files, archive } = around;
  const machine = lookAt(files, around.user);
  const wishes = wishesOf(options, machine, files);
  const recording = new Recording(files, machine.tracefs);
  if (recording.removeLeftovers()) around.note("removed the tracefs instances that a killed capture had left");
  const restore = (): void => {
    for (const left of recording.restore()) around.note(left);
  };
  around.onRestore(restore);
  const log = new KernelLog(files);
  try {
    recording.start(planOf(wishes));
    log.write(`${START_MARK} (${process.pid})`);
    noteStart(machine, wishes.bufferKib, options, around);
    const ending = await untilItEnds(recording, log, options, around);
    const head = { text: "" };
    const spool = await archive.spool(withPauses(recording.text(), head));
    try {
      const members = membersOf(machine, log, files);
      restore();
      const result = { ...ending, ...countsIn(head.text) };
      const about = aboutOf(machine, wishes, result);
      const trace = { name: TRACE_MEMBER, bytes: spool.bytes, pieces: spool.pieces() };
      await archive.write(
        [about, trace, ...members].map((member) => ({ ...member, name: `${around.folder}/${member.name}` })),
      );
      return result;
    } finally {
      spool.close();
    }
  } finally {
    restore();
    log.close();
  }
}

type Wishes = Parameters<typeof planOf>[0];

function wishesOf({ device, stacks, bufferKib }: CaptureOptions, machine: Machine, files: HostFiles): Wishes {
  return {
    bufferKib: bufferKibFor(machine, bufferKib),
    ...(device === undefined ? {} : { device: deviceNamed(files, "--device", device) }),
    ...(stacks === undefined ? {} : { stacks: deviceNamed(files, "--stacks", stacks) }),
  };
}

function noteStart(
  machine: Machine,
  bufferKib: number,
  { seconds, stacks }: CaptureOptions,
  around: Surroundings,
): void {
  if (!machine.hasGroups) {
    around.note(
      "no device is behind an IOMMU here (no /sys/kernel/iommu_groups/*): boot with intel_iommu=on or amd_iommu=on",
    );
  }
  if (!machine.hasDmaEvents) {
    around.note(`Linux ${machine.release} has no dma:* events (they came with 6.12): the trace does not name devices`);
    if (stacks !== undefined) around.note("so stacks are recorded for all events, not for one device's unmaps");
  }
  const end = seconds === undefined ? "" : `, ${seconds} s`;
  around.note(`recording, ${bufferKib} KiB for each of ${machine.cpus} CPUs, until the first fault${end} or Ctrl-C`);
}

type Ending = Pick<CaptureResult, "why" | "seconds" | "fault">;

async function untilItEnds(
  recording: Recording,
  log: KernelLog,
  { device, seconds: most = Number.POSITIVE_INFINITY }: CaptureOptions,
  around: Surroundings,
): Promise<Ending> {
  const watch = new FaultWatch(device);
  const start = performance.now();
  for (;;) {
    const fault = watch.inTrace(recording.newFaults()) ?? watch.inLog(log.news());
    const seconds = (performance.now() - start) / 1000;
    const why =
      fault === undefined ? (around.stopAsked() ?? (seconds >= most ? `${most} s are over` : undefined)) : "a fault";
    if (why !== undefined) {
      recording.stop();
      if (fault === undefined) return { why, seconds };
      await sleep(REST_OF_MESSAGE_MILLISECONDS);
      return { why, seconds, fault };
    }
    await sleep(POLL_MILLISECONDS);
  }
}

/** Lets signals in between two pieces; keeps the first piece's text, which has the trace's head. */
async function* withPauses(pieces: Iterable<Uint8Array>, head: { text: string }): AsyncGenerator<Uint8Array> {
  for (const piece of pieces) {
    if (head.text === "") head.text = new TextDecoder().decode(piece.subarray(0, 4096));
    yield piece;
    await sleep(0);
  }
}

/** `# entries-in-buffer/entries-written: 140/200` */
function countsIn(head: string): Pick<CaptureResult, "events" | "overwritten"> {
  const [, kept, written] = /entries-in-buffer\/entries-written: (\d+)\/(\d+)/.exec(head) ?? [];
  const events = Number(kept ?? 0);
  return { events, overwritten: Number(written ?? events) - events };
}

/** Files without content are left out: the machine does not have what they would hold. */
function membersOf({ tracefs }: Machine, log: KernelLog, files: HostFiles): TarMember[] {
  const recorder = `recorder=${tracefs}/instances/${RECORDER}`;
  const outputs = MEMBERS.map(({ name, command }) => ({ name, text: files.run(`${recorder}; ${command}`) }));
  return [{ name: LOG_MEMBER, text: log.text() }, ...outputs]
    .filter(({ text }) => text !== "")
    .map(({ name, text }) => memberOf(name, text));
}

function memberOf(name: string, text: string): TarMember {
  const content = new TextEncoder().encode(text);
  return { name, bytes: content.length, pieces: [content] };
}

function aboutOf({ release, cpus }: Machine, { bufferKib, device, stacks }: Wishes, result: CaptureResult): TarMember {
  const lines = [
    "Recorded by iova capture; read it with: iova explain FILE.tar.gz",
    `Linux ${release}, ${bufferKib} KiB of buffer for each of ${cpus} CPUs`,
    ...(device === undefined ? [] : [`dma:* events of ${device} only`]),
    ...(stacks === undefined ? [] : [`stacks of unmaps of ${stacks}`]),
    `${result.seconds.toFixed(3)} s, ended by ${result.why}`,
    `${counted(result.events, "event")}, ${counted(result.overwritten, "older one")} overwritten`,
  ];
  return memberOf(ABOUT_MEMBER, `${lines.join("\n")}\n`);
}
