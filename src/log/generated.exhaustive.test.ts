/** Generated logs, as in generated.slow.test.ts: many of them. */
import { testLogs } from "./generated.model.ts";

testLogs({ seed: 1, logs: 5000 });
