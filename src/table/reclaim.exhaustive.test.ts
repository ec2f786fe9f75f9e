/** Drivers that are killed at random moments: 200 of them. */
import { testReclaim } from "./reclaim.model.ts";

testReclaim(200, "reclaim.exhaustive.test.js");
