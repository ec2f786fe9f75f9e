/** A terminal that keeps what is written to it: for tests of commands. */
import { type Paint, PLAIN, type Progress, type Terminal } from "./terminal.ts";

export class RecordingTerminal implements Terminal {
  output = "";
  errors = "";
  readonly width: number;
  readonly isUtf8: boolean;
  readonly paint: Paint = PLAIN;
  readonly paintError: Paint = PLAIN;

  constructor(width = 100, isUtf8 = false) {
    this.width = width;
    this.isUtf8 = isUtf8;
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
