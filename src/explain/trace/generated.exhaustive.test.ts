/** Traces with a planted fault, as in generated.slow.test.ts: many of them. */
import { testVerdicts } from "./generator.model.ts";

testVerdicts(30_000_000, 6000);
