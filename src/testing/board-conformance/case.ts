/** What a case of the suite is: a sentence about behaviour, for which boards it says something, and how it is tried. */
import type { BoardKind } from "../../machines/board.ts";
import type { TableOptions } from "../../table/iommu-table.ts";
import type { Rig } from "./rig.ts";
import { type BoardSetting, hasSeveralPages, threadsOf } from "./setting.ts";

/** What the matrix counts cases by. */
export type Behaviour =
  | "map"
  | "unmap"
  | "scatterlists"
  | "coherent"
  | "faults"
  | "permissions"
  | "exhaustion"
  | "rollback"
  | "ownership"
  | "threads"
  | "lazy flush"
  | "invalidation"
  | "platform";

export interface BoardCase {
  readonly behaviour: Behaviour;
  readonly name: string;
  /** What it needs; without it the case has nothing to say. */
  readonly needs?: readonly Need[];
  /** Options of the generic table, above the setting's. */
  readonly table?: TableOptions;
  /** Throws InvariantError with what was found. Leaves nothing mapped. */
  run(rig: Rig): void;
}

/** What a case may need, and why it is left out where that is not there: for people. */
export const NEEDS = {
  "several pages": "pages of which memory holds one only",
  "two threads": "a setting of one thread",
  "three threads": "a board of two threads",
  strict: "a setting in lazy mode",
  lazy: "a setting in strict mode",
  IOTLB: "no IOTLB that would show what is stale",
  "no IOTLB": "an IOTLB, which other cases try",
  "recorded faults": "stray DMA that is not refused, or not recorded",
} as const;

export type Need = keyof typeof NEEDS;

/** What of a case's needs a board of this kind with this setting does not have. */
export function lacks({ needs = [] }: BoardCase, kind: BoardKind, setting: BoardSetting): Need | undefined {
  const has: Readonly<Record<Need, boolean>> = {
    "several pages": hasSeveralPages(setting.pageShift),
    "two threads": threadsOf(kind, setting) === 2,
    "three threads": (kind.maxThreads ?? 3) >= 3,
    strict: setting.invalidate === "strict",
    lazy: setting.invalidate === "lazy",
    IOTLB: kind.hasIotlb,
    "no IOTLB": !kind.hasIotlb,
    "recorded faults": kind.refusals === "fault" && kind.strayAccess === "refused",
  };
  return needs.find((need) => !has[need]);
}
