/**
 * What a dead thread left of a dynamic window: a making is undone, so that the window can be made anew; a removal is finished; memory that it
 * was adding is mapped, memory that it was removing is not. A window that it had made, and no other thread has attached to, is removed.
 *
 * It works in the dead thread's name, by the step and the facts of window-state.ts, with the crew's recovery lock: so no two recoveries run
 * at once. Each step may be repeated: a removal of a window that is gone is refused, and then the hypervisor doesn't know the liobn;
 * the default window is not brought back twice; entries are mapped only where they are empty.
 */
import type { Crew } from "../../shared/crew.ts";
import type { Failure } from "../../units/failure.ts";
import { completeDirectly, removeDirectly } from "./direct-memory.ts";
import { bringDefaultBack, type DynamicWindowParts, dmaWindowOf } from "./dynamic-windows.ts";
import { type Held, STEP, type WindowState } from "./window-state.ts";

export interface WindowRecoveryParts
  extends Pick<DynamicWindowParts, "firmware" | "isThere" | "properties" | "state" | "withOps"> {
  readonly crew: Pick<Crew, "removeStructure">;
  /** The physical address of a thread's list page. */
  readonly listPageOf: (thread: number) => number;
}

/** "platform-busy": the firmware or the hypervisor asks to be called again later; nothing is lost, and the recovery can be repeated. */
export function recoverWindow(parts: WindowRecoveryParts, thread: number): Failure | undefined {
  const { state } = parts;
  const left = state.leftBy(thread) ?? state.takeUnseen(thread);
  switch (left?.step) {
    case STEP.making:
      return end(state, left, STEP.untried);
    case STEP.replacing:
      return endWithDefault(parts, left, STEP.failed);
    case STEP.creating:
      return noteCreated(parts, left) ? undo(parts, left) : endWithDefault(parts, left, STEP.failed);
    case STEP.filling:
      return undo(parts, left);
    case STEP.begun:
      return end(state, left, STEP.published);
    case STEP.adding:
      return changeMemory(parts, left, completeDirectly);
    case STEP.emptying:
      return changeMemory(parts, left, removeDirectly);
    case STEP.removing:
      return remove(parts, left, STEP.published, STEP.halfRemoved);
    default:
      return undefined;
  }
}

/** Of a window that no view has: what can't be removed stays, and the device counts as tried. */
function undo(parts: WindowRecoveryParts, left: Held): Failure | undefined {
  return remove(parts, left, STEP.failed, STEP.failed);
}

/** The answer of the firmware to the dead thread's call, if it came. */
function noteCreated({ firmware, listPageOf, state }: WindowRecoveryParts, left: Held): boolean {
  const created = firmware.createdBy(listPageOf(left.thread));
  if (created === undefined) return false;
  state.notePlace(created);
  state.goOn(left, STEP.filling);
  return true;
}

/** `kept`: the step at rest when the window can't be removed; `half`: when the default window can't be brought back. */
function remove(parts: WindowRecoveryParts, left: Held, kept: number, half: number): Failure | undefined {
  const { crew, firmware, isThere, state } = parts;
  const { liobn, base } = state.place;
  const failure = firmware.remove(liobn);
  if (failure === "platform-busy") return failure;
  const isKept = failure !== undefined && isThere(liobn, base);
  if (typeof isKept === "string") return isKept;
  if (isKept) return end(state, left, kept);
  const { structure } = state;
  if (structure !== undefined) crew.removeStructure(structure);
  return endWithDefault(parts, left, half);
}

/** There is no dynamic window any more: the default one comes back, if it was removed. `half`: the step at rest when that is refused. */
function endWithDefault(parts: WindowRecoveryParts, left: Held, half: number): Failure | undefined {
  const { state } = parts;
  const failure = state.replacesDefault ? bringDefaultBack(parts) : undefined;
  if (failure === "platform-busy") return failure;
  return end(state, left, failure === undefined ? STEP.untried : half);
}

/** What the hypervisor refuses is left as it is: another thread that repeats the change is told. */
function changeMemory(
  { state, withOps }: WindowRecoveryParts,
  left: Held,
  change: typeof completeDirectly,
): Failure | undefined {
  const { first, count } = state.range;
  const window = dmaWindowOf(state.place);
  const pageBytes = 2 ** window.pageShift;
  const range = { address: first * pageBytes, bytes: count * pageBytes };
  const failure = withOps(state.place.liobn, window, (ops) => change(ops, window, range));
  return failure === "platform-busy" ? failure : end(state, left, STEP.published);
}

function end(state: WindowState, left: Held, step: number): undefined {
  state.end(left, step);
}
