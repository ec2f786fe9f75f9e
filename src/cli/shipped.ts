/** The traces that come with the package, by name: a user who has installed it replays one without looking for its file. */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const FOLDER = new URL("../../../traces/", import.meta.url);

/** The trace's path: `given` itself, or that of the shipped trace of this name (`nvme-io-612`), if there is no such file here. */
export function tracePath(given: string): string {
  if (given === "-" || existsSync(given) || !/^\w[\w-]*$/.test(given)) return given;
  const shipped = fileURLToPath(new URL(`${given}.txt.gz`, FOLDER));
  return existsSync(shipped) ? shipped : given;
}
