/**
 * `iova/testing`: what tests of formats, platforms and machines made elsewhere start from.
 */
export type { DmaMaster, Fault, Machine } from "../machine/contract.ts";
