/** A terminal that keeps what is written to it: for tests of commands. */
import { type Paint, PLAIN, type Progress, type Terminal } from "./terminal.ts";

export class RecordingTerminal implements Terminal {
  output = "";
  errors = "";
  readonly width: number;
  readonly paint: Paint = PLAIN;
  readonly paintError: Paint = PLAIN;

  constructor(width = 100) {
    this.width = width;
  }
  out(text: string): void {
    this.output += text;
  }
  error(text: string): void {
    this.errors += text;
  }
  outliveReader(): void {}
  progress(): Progress {
    return { at: () => {}, stop: () => {} };
  }
}
