/** Drivers that are killed at random moments: two on each table. */
import { testReclaim } from "./reclaim.model.ts";

testReclaim(32, "reclaim.slow.test.js");
