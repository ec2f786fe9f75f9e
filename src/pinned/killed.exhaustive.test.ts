/** Random kills of threads that use pinned memory: see killed.model.ts. */
import { testKills } from "./killed.model.ts";

testKills(500);
