/**
 * Makes a clone ready to run: checks Node, installs the development packages when the lockfile has changed, and builds
 * when a source has changed. Node built-ins only, since it runs before anything is installed. Silent, and a few
 * milliseconds long, when there is nothing to do. `npm start` and `npm test` begin here; by itself: `node scripts/ready.js`.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";

/** The oldest Node that works, as [major, minor]. */
const OLDEST_NODE = [20, 19];
/** Folders whose TypeScript is compiled to build/FOLDER. */
const SOURCE_FOLDERS = ["src", "explorer", "bench", "examples", "scripts"];
/** The one module of build/ that is bundled: third-party code that the command line uses, so that users install nothing more. */
const VENDOR = "src/cli/vendor";

/** A reason why the clone can't be made ready; the message is for the user. */
class NotReady extends Error {}

/**
 * Installs and builds what is out of date in the clone at `root`. Throws an Error whose message names the failed step; the output of
 * the failing tool has been printed before.
 */
export function ready(root) {
  checkNode();
  if (isUpToDate(root)) return;
  withLock(join(root, "build", ".lock"), () => {
    if (!isInstalled(root)) install(root);
    if (!isBuilt(root)) build(root);
  });
}

function isUpToDate(root) {
  return isInstalled(root) && isBuilt(root);
}

function checkNode() {
  const [major, minor] = process.versions.node.split(".").map(Number);
  const [oldestMajor, oldestMinor] = OLDEST_NODE;
  if (major > oldestMajor || (major === oldestMajor && minor >= oldestMinor)) return;
  throw new NotReady(`needs Node ${OLDEST_NODE.join(".")} or later; this is Node ${process.versions.node}`);
}

// Packages.

function installedStamp(root) {
  return join(root, "node_modules", ".installed");
}

function isInstalled(root) {
  return textOf(installedStamp(root)) === lockfileHash(root);
}

function lockfileHash(root) {
  const lockfile = textOf(join(root, "package-lock.json"));
  if (lockfile === undefined) throw new NotReady(`package-lock.json is missing in ${root}; expected a whole clone`);
  return hashOf(lockfile);
}

function install(root) {
  console.error("iova: installing the development packages that package-lock.json names …");
  // The stamp goes first: an installation that is cut off must not look complete.
  rmSync(installedStamp(root), { force: true });
  npm(root, ["ci", "--include=dev", "--no-audit", "--no-fund", "--loglevel=error"]);
  writeFileSync(installedStamp(root), lockfileHash(root));
}

/** Runs the npm that started us; else the one on the path. */
function npm(root, args) {
  const started = process.env.npm_execpath;
  const options = { cwd: root, stdio: ["ignore", 2, 2], env: { ...process.env, NODE_ENV: "development" } };
  const { status, error } = started?.endsWith(".js")
    ? spawnSync(process.execPath, [started, ...args], options)
    : // A shell, because on Windows npm is a script that only a shell starts. No argument needs quoting.
      spawnSync(["npm", ...args].join(" "), { ...options, shell: true });
  if (status === 0) return;
  throw new NotReady(
    `the installation failed: npm ${args[0]} ${error ? `did not start: ${error.message}` : `ended with ${status}`}; ` +
      "it needs npm 9 or later and its registry",
  );
}

// Build.

function builtStamp(root) {
  return join(root, "build", ".built");
}

/** True if the build is of exactly these sources, and no output is missing. */
function isBuilt(root) {
  const sources = sourcesOf(root);
  if (textOf(builtStamp(root)) !== fingerprint(root, sources)) return false;
  return missingOutputs(root, sources).length === 0 && missingBundles(root).length === 0;
}

function build(root) {
  const sources = sourcesOf(root);
  if (sources.length === 0) throw new NotReady(`no TypeScript under ${SOURCE_FOLDERS.join(", ")} in ${root}`);
  const wanted = fingerprint(root, sources);
  console.error("iova: building …");
  rmSync(builtStamp(root), { force: true });
  // The compiler trusts its notes of what it has written, so it must lose them with an output.
  if (missingOutputs(root, sources).length > 0) rmSync(join(root, "build", ".tsbuildinfo"), { force: true });
  compile(root);
  removeStale(root, new Set(sources.map(withoutExtension)));
  bundleVendor(root);
  bundlePackage(root);
  writeFileSync(builtStamp(root), wanted);
}

function compile(root) {
  const compiler = join(root, "node_modules", "typescript", "bin", "tsc");
  const { status, error } = runNode(root, [compiler, "-p", "."]);
  if (status === 0) return;
  throw new NotReady(`the build failed: ${error ? error.message : `the type errors above (tsc ended with ${status})`}`);
}

/** Makes dist/, which users install. In a process of its own: the bundler is loaded when the packages are installed, and works asynchronously. */
function bundlePackage(root) {
  const { status, error } = runNode(root, [join(dirname(fileURLToPath(import.meta.url)), "bundle.js"), root]);
  if (status === 0) return;
  throw new NotReady(`the build failed: ${error ? error.message : "the bundle of the package, see above"}`);
}

/** Missing files of the last bundle, by its own list; a clone whose package.json has no `exports` (a test's) has no bundle. */
function missingBundles(root) {
  if (JSON.parse(textOf(join(root, "package.json")) ?? "{}").exports === undefined) return [];
  const list = textOf(join(root, "build", ".bundled"));
  const licences = "dist/THIRD-PARTY-LICENSES.txt";
  return list === undefined
    ? [licences]
    : [...list.trim().split("\n"), licences].filter((path) => !existsSync(join(root, path)));
}

function runNode(root, args) {
  return spawnSync(process.execPath, args, { cwd: root, stdio: ["ignore", 2, 2] });
}

/** The TypeScript sources, as sorted paths from `root` with slashes. */
function sourcesOf(root) {
  const typescript = (path) => /\.ts$/.test(path) && !/\.d\.ts$/.test(path);
  return SOURCE_FOLDERS.flatMap((folder) => filesUnder(root, folder))
    .filter(typescript)
    .sort();
}

/** A digest of contents, not of times: a checkout or a copy changes times, and an edit within a clock tick does not. */
function fingerprint(root, sources) {
  const hash = createHash("sha256").update(lockfileHash(root));
  for (const path of ["package.json", "tsconfig.json", "scripts/ready.js", "scripts/bundle.js", ...sources]) {
    hash.update(`\0${path}\0`).update(textOf(join(root, path)) ?? "");
  }
  return hash.digest("hex");
}

function missingOutputs(root, sources) {
  return sources.filter((path) => !existsSync(join(root, "build", `${withoutExtension(path)}.js`)));
}

/** Removes outputs of deleted sources: a deleted test must not run. */
function removeStale(root, modules) {
  for (const folder of SOURCE_FOLDERS) {
    for (const path of filesUnder(join(root, "build"), folder)) {
      const module = path.replace(/\.(d\.ts|js|js\.map)$/, "");
      if (module !== path && !modules.has(module)) rmSync(join(root, "build", path));
    }
  }
}

/** Puts the code of the third-party packages in the place of their imports, and their licences beside it. */
function bundleVendor(root) {
  if (!existsSync(join(root, `${VENDOR}.ts`))) return;
  const esbuild = createRequire(join(root, "package.json"))("esbuild");
  const { metafile } = esbuild.buildSync({
    absWorkingDir: root,
    entryPoints: [`${VENDOR}.ts`],
    outfile: `build/${VENDOR}.js`,
    allowOverwrite: true,
    bundle: true,
    platform: "node",
    format: "esm",
    target: `node${OLDEST_NODE.join(".")}`,
    legalComments: "inline",
    // CommonJS inside asks for Node's modules with `require`, which an ES module has not.
    banner: { js: 'import { createRequire } from "node:module";\nconst require = createRequire(import.meta.url);' },
    metafile: true,
  });
  rmSync(join(root, "build", `${VENDOR}.js.map`), { force: true });
  mkdirSync(join(root, "dist"), { recursive: true });
  writeFileSync(join(root, "dist", "THIRD-PARTY-LICENSES.txt"), licences(root, Object.keys(metafile.inputs)));
}

/** The licence texts of all packages that `inputs` (paths from `root`) come from. */
function licences(root, inputs) {
  const folders = new Set(
    inputs.map((path) => /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1]).filter(Boolean),
  );
  const texts = [...folders].sort().map((folder) => {
    const { name, version, license } = JSON.parse(readFileSync(join(root, folder, "package.json"), "utf8"));
    const file = readdirSync(join(root, folder)).find((entry) => /^licen[cs]e/i.test(entry));
    if (file === undefined) throw new NotReady(`the build failed: ${folder} is bundled, but holds no licence text`);
    return `${name} ${version} (${license})\n\n${readFileSync(join(root, folder, file), "utf8").trim()}\n`;
  });
  return `The command line contains these packages.\n\n${texts.join(`\n${"-".repeat(80)}\n\n`)}`;
}

// Files.

function filesUnder(root, folder) {
  const at = join(root, folder);
  if (!existsSync(at)) return [];
  const entries = readdirSync(at, { withFileTypes: true, recursive: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) =>
      relative(root, join(entry.parentPath ?? entry.path, entry.name))
        .split(sep)
        .join("/"),
    );
}

function withoutExtension(path) {
  return path.replace(/\.ts$/, "");
}

function textOf(path) {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (error.code === "ENOENT" || error.code === "ENOTDIR") return undefined;
    throw error;
  }
}

function hashOf(text) {
  return createHash("sha256").update(text).digest("hex");
}

// `npm start` and `npm test` may begin at the same moment, in two terminals.

/** Runs `work` while no other process of this clone does; waits for one that does. A dead holder's lock is taken over. */
function withLock(path, work) {
  mkdirSync(dirname(path), { recursive: true });
  let announced;
  while (!tryToLock(path)) {
    const holder = Number(textOf(path));
    if (holder > 0 && !isAlive(holder)) rmSync(path, { force: true });
    else if (holder > 0 && holder !== announced)
      console.error(`iova: waiting for process ${holder}, which builds here …`);
    announced = holder;
    sleep(100);
  }
  try {
    work();
  } finally {
    rmSync(path, { force: true });
  }
}

function tryToLock(path) {
  const own = `${path}.${process.pid}`;
  // Written first and linked then, so that a lock never stands there without its holder's number.
  writeFileSync(own, String(process.pid));
  try {
    linkSync(own, path);
    return true;
  } catch (error) {
    if (error.code === "EEXIST") return false;
    throw error;
  } finally {
    rmSync(own);
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === "EPERM";
  }
}

function sleep(milliseconds) {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}

/** The clone that this script belongs to. */
export const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), "..");

/** Makes this clone ready; when that fails, says why. */
export function tryReady(root = ROOT) {
  try {
    ready(root);
    return true;
  } catch (error) {
    console.error(`iova: ${error instanceof NotReady ? error.message : error.stack}`);
    return false;
  }
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  // A folder may be named: the tests make small clones of their own.
  if (!tryReady(process.argv[2] && resolve(process.argv[2]))) process.exit(2);
}
