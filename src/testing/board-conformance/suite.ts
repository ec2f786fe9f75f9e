/**
 * The conformance suite of boards: requirements of every platform on every machine, as cases that any test runner can run.
 *
 * Cases check mappings by a device's DMA, which the machine translates with the entries in memory; by `TableOps.get` over the whole table; and by
 * the counts of the allocator. After each case no mapping, no entry and no fault may be left, and no entry may be taken.
 */
import type { BoardKind } from "../../machines/board.ts";
import { checkKeys } from "../../units/keys.ts";
import type { ConformanceCase } from "../format-conformance.ts";
import { COHERENT } from "./behaviours/coherent.ts";
import { EXHAUSTION } from "./behaviours/exhaustion.ts";
import { FAULTS } from "./behaviours/faults.ts";
import { INVALIDATION, LAZY_FLUSH } from "./behaviours/invalidation.ts";
import { MAP, UNMAP } from "./behaviours/map.ts";
import { OWNERSHIP } from "./behaviours/ownership.ts";
import { PERMISSIONS } from "./behaviours/permissions.ts";
import { PLATFORM } from "./behaviours/platform.ts";
import { ROLLBACK } from "./behaviours/rollback.ts";
import { SCATTER_LISTS } from "./behaviours/scatter-lists.ts";
import { THREADS } from "./behaviours/threads.ts";
import { type Behaviour, type BoardCase, lacks } from "./case.ts";
import { type OperationsOf, Rig } from "./rig.ts";
import { type BoardSetting, settingText } from "./setting.ts";

/** All cases, in the order in which failures are best read. */
export const BOARD_CASES: readonly BoardCase[] = [
  ...MAP,
  ...UNMAP,
  ...SCATTER_LISTS,
  ...COHERENT,
  ...FAULTS,
  ...PERMISSIONS,
  ...EXHAUSTION,
  ...ROLLBACK,
  ...OWNERSHIP,
  ...THREADS,
  ...LAZY_FLUSH,
  ...INVALIDATION,
  ...PLATFORM,
];

/** Options of `boardConformance`. */
export interface BoardConformanceOptions {
  /** Makes the device of the coherent cases. Default: a DmaDevice on the board's table. */
  readonly operations?: OperationsOf;
  /**
   * True: the cases share one board, for machines that take long to start; run all of them, in order, because the last one closes it. False: each case
   * makes a board of its own. Default false.
   */
  readonly shareBoard?: boolean;
}

/** A case of the suite, for one board kind and setting. */
export interface BoardConformanceCase extends ConformanceCase {
  /** The behaviour of the board that the case checks. */
  readonly behaviour: Behaviour;
  /** Last part of the name: the claim, without board and setting. */
  readonly sentence: string;
}

/**
 * The cases that apply to a board of this kind with this setting. Each `run` throws InvariantError, with the value found, if the board fails it; it
 * closes the boards that it makes. Throws InvalidArgumentError for unknown options.
 *
 * @example
 * All cases of the linear IOMMU with 4 KiB pages and one level. In tests use your runner: `test(name, run)`.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { boardConformance, boardNamed, PLAIN } from "iova/testing";
 *
 * const cases = boardConformance(boardNamed("linear-tce"), { ...PLAIN, pageShift: 12, levels: 1 });
 * assert.ok(cases.length > 20);
 * for (const { run } of cases) run();
 * ```
 */
export function boardConformance(
  kind: BoardKind,
  setting: BoardSetting,
  options: BoardConformanceOptions = {},
): readonly BoardConformanceCase[] {
  checkKeys("a board's conformance", options, { operations: "function", shareBoard: "boolean" });
  const shared = options.shareBoard === true ? new SharedBench(kind, setting, options.operations) : undefined;
  const cases = BOARD_CASES.filter((one) => lacks(one, kind, setting) === undefined);
  return cases.map((one, i) => ({
    behaviour: one.behaviour,
    sentence: one.name,
    name: `${kind.name}, ${settingText(setting)}: ${one.behaviour}: ${one.name}`,
    run: () => {
      if (shared === undefined || one.table !== undefined) runAlone(one, kind, setting, options.operations);
      else shared.run(one);
      if (i === cases.length - 1) shared?.close();
    },
  }));
}

function runAlone(one: BoardCase, kind: BoardKind, setting: BoardSetting, operations?: OperationsOf): void {
  const rig = new Rig(kind, setting, operations, one.table);
  try {
    one.run(rig);
    rig.expectAtRest();
  } finally {
    rig.close();
  }
}

/** A rig that cases share. After a failed case the next one begins with a new board. */
class SharedBench {
  readonly #make: () => Rig;
  #rig: Rig | undefined;

  constructor(kind: BoardKind, setting: BoardSetting, operations?: OperationsOf) {
    this.#make = () => new Rig(kind, setting, operations);
  }

  run(one: BoardCase): void {
    this.#rig ??= this.#make();
    try {
      one.run(this.#rig);
      this.#rig.expectAtRest();
    } catch (cause) {
      this.close();
      throw cause;
    }
  }

  close(): void {
    this.#rig?.close();
    this.#rig = undefined;
  }
}
