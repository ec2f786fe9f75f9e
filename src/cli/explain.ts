/** `iova explain`: reads kernel logs and traces, says what happened and what follows from it. */
import { createReadStream } from "node:fs";
import { Explainer } from "../explain/explainer.ts";
import { IovaError } from "../units/errors.ts";
import type { Terminal } from "./terminal.ts";
import { Command } from "./vendor.ts";

export function explainCommand(terminal: Terminal, finish: (code: number) => void): Command {
  return new Command("explain")
    .description("Explain a kernel log or a trace: what happened, what follows from it, what to do next.")
    .argument("<FILE...>", "kernel logs and traces; - is standard input")
    .option("--dmesg <FILE>", "a kernel log that belongs to the trace")
    .option("--json <FILE>", "write the answer as JSON; - is standard output")
    .action(async (files: string[], { dmesg, json }: { dmesg?: string; json?: string }) => {
      const explainer = new Explainer();
      for (const file of dmesg === undefined ? files : [...files, dmesg]) await read(explainer, file);
      const explanation = explainer.explain();
      if (explanation.inputs.every(({ holds }) => holds.length === 0)) {
        throw new IovaError("input", `${files.join(", ")}: no line is a kernel log's or a trace's`);
      }
      if (json !== undefined) terminal.out(`${JSON.stringify(explanation, undefined, 2)}\n`);
      else
        for (const { kind, verdict, certainty, device } of explanation.findings)
          terminal.out(`${kind} ${verdict} ${certainty} ${device ?? ""}\n`);
      finish(explanation.findings.length > 0 ? 1 : 0);
    });
}

async function read(explainer: Explainer, file: string): Promise<void> {
  const input = explainer.input(file);
  const stream = file === "-" ? process.stdin : createReadStream(file, { highWaterMark: 2 ** 20 });
  for await (const piece of stream) input.write(piece as Uint8Array);
  input.end();
}
