/** A case of the suite: a sentence about behaviour, the boards to which it applies, and its test. */
import type { BoardKind } from "../../machines/board.ts";
import type { TableOptions } from "../../table/iommu-table.ts";
import type { Rig } from "./rig.ts";
import { type BoardSetting, hasSeveralPages, threadsOf } from "./setting.ts";

/** The groups by which the matrix counts cases. */
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
  /** Its requirements; without them the case does not apply. */
  readonly needs?: readonly Need[];
  /** Options of the generic table, above the setting's. */
  readonly table?: TableOptions;
  /** Throws InvariantError with what was found. Leaves nothing mapped. */
  run(rig: Rig): void;
}

/** Requirements of cases, and the reason in reports why a case without them is left out. */
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

/** The first requirement of a case that this kind of board with this setting does not meet. */
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
