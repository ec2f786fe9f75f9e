/** The root folder of the clone, for compiled scripts, which run from build/scripts. */
import { fileURLToPath } from "node:url";

export const ROOT: string = fileURLToPath(new URL("../../", import.meta.url));
