/** Runs development tools of this clone: those installed in node_modules, and npm. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "./root.ts";

export interface ToolResult {
  /** Exit code; null when a signal ended it. */
  readonly status: number | null;
  /** Standard output alone. */
  readonly output: string;
  /** Standard output and standard error. */
  readonly said: string;
}

/** Runs the command that package `name` installs (`command`, where it has several), in the clone's root. */
export function runTool(name: string, args: readonly string[], command?: string): ToolResult {
  const folder = join(ROOT, "node_modules", name);
  const { bin } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const path = typeof bin === "string" ? bin : bin[command ?? Object.keys(bin)[0] ?? ""];
  if (path === undefined) throw new Error(`${name} installs no command ${command}; it has ${Object.keys(bin)}`);
  return run(process.execPath, [join(folder, path), ...args]);
}

/** Runs npm, the one that started us if there is one. */
export function runNpm(args: readonly string[], cwd: string = ROOT): ToolResult {
  const started = process.env["npm_execpath"];
  return started?.endsWith(".js") ? run(process.execPath, [started, ...args], cwd) : run("npm", args, cwd);
}

export function run(command: string, args: readonly string[], cwd: string = ROOT): ToolResult {
  const env = { ...process.env, NO_COLOR: "1", FORCE_COLOR: "0" };
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd, env, encoding: "utf8" });
  if (error !== undefined) throw error;
  return { status, output: stdout, said: `${stdout}${stderr}` };
}
