/** The firmware's removal of a window that calls use: it waits a second for them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { H_PARAMETER, H_PUT_TCE, H_SUCCESS } from "../../../platforms/pseries/papr.ts";
import { call, hypervisorOf, RTAS_BUSY } from "./firmware.model.ts";
import { TOKENS } from "./firmware.ts";
import { PaprHypervisor } from "./hypervisor.ts";

test("a window is not removed while a thread is in a call that uses it, nor while one that died in it is not forgotten", () => {
  const DEFAULT = [TOKENS.remove, 0x8000_0000];
  const put = BigUint64Array.of(0x8000_0000n, 0x8000_0000n, 0x3003n, 0n);
  for (const dies of [false, true]) {
    const hypervisor = hypervisorOf({ dynamicWindows: { largestWindow: 64 } });
    const other = PaprHypervisor.attach(hypervisor.handle);
    assert.equal(other.hypercall(H_PUT_TCE, put.slice()), H_SUCCESS);
    const answers: unknown[] = [];
    // A put over a live entry invalidates, in the middle of the call.
    other.machine.translation.invalidate = () => {
      answers.push(call(hypervisor, DEFAULT, 1)[1]);
      if (dies) throw new Error("killed");
      return 0;
    };
    if (dies) {
      assert.throws(() => other.hypercall(H_PUT_TCE, put.slice()), /killed/);
      assert.equal(call(hypervisor, DEFAULT, 1)[1], RTAS_BUSY);
      hypervisor.crew.reclaim(other.thread, "in-flight");
    } else {
      assert.equal(other.hypercall(H_PUT_TCE, put.slice()), H_SUCCESS);
    }
    assert.deepEqual(answers, [RTAS_BUSY]);
    assert.equal(other.hypercall(H_PUT_TCE, put.slice()), H_PARAMETER, "it is closed for calls");
    assert.equal(call(hypervisor, DEFAULT, 1)[1], 0);
  }
});
