/** Generated logs: each message is found, and nothing contradicts it. SEED and IOVA_LOGS repeat a run. */
import { testGenerated } from "./generated.model.ts";

testGenerated({ seed: 20_261_130, logs: 500 });
