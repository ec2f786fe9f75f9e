/**
 * `iova/testing`: what tests of formats, platforms and machines made elsewhere start from.
 */
export type { DmaMaster, Fault, Machine } from "../machine/contract.ts";
export type { ConformanceCase, FormatExample, FormatOracle } from "./format-conformance.ts";
export { formatConformance } from "./format-conformance.ts";
