/**
 * `iova/testing`: what tests of formats, platforms and machines made elsewhere start from.
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
