/** The recovery of a killed thread in tests, on machines where other threads keep the lock of the pinned memory busy. */
import type { Crew } from "../crew/crew.ts";
import { IovaError } from "../units/errors.ts";

const ATTEMPTS = 20;

/**
 * Reclaims everything of a dead thread. True: its number is free. Repeats the call after "EAGAIN": on a busy machine a living holder of the lock may
 * wait for a processor for longer than other threads wait for the lock.
 */
export function reclaimBusy(crew: Crew, thread: number): boolean {
  for (let attempt = 1; ; attempt++) {
    try {
      return crew.reclaim(thread, "everything").isFree;
    } catch (error) {
      const isBusy = error instanceof IovaError && error.code === "in-use" && error.message.endsWith("EAGAIN");
      if (!isBusy || attempt === ATTEMPTS) throw error;
    }
  }
}
