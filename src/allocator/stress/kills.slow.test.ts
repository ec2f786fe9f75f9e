/** Threads that are killed at random moments: one on each table. */
import { testKills } from "./kills.model.ts";

testKills(25, "kills.slow.test.js");
