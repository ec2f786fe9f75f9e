/** Drivers that are killed at random moments: 48 of them. */
import { testReclaim } from "./reclaim.model.ts";

testReclaim(48, "reclaim.slow.test.js");
