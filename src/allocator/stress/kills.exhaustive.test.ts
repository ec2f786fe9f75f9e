/** Threads that are killed at random moments: 1,000 of them. */
import { testKills } from "./kills.model.ts";

testKills(1000, "kills.exhaustive.test.js");
