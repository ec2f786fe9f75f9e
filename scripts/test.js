/**
 * `npm test`: makes the clone ready, then runs the tests (scripts/suite.ts says how, and what the arguments are).
 */
import { tryReady } from "./ready.js";

if (tryReady()) {
  const { main } = await import("../build/scripts/suite.js");
  process.exitCode = await main(process.argv.slice(2));
} else {
  // The last line of every run has this form.
  console.log("0 passed, 1 failed");
  process.exitCode = 2;
}
