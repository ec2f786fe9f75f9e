/**
 * Runtimes and a bundler from npm, in a folder of their own, build/runtimes: in the clone's node_modules, the package `node` would put another
 * Node before the system's. Installed when a test first needs them: 420 MB, half a minute.
 */
import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "../root.ts";
import { run, runNpm, type ToolResult } from "../tool.ts";

/** Folder with the package.json and the lockfile of the runtimes. */
const WANTED = join(ROOT, "scripts", "runtimes");
const FOLDER = join(ROOT, "build", "runtimes");
const STAMP = join(FOLDER, "node_modules", ".installed");

/** A program that runs JavaScript. */
export interface Runtime {
  readonly name: string;
  /** The command that runs a script: program and options. */
  readonly command: readonly [string, ...string[]];
  /** Runs TypeScript as it stands. */
  readonly runsTypeScript: boolean;
}

/** Installs the runtimes if they are missing. Undefined: they are installed; else the reason why not. */
export function needRuntimes(): string | undefined {
  const wanted = createHash("sha256")
    .update(readFileSync(join(WANTED, "package-lock.json")))
    .digest("hex");
  if (existsSync(STAMP) && readFileSync(STAMP, "utf8") === wanted) return undefined;
  console.log("installing Node 24, Bun, Deno and vite in build/runtimes …");
  mkdirSync(FOLDER, { recursive: true });
  for (const file of ["package.json", "package-lock.json"]) cpSync(join(WANTED, file), join(FOLDER, file));
  const { status, said } = runNpm(["ci", "--no-audit", "--no-fund", "--loglevel=error"], FOLDER);
  if (status !== 0) return `npm ci in build/runtimes failed: ${said.trim().split("\n").slice(-3).join("; ")}`;
  writeFileSync(STAMP, wanted);
  return undefined;
}

/** The Node that runs this, the newest with long-term support, Bun and Deno. Call `needRuntimes` first. */
export function runtimes(): readonly Runtime[] {
  const at = (path: string): string => join(FOLDER, "node_modules", path);
  return [
    { name: `Node ${process.versions.node}`, command: [process.execPath], runsTypeScript: false },
    { name: "Node 24", command: [at("node/bin/node")], runsTypeScript: true },
    { name: "Bun", command: [at("bun/bin/bun.exe"), "run"], runsTypeScript: true },
    { name: "Deno", command: [at("deno/deno"), "run", "--allow-all", "--no-remote"], runsTypeScript: true },
  ];
}

/** The module of vite, for building. */
export function vitePath(): string {
  return join(FOLDER, "node_modules", "vite", "dist", "node", "index.js");
}

/** Packs the package and installs it, as users do, in an empty folder. */
export function installPackage(folder: string): void {
  const packed = runNpm(["pack", "--ignore-scripts", "--json", "--loglevel=error", "--pack-destination", folder]);
  if (packed.status !== 0) throw new Error(`npm pack failed: ${packed.said}`);
  writeFileSync(join(folder, "package.json"), JSON.stringify({ private: true, type: "module" }));
  const tarball = `./${JSON.parse(packed.output)[0].filename}`;
  const installed = runNpm(["install", "--offline", "--no-audit", "--no-fund", "--loglevel=error", tarball], folder);
  if (installed.status !== 0) throw new Error(`npm install failed: ${installed.said}`);
}

/** Runs a script in a folder by a runtime. */
export function runBy(
  { command: [program, ...options] }: Runtime,
  args: readonly string[],
  folder: string,
): ToolResult {
  return run(program, [...options, ...args], folder);
}
