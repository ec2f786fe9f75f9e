/** Where the clone is: compiled scripts run from build/scripts. */
import { fileURLToPath } from "node:url";

export const ROOT: string = fileURLToPath(new URL("../../", import.meta.url));
