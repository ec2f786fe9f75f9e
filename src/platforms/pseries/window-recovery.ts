/**
 * Recovers a dead thread's change of the dynamic window. Undoes a creation, so that the window can be created again; completes a removal; maps
 * memory that the thread was adding, and empties entries of memory that it was removing. Removes a window that the thread has created if no
 * other thread has attached to it, and a window if no other thread has a view of it.
 *
 * The recovery runs under the crew's recovery lock, and stores steps in the dead thread's name (window-state.ts). It can be repeated from any
 * point. If the window was removed before, the firmware refuses to remove it and the hypervisor does not have the liobn. The default window is
 * restored only if it is missing, and entries are mapped only if they are empty.
 */
import type { Crew } from "../../crew/crew.ts";
import type { Failure } from "../../units/failure.ts";
import { completeDirectly, removeDirectly } from "./direct-memory.ts";
import { bringDefaultBack, type DynamicWindowParts, dmaWindowOf } from "./dynamic-windows.ts";
import { type Held, STEP, type WindowState } from "./window-state.ts";

export interface WindowRecoveryParts
  extends Pick<DynamicWindowParts, "firmware" | "isThere" | "properties" | "state" | "withOps"> {
  readonly crew: Pick<Crew, "isIn" | "mayHold" | "removeStructure" | "threads">;
  /** Physical address of a thread's list page. */
  readonly listPageOf: (thread: number) => number;
}

/** "platform-busy": the firmware or the hypervisor was busy; repeat the recovery later. */
export function recoverWindow(parts: WindowRecoveryParts, thread: number): Failure | undefined {
  const failure = recoverChange(parts, thread);
  // Last: a repetition must find that the thread had a view.
  if (failure === undefined) parts.state.removeViewer(thread);
  return failure;
}

function recoverChange(parts: WindowRecoveryParts, thread: number): Failure | undefined {
  const { state } = parts;
  const left = state.leftBy(thread) ?? state.takeUnseen(thread) ?? takeAbandoned(parts, thread);
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
    case STEP.abandoned:
      return removeAbandoned(parts, left);
    case STEP.removing:
      return remove(parts, left, STEP.published, STEP.halfRemoved);
    default:
      return undefined;
  }
}

/** Takes a window that this dead thread had a view of, and no other thread has: no thread could remove it. */
function takeAbandoned(parts: WindowRecoveryParts, thread: number): ReturnType<WindowState["leftBy"]> {
  const { crew, state } = parts;
  const generation = state.published;
  if (generation === undefined) return undefined;
  const { structure } = state;
  const hadView = structure === undefined ? state.isViewer(thread) : crew.mayHold(thread, structure);
  if (!hadView || isViewed(parts, thread)) return undefined;
  const held = { thread, generation, step: STEP.abandoned };
  return state.abandon(held) ? held : undefined;
}

/** Looks again: a view that has attached before the step was stored keeps the window, and one that attaches later sees the step. */
function removeAbandoned(parts: WindowRecoveryParts, left: Held): Failure | undefined {
  const { state } = parts;
  if (isViewed(parts, left.thread)) return end(state, left, STEP.published);
  state.goOn(left, STEP.removing);
  return remove(parts, left, STEP.published, STEP.halfRemoved);
}

/** True if a thread besides this dead one has a view of the window. */
function isViewed({ crew, state }: WindowRecoveryParts, dead: number): boolean {
  const { structure } = state;
  return structure === undefined ? state.hasOtherViewer(dead) : hasLivingView(crew, structure);
}

function hasLivingView(crew: WindowRecoveryParts["crew"], structure: number): boolean {
  return Array.from({ length: crew.threads }, (_, thread) => crew.isIn(thread, structure)).includes(true);
}

/** Undoes a creation. If the firmware refuses to remove the window, no other creation is tried for the device. */
function undo(parts: WindowRecoveryParts, left: Held): Failure | undefined {
  return remove(parts, left, STEP.failed, STEP.failed);
}

/** Notes the window that the firmware has created for the dead thread. False: it has created none. */
function noteCreated({ firmware, listPageOf, state }: WindowRecoveryParts, left: Held): boolean {
  const created = firmware.createdBy(listPageOf(left.thread));
  if (created === undefined) return false;
  state.notePlace(created);
  state.goOn(left, STEP.filling);
  return true;
}

/** `kept`: the final step if the window can't be removed. `half`: the final step if the default window can't be restored. */
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

/** Restores the default window, if it was removed. `half`: the final step if the firmware refuses. */
function endWithDefault(parts: WindowRecoveryParts, left: Held, half: number): Failure | undefined {
  const { state } = parts;
  const failure = state.replacesDefault ? bringDefaultBack(parts) : undefined;
  if (failure === "platform-busy") return failure;
  return end(state, left, failure === undefined ? STEP.untried : half);
}

/** If the hypervisor refuses, the entries stay unchanged; a thread that repeats the change gets the failure. */
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
