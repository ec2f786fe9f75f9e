/** `iova capture`: records what the IOMMU of a Linux machine does, until the first fault, into an archive that `iova explain` reads. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { constants } from "node:os";
import { basename } from "node:path";
import { ArchiveError, ArchiveFile } from "../capture/archive-file.ts";
import { type BootFacts, bootAdvice } from "../capture/boot.ts";
import { type CaptureResult, capture } from "../capture/capture.ts";
import { systemFiles } from "../capture/host-files.ts";
import { scriptOf } from "../capture/script.ts";
import { counted } from "../units/counts.ts";
import { IovaError } from "../units/errors.ts";
import { reflowed } from "./columns.ts";
import { integer, seconds } from "./options.ts";
import { checkedNewFile, STANDARD_OUTPUT } from "./output-file.ts";
import { messageOfSystem } from "./system-errors.ts";
import type { Terminal } from "./terminal.ts";
import { Command, InvalidArgumentError, Option } from "./vendor.ts";

const MANUAL = `
Records map, unmap, DMA API, invalidation and kernel log events, as root on Linux. It stops at the first fault, after --seconds, or on Ctrl-C, and writes one archive: the trace, the kernel log, the command line, groups with reserved regions, lspci. Everything is recorded in a tracefs instance of its own, which is removed at the end, whatever the end is: the machine's own tracing is not touched.

Examples:
  $ sudo iova capture
  $ sudo iova capture --seconds 60 --stacks 0000:01:00.0 -o fault.tar.gz
  $ iova explain fault.tar.gz
  $ iova capture --dry-run > capture.sh     for a machine without iova
  $ iova capture --boot                     for faults during the boot

Exit codes:
  0 the archive is written
  2 wrong use, or this machine can't record: the message says what to do
  3 the recording failed, or the archive could not be written`;

interface CaptureFlags {
  readonly device?: string;
  readonly seconds?: number;
  readonly buffer?: number;
  readonly stacks?: string;
  readonly output?: string;
  readonly dryRun?: true;
  readonly boot?: true;
}

const LONGEST_SECONDS = 1e7;
const LEAST_BUFFER = 2 ** 16;
const MOST_BUFFER = 2 ** 34;

export function captureCommand(terminal: Terminal): Command {
  return new Command("capture")
    .summary("record what the IOMMU does on this machine, for explain")
    .description("Records what the IOMMU does on this machine until a fault, for iova explain.")
    .addOption(
      new Option(
        "-d, --device <DEVICE>",
        "DMA API events of this device only; only its faults end the recording",
      ).argParser(deviceWord),
    )
    .addOption(
      new Option("--seconds <S>", "stop after this time, if there was no fault").argParser(seconds(LONGEST_SECONDS)),
    )
    .addOption(
      new Option(
        "--buffer <SIZE>",
        "buffer of each CPU; without it 16M, or what a quarter of the memory allows",
      ).argParser(integer(LEAST_BUFFER, MOST_BUFFER)),
    )
    .addOption(new Option("--stacks <DEVICE>", "record who unmaps the memory of this device").argParser(deviceWord))
    .addOption(
      new Option(
        "-o, --output <FILE>",
        "the archive; - is standard output; without it iova-DATE-TIME.tar.gz",
      ).argParser(checkedNewFile),
    )
    .option("--dry-run", "print a shell script that does the same on another machine")
    .option("--boot", "print kernel parameters that record from the boot on")
    .addHelpText("after", () => reflowed(MANUAL, terminal.width))
    .action(async (flags: CaptureFlags) => await run(flags, terminal));
}

/** Names stand in filters of the kernel and in shell scripts, so they are checked letter by letter. */
function deviceWord(text: string): string {
  if (/^[\w.:@,-]{1,64}$/.test(text)) return text;
  throw new InvalidArgumentError(`Found '${text}'; expected a device's name, such as 0000:01:00.0.`);
}

async function run(flags: CaptureFlags, terminal: Terminal): Promise<void> {
  if (flags.boot === true) return terminal.out(bootAdvice(bootFacts()));
  if (flags.dryRun === true) return terminal.out(scriptOf(optionsOf(flags)));
  if (process.platform !== "linux") {
    throw new IovaError("capture-impossible", "recording is for Linux; for another machine: iova capture --dry-run");
  }
  const name = `iova-${new Date().toISOString().replace(/\..*/, "").replace(/[-:]/g, "").replace("T", "-")}`;
  const output = flags.output ?? checkedNewFile(`${name}.tar.gz`);
  if (output === STANDARD_OUTPUT && process.stdout.isTTY) {
    throw new IovaError(
      "invalid-argument",
      "--output -: standard output is a terminal; redirect it into a file or a pipe",
    );
  }
  const archive = new ArchiveFile(output === STANDARD_OUTPUT ? process.stdout : output);
  const endings = new Endings(() => archive.abandon());
  const note = (line: string): void => terminal.error(`${line}\n`);
  try {
    const result = await capture(optionsOf(flags), {
      files: systemFiles,
      user: process.geteuid?.(),
      archive,
      folder: output === STANDARD_OUTPUT ? name : basename(output).replace(/\.t(ar\.)?gz$/, ""),
      stopAsked: () => endings.asked,
      note,
      onRestore: (restore) => endings.restoreWith(restore),
    });
    summary(result, note);
    if (output !== STANDARD_OUTPUT) terminal.out(`${output}\n`);
  } catch (error) {
    if (!(error instanceof ArchiveError)) throw error;
    throw new IovaError("output-failed", `--output ${output}: ${messageOfSystem(error.cause)}`);
  } finally {
    endings.over();
  }
}

function optionsOf({ device, stacks, seconds, buffer }: CaptureFlags): Parameters<typeof capture>[0] {
  return {
    ...(device === undefined ? {} : { device }),
    ...(stacks === undefined ? {} : { stacks }),
    ...(seconds === undefined ? {} : { seconds }),
    ...(buffer === undefined ? {} : { bufferKib: Math.ceil(buffer / 1024) }),
  };
}

function summary({ why, fault, events, overwritten, seconds }: CaptureResult, note: (line: string) => void): void {
  note(fault === undefined ? `ended by ${why}` : `a fault: ${fault}`);
  const lost =
    overwritten === 0 ? "" : `; ${counted(overwritten, "older one")} overwritten: a larger --buffer keeps more`;
  note(`${counted(events, "event")} in ${seconds.toFixed(1)} s${lost}`);
}

function bootFacts(): BootFacts {
  const folder = "/sys/class/iommu";
  const release = "/proc/sys/kernel/osrelease";
  return {
    iommus: existsSync(folder) ? readdirSync(folder) : [],
    ...(existsSync(release) ? { release: readFileSync(release, "utf8").trim() } : {}),
  };
}

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** Signals that end a capture: the first signal ends the recording, the second one the command. */
class Endings {
  asked: string | undefined;
  readonly #abandon: () => void;
  #restore: () => void = () => {};

  constructor(abandon: () => void) {
    this.#abandon = abandon;
    for (const signal of SIGNALS) process.on(signal, this.#onSignal);
    // Reached by process.exit and by errors that nothing catches, too.
    process.on("exit", this.#onExit);
  }

  restoreWith(restore: () => void): void {
    this.#restore = restore;
  }

  over(): void {
    for (const signal of SIGNALS) process.off(signal, this.#onSignal);
    process.off("exit", this.#onExit);
  }

  readonly #onSignal = (signal: NodeJS.Signals): void => {
    if (this.asked !== undefined) process.exit(128 + constants.signals[signal]);
    this.asked = signal === "SIGINT" ? "Ctrl-C" : signal;
  };

  readonly #onExit = (): void => {
    this.#restore();
    this.#abandon();
  };
}
