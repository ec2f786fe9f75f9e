/**
 * Groups of a powernv bridge for sPAPR containers. While a container has a group, the kernel's tables are removed from its windows; they are set
 * again afterwards. A legacy group keeps its one fixed table, which the container fills.
 */

import { PAGE_SHIFTS_OF } from "../../platforms/powernv/geometry.ts";
import { type GroupOwnership, TableGroup } from "../../platforms/powernv/group.ts";
import { Phb } from "../../platforms/powernv/phb.ts";
import { PowernvTable, type PowernvTableHandle } from "../../platforms/powernv/table.ts";
import { type Errno, isErrno } from "../../units/errno.ts";
import { checkInstance, InvalidArgumentError, IovaError } from "../../units/errors.ts";
import { type Failure, isFailure } from "../../units/failure.ts";
import { checkKeys } from "../../units/keys.ts";
import type { DmaWindow } from "../../units/numbers.ts";
import type { DefaultWindow, SpaprGroup, SpaprTable, SpaprWindowShape, WindowOps } from "./group.ts";

const LEVELS = 4;

/** Options of `powernvSpaprGroup`. */
export interface PowernvGroupOptions {
  /** This thread's views of all tables that are set in the group's windows. Default []: no window is set. */
  readonly tables?: readonly PowernvTable[];
  /** Size in bytes of the 32-bit window at bus address 0: a power of two, at most 2^31; 0n: no such window. Default 2^31. A legacy group has its fixed table. */
  readonly defaultBytes?: bigint;
}

/**
 * This thread's view of a group of a PHB, for `SpaprContainer.attachGroup`. Groups of the same view of a PHB can be in one container. Throws
 * InvalidArgumentError.
 */
export function powernvSpaprGroup(phb: Phb, group: TableGroup, options: PowernvGroupOptions = {}): SpaprGroup {
  checkInstance("phb of a group", phb, Phb, "a view of a PHB");
  checkInstance("group", group, TableGroup, "a TableGroup of the PHB");
  checkKeys("a group of a powernv bridge", options, { tables: "object", defaultBytes: "any" });
  const { tables = [], defaultBytes = 0n } = options;
  if (!Array.isArray(tables)) throw new InvalidArgumentError("tables of a group", tables, "an array");
  for (const table of tables) checkInstance("table of a group", table, PowernvTable, "a PowernvTable");
  const isSize = typeof defaultBytes === "bigint" && defaultBytes >= 0n && defaultBytes <= 2n ** 31n;
  if (!isSize || (defaultBytes & (defaultBytes - 1n)) !== 0n) {
    throw new InvalidArgumentError(
      "defaultBytes of a group",
      defaultBytes,
      "a power of two up to 2^31, or 0, as a bigint",
    );
  }
  return new PowernvSpaprGroup(phb, group, options);
}

class PowernvSpaprGroup implements SpaprGroup {
  readonly number: number;
  readonly windowOps?: WindowOps;
  readonly dynamicWindows: number;
  readonly pageShifts: readonly number[];
  readonly levels = LEVELS;
  readonly defaultWindow?: DefaultWindow;
  readonly fixedTables: readonly SpaprTable[];
  readonly group: TableGroup;
  readonly #tables: readonly PowernvTable[];
  #ownership: GroupOwnership | undefined;

  constructor(phb: Phb, group: TableGroup, { tables = [], defaultBytes = 2n ** 31n }: PowernvGroupOptions) {
    this.number = group.partition;
    this.group = group;
    this.#tables = tables;
    this.pageShifts = PAGE_SHIFTS_OF[phb.handle.generation];
    this.dynamicWindows = group.isLegacy ? 0 : 2;
    this.fixedTables = group.isLegacy ? tables.map((table) => new PowernvSpaprTable(table)) : [];
    if (!group.isLegacy) this.windowOps = windowOpsOf(phb);
    const [fixed] = this.fixedTables;
    if (fixed !== undefined) this.defaultWindow = { base: fixed.window.base, bytes: bytesOf(fixed.window) };
    else if (defaultBytes > 0n) this.defaultWindow = { base: 0n, bytes: defaultBytes };
  }

  takeOwnership(): Errno | undefined {
    const ownership = this.group.takeOwnership(this.#tables);
    if (isFailure(ownership)) return errnoOf(ownership as Failure);
    this.#ownership = ownership as GroupOwnership;
    return this.group.isLegacy ? undefined : this.#emptyWindows();
  }

  releaseOwnership(): Errno | undefined {
    for (const table of this.group.isLegacy ? [] : this.#tables) {
      const failure = this.group.setWindow(table);
      // "in-use": an earlier call has set it, and failed later.
      if (failure !== undefined && failure !== "in-use") return errnoOf(failure);
    }
    return errnoOf(this.group.releaseOwnership(this.#tables, this.#ownership));
  }

  #emptyWindows(): Errno | undefined {
    for (const table of this.#tables) {
      const failure = this.group.unsetWindow(table);
      if (failure === undefined) continue;
      this.releaseOwnership();
      return errnoOf(failure);
    }
    return undefined;
  }
}

class PowernvSpaprTable implements SpaprTable {
  readonly table: PowernvTable;

  constructor(table: PowernvTable) {
    this.table = table;
  }

  get window(): DmaWindow {
    return this.table.generic.window;
  }

  get handle(): PowernvTableHandle {
    return this.table.handle;
  }

  get ops(): PowernvTable["ops"] {
    return this.table.ops;
  }

  release(): Errno | undefined {
    const errno = errnoOf(this.table.release());
    if (errno === undefined) this.table.close();
    return errno;
  }
}

/** One object for each view of a bridge: a container compares it to find groups that fit together. */
const opsOfBridges = new WeakMap<Phb, WindowOps>();

function windowOpsOf(phb: Phb): WindowOps {
  const known = opsOfBridges.get(phb);
  if (known !== undefined) return known;
  const ops = new PowernvWindowOps();
  opsOfBridges.set(phb, ops);
  return ops;
}

class PowernvWindowOps implements WindowOps {
  tableBytes(group: SpaprGroup, shape: SpaprWindowShape): number | Errno {
    return refused(() => groupOf(group).getTableBytes(shape));
  }

  createTable(group: SpaprGroup, window: 0 | 1, shape: SpaprWindowShape): SpaprTable | Errno {
    const made = refused(() => groupOf(group).createTable({ ...shape, window }));
    return isErrno(made) ? made : new PowernvSpaprTable(made);
  }

  setWindow(group: SpaprGroup, table: SpaprTable): Errno | undefined {
    return errnoOf(groupOf(group).setWindow(powernvTableOf(table)));
  }

  unsetWindow(group: SpaprGroup, table: SpaprTable): Errno | undefined {
    return errnoOf(groupOf(group).unsetWindow(powernvTableOf(table)));
  }
}

function groupOf(group: SpaprGroup): TableGroup {
  if (group instanceof PowernvSpaprGroup) return group.group;
  throw new InvalidArgumentError("group", group, "a group of a powernv bridge");
}

/** The powernv table of a container's window (`SpaprContainer.platformTables`). Throws InvalidArgumentError for a table of another platform. */
export function powernvTableOf(table: SpaprTable): PowernvTable {
  if (table instanceof PowernvSpaprTable) return table.table;
  throw new InvalidArgumentError("table", table, "a table of a powernv bridge");
}

function bytesOf({ pageShift, entries }: DmaWindow): bigint {
  return BigInt(entries) << BigInt(pageShift);
}

/** "EINVAL": the platform does not have the shape. "ENOMEM": no memory or no free table. Other errors are bugs, and are thrown. */
function refused<Made>(make: () => Made): Made | Errno {
  try {
    return make();
  } catch (error) {
    if (error instanceof InvalidArgumentError) return "EINVAL";
    if (error instanceof IovaError && (error.code === "no-memory" || error.code === "no-table")) return "ENOMEM";
    throw error;
  }
}

function errnoOf(failure: Failure | undefined): Errno | undefined {
  if (failure === undefined) return undefined;
  return failure === "in-use" ? "EBUSY" : "EAGAIN";
}
