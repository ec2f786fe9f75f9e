/**
 * For authors of formats, platforms and machines: conformance suites whose cases any test runner can run.
 *
 * | function | cases for |
 * | --- | --- |
 * | `formatConformance` | a format of table entries, against a description from its manual |
 * | `boardConformance` | a platform on a machine (`BoardKind`), with one setting |
 * | `cellsOf` | settings of `boardConformance` that cover all page sizes, levels and pairs of options |
 *
 * ```ts
 * import { boardConformance, boardNamed, PLAIN } from "iova/testing";
 *
 * const setting = { ...PLAIN, pageShift: 12, levels: 1 };
 * for (const { run } of boardConformance(boardNamed("linear-tce"), setting)) run(); // throws if the board fails a case
 * ```
 *
 * @module
 */
/// <reference lib="esnext.disposable" preserve="true" />
export type { DmaMachine, DmaMaster, Fault, Machine } from "../machine/contract.ts";
export {
  type Board,
  type BoardHandle,
  type BoardKind,
  type BoardOptions,
  checkBoardOptions,
} from "../machines/board.ts";
export { type BoardParts, boardOf } from "../machines/board-of.ts";
export { attachBoard, BOARD_KINDS, boardNamed } from "../machines/boards.ts";
export type { Behaviour } from "./board-conformance/case.ts";
export { type CellCount, cellsOf, type MatrixCell, matrixText } from "./board-conformance/matrix.ts";
export { type Choices, pairwise, type Row } from "./board-conformance/pairwise.ts";
export type { OperationsOf } from "./board-conformance/rig.ts";
export { type BoardSetting, CHOICES, type Choice, PLAIN } from "./board-conformance/setting.ts";
export {
  type BoardConformanceCase,
  type BoardConformanceOptions,
  boardConformance,
} from "./board-conformance/suite.ts";
export type { ConformanceCase, FormatExample, FormatOracle } from "./format-conformance.ts";
export { formatConformance } from "./format-conformance.ts";
