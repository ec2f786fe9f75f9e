/**
 * Third-party code of the command line, all of it. The build puts the packages' code in the place of these imports
 * (scripts/ready.js), so that users install nothing more; everything else stays plain compiler output, in which workers
 * find their files beside them.
 */
import cliProgress from "cli-progress";

export { Argument, Command, InvalidArgumentError, Option } from "commander";
/** Unpacks zstd: Node 20 can't. */
export { Decompress as ZstdDecompress } from "fzstd";

/** A progress bar. */
export const SingleBar: typeof cliProgress.SingleBar = cliProgress.SingleBar;
