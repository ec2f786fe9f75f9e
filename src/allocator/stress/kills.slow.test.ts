/** Threads that are killed at random moments: 100 of them. */
import { testKills } from "./kills.model.ts";

testKills(100, "kills.slow.test.js");
