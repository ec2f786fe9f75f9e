/** Finds programs as a shell does. */
import { accessSync, constants, statSync } from "node:fs";
import { join } from "node:path";

/** True if this is the path of a program, or its name on PATH. */
export function isExecutable(program: string): boolean {
  const paths = program.includes("/") ? [""] : (process.env["PATH"] ?? "").split(":");
  return paths.some((path) => {
    const file = join(path, program);
    try {
      accessSync(file, constants.X_OK);
      return statSync(file).isFile();
    } catch {
      return false;
    }
  });
}
