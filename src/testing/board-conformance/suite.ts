/**
 * The conformance suite of boards: what every platform on every machine must do, as cases that any test runner can run.
 *
 *     for (const { name, run } of boardConformance(kind, { ...PLAIN, pageShift: 12, levels: 1 })) test(name, run);
 *
 * The judge is the device: what its DMA brings through the machine's walk of the real bits in memory, and what it does not bring.
 * Beside it stand `TableOps.get` over the whole table, and what the allocator counts. A case leaves nothing behind, which is
 * checked after each: no mapping, no entry, nothing taken, no fault.
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

/** All cases there are, in the order in which it is best to read what fails. */
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
  /** Makes the device whose coherent memory is tried. Default: a DmaDevice on the board's table. */
  readonly operations?: OperationsOf;
  /**
   * One board for all cases of a setting instead of one for each: for machines that take long to start. The last of the cases gives
   * it back. Default false.
   */
  readonly shareBoard?: boolean;
}

/** A case of the suite, for one board kind and setting. */
export interface BoardConformanceCase extends ConformanceCase {
  /** The behaviour of the board that the case checks. */
  readonly behaviour: Behaviour;
  /** The last part of the name: what the case says of every board. */
  readonly sentence: string;
}

/** The cases that have something to say about a board of this kind with this setting. */
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

/** A rig that cases take turns on. After one that failed the next begins with a new board. */
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
