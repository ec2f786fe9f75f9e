/**
 * A recording in tracefs instances of our own. `restore` removes them, and with them every setting; it may be called at any time, several times,
 * and from an `exit` handler.
 *
 * The `trace_pipe` of each instance is kept open: the kernel refuses to remove an instance of which a file is open (EBUSY), so an
 * instance that can be removed belongs to no running capture. A capture that was killed leaves its instances; the next one removes them.
 */
import { IovaError } from "../units/errors.ts";
import { codeOf, type HostFiles, type OpenFile } from "./host-files.ts";
import { FAULT_WATCH, type Plan, RECORDER, type Setting } from "./plan.ts";

export class Recording {
  readonly #files: HostFiles;
  readonly #instances: string;
  /** Folders of instances that are ours, oldest first. */
  readonly #made: string[] = [];
  readonly #open: OpenFile[] = [];
  #faults: OpenFile | undefined;

  /** @param tracefs - where it is mounted */
  constructor(files: HostFiles, tracefs: string) {
    this.#files = files;
    this.#instances = `${tracefs}/instances`;
  }

  /** Removes what a killed capture has left; true when there was something. Throws IovaError when another capture runs. */
  removeLeftovers(): boolean {
    const left = [RECORDER, FAULT_WATCH].map((name) => this.#folder(name)).filter((path) => this.#files.exists(path));
    for (const folder of left) {
      try {
        this.#files.removeFolder(folder);
      } catch (error) {
        if (codeOf(error) !== "EBUSY") throw error;
        throw new IovaError(
          "capture-busy",
          `${folder} is in use: another iova capture is running, or a program reads its files; end it first`,
        );
      }
    }
    return left.length > 0;
  }

  /** Begins to record; after an error nothing of it is left once `restore` has been called. */
  start(plan: Plan): void {
    this.#make(RECORDER);
    this.#faults = this.#make(FAULT_WATCH);
    this.#write(FAULT_WATCH, plan.faultWatch);
    this.#write(RECORDER, plan.recorder);
  }

  /** The text of `io_page_fault` events since the last call. */
  newFaults(): string {
    const bytes = new Uint8Array(2 ** 14);
    let text = "";
    for (let length = this.#faults?.read(bytes) ?? 0; length > 0; length = this.#faults?.read(bytes) ?? 0) {
      text += new TextDecoder().decode(bytes.subarray(0, length));
    }
    return text;
  }

  /** Ends the recording; what is recorded stays until `restore`. */
  stop(): void {
    this.#files.write(`${this.#folder(RECORDER)}/tracing_on`, "0");
  }

  /** The recorded text, in pieces that are used up before the next one is asked for. */
  *text(): Generator<Uint8Array> {
    const file = this.#files.open(`${this.#folder(RECORDER)}/trace`);
    this.#open.push(file);
    const bytes = new Uint8Array(2 ** 20);
    try {
      for (let length = file.read(bytes); length > 0; length = file.read(bytes)) yield bytes.subarray(0, length);
    } finally {
      file.close();
    }
  }

  /** Puts everything back. The answer: what could not be removed, with the reason; empty when all is as before. */
  restore(): string[] {
    for (const file of this.#open.splice(0)) file.close();
    return this.#made
      .splice(0)
      .reverse()
      .flatMap((folder) => this.#remove(folder));
  }

  #remove(folder: string): string[] {
    // A program that reads the instance keeps it from being removed: then it is off at least.
    for (const file of ["tracing_on", "events/enable"]) {
      try {
        this.#files.write(`${folder}/${file}`, "0");
      } catch {
        // The removal below says whether it matters.
      }
    }
    try {
      this.#files.removeFolder(folder);
      return [];
    } catch (error) {
      const reason = codeOf(error) === "EBUSY" ? "a program has one of its files open" : String(error);
      return [`${folder} is left, switched off: ${reason}; remove it with: rmdir ${folder}`];
    }
  }

  #folder(name: string): string {
    return `${this.#instances}/${name}`;
  }

  #make(name: string): OpenFile {
    const folder = this.#folder(name);
    try {
      this.#files.makeFolder(folder);
      this.#made.push(folder);
      const pipe = this.#files.open(`${folder}/trace_pipe`);
      this.#open.push(pipe);
      return pipe;
    } catch (error) {
      throw failure(`${folder}: can't be made`, error);
    }
  }

  #write(instance: string, settings: readonly Setting[]): void {
    const folder = this.#folder(instance);
    for (const { path, value, isOptional, unless } of settings) {
      if (isOptional && !this.#files.exists(`${folder}/${path}`)) continue;
      if (unless !== undefined && this.#files.exists(`${folder}/${unless}`)) continue;
      try {
        this.#files.write(`${folder}/${path}`, value);
      } catch (error) {
        throw failure(`${folder}/${path}: can't write ${value}`, error);
      }
    }
  }
}

function failure(what: string, error: unknown): IovaError {
  const advice: Readonly<Record<string, string>> = {
    ENOMEM: "; take a smaller --buffer",
    EPERM: "; the kernel is locked down, or this is a container: record on the host itself",
    EACCES: "; this is a container, or a security module forbids it: record on the host itself",
  };
  const message = error instanceof Error ? error.message : String(error);
  return new IovaError("capture-failed", `${what}: ${message}${advice[codeOf(error)] ?? ""}`);
}
