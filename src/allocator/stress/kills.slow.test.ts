/** Threads that are killed at random moments: one or two on each table. */
import { testKills } from "./kills.model.ts";

testKills(40, "kills.slow.test.js");
