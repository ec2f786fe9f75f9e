/** Generated logs, as in generated.slow.test.ts: many of them. */
import { testGenerated } from "./generated.model.ts";

testGenerated({ seed: 1, logs: 5000 });
