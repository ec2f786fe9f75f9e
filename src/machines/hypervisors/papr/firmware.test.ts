/** The firmware's answers in memory: the services of EEH, and unknown calls. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { H_FUNCTION, H_PARAMETER, H_RTAS, H_SUCCESS } from "../../../platforms/pseries/papr.ts";
import { call, hypervisorOf, RTAS_BUSY } from "./firmware.model.ts";
import { configAddressOf, EEH_TOKENS, TOKENS, UNIT_ID } from "./firmware.ts";
import { PaprHypervisor } from "./hypervisor.ts";

const RTAS_PARAMETER = -3;
const ENDPOINT = [configAddressOf(0), Number(UNIT_ID >> 32n), Number(UNIT_ID & 0xffff_ffffn)];

const setOption = (hypervisor: PaprHypervisor, option: number) =>
  call(hypervisor, [EEH_TOKENS.setOption, ...ENDPOINT, option], 1);
const setReset = (hypervisor: PaprHypervisor, step: number) =>
  call(hypervisor, [EEH_TOKENS.setReset, ...ENDPOINT, step], 1);
const stateOf = (hypervisor: PaprHypervisor) => call(hypervisor, [EEH_TOKENS.readState, ...ENDPOINT], 4).slice(2, 4);
const stray = (hypervisor: PaprHypervisor) => hypervisor.device(0).dmaRead(0n, new Uint8Array(1));

test("a fault freezes once the guest has switched EEH on, and no more once it has switched it off", () => {
  const hypervisor = hypervisorOf();
  stray(hypervisor);
  assert.deepEqual(stateOf(hypervisor), [0, 1]);
  assert.deepEqual(setOption(hypervisor, 1), [H_SUCCESS, 0]);
  stray(hypervisor);
  assert.deepEqual(stateOf(hypervisor), [2, 1]);
  assert.deepEqual(setOption(hypervisor, 0), [H_SUCCESS, 0]);
  assert.deepEqual(stateOf(hypervisor), [2, 1], "what is frozen stays so");
  assert.deepEqual(
    [setReset(hypervisor, 1), setReset(hypervisor, 0)],
    [
      [H_SUCCESS, 0],
      [H_SUCCESS, 0],
    ],
  );
  stray(hypervisor);
  assert.deepEqual(stateOf(hypervisor), [0, 1]);
});

test("a reset has two steps, by either wire; the second alone ends no freeze; a PE that works can be reset too", () => {
  for (const activate of [1, 3]) {
    const hypervisor = hypervisorOf();
    setOption(hypervisor, 1);
    stray(hypervisor);
    assert.deepEqual(setReset(hypervisor, 0), [H_SUCCESS, 0]);
    assert.deepEqual(stateOf(hypervisor), [2, 1]);
    for (let round = 0; round < 2; round++) {
      assert.deepEqual(setReset(hypervisor, activate), [H_SUCCESS, 0]);
      assert.deepEqual(stateOf(hypervisor), [1, 1]);
      assert.ok(hypervisor.machine.translation.isFrozen(0));
      assert.deepEqual(setReset(hypervisor, 0), [H_SUCCESS, 0]);
      assert.deepEqual(stateOf(hypervisor), [0, 1]);
    }
    assert.equal(hypervisor.faults().length, 1);
  }
});

test("while a DMA of before has not ended, a freeze is not told and a reset does not begin: the firmware is busy", () => {
  const hypervisor = hypervisorOf();
  const { translation } = hypervisor.machine;
  const { awaitDma, freeze, invalidateWindow } = translation;
  setOption(hypervisor, 1);
  stray(hypervisor);
  // What a DMA in flight for longer than the machine waits comes down to.
  translation.awaitDma = () => 1;
  assert.equal(call(hypervisor, [EEH_TOKENS.readState, ...ENDPOINT], 4)[1], RTAS_BUSY);
  translation.awaitDma = awaitDma;
  for (const name of ["freeze", "invalidateWindow"] as const) {
    translation[name] = () => 1;
    assert.deepEqual(setReset(hypervisor, 1), [H_SUCCESS, RTAS_BUSY]);
    Object.assign(translation, { freeze, invalidateWindow });
    assert.deepEqual(stateOf(hypervisor), [2, 1], name);
  }
  assert.deepEqual(setReset(hypervisor, 1), [H_SUCCESS, 0]);
});

test("a query tells each page size by its bit: 4K, 64K, 16M, 32M, 64M, 128M, 256M, 16G, 2M", () => {
  const all = [12, 16, 24, 25, 26, 27, 28, 34, 21];
  const bitsOf = (pageShifts?: readonly number[]): number => {
    const dynamicWindows = { largestWindow: 64, ...(pageShifts === undefined ? {} : { pageShifts }) };
    const answer = call(hypervisorOf({ dynamicWindows }), [TOKENS.query, ...ENDPOINT], 5);
    assert.deepEqual([answer[1], answer[2], answer[3]], [0, 1, 64], "status, windows left, the largest window");
    return answer[4] as number;
  };
  all.forEach((shift, bit) => {
    assert.equal(bitsOf([shift]), 1 << bit);
  });
  assert.equal(bitsOf(), 0x1ff, "a hypervisor has all of them unless it says otherwise");
});

test("of two threads that remove one window, exactly one frees its table, whose memory may be reused at once", () => {
  const hypervisor = hypervisorOf({ dynamicWindows: {} });
  const other = PaprHypervisor.attach(hypervisor.handle);
  const [, , liobn = 0] = call(hypervisor, [TOKENS.create, ...ENDPOINT, 12, 20], 4);
  const { translation } = hypervisor.machine;
  const closeWindow = translation.closeWindow.bind(translation);
  let meanwhile: readonly number[] = [];
  translation.closeWindow = (partition, window) => {
    translation.closeWindow = closeWindow;
    const answer = closeWindow(partition, window);
    meanwhile = call(other, [TOKENS.remove, liobn], 1);
    return answer;
  };
  assert.deepEqual(call(hypervisor, [TOKENS.remove, liobn], 1), [H_SUCCESS, RTAS_PARAMETER]);
  assert.deepEqual(meanwhile, [H_SUCCESS, 0]);
  assert.deepEqual(call(hypervisor, [TOKENS.create, ...ENDPOINT, 12, 20], 4).slice(0, 3), [H_SUCCESS, 0, liobn]);
});

test("unknown functions, PEs and argument counts are refused, and change nothing", () => {
  const hypervisor = hypervisorOf({ dynamicWindows: { largestWindow: 64 } });
  const [address, ...unit] = ENDPOINT as [number, ...number[]];
  for (const cells of [
    [EEH_TOKENS.setOption, ...ENDPOINT, 2],
    [EEH_TOKENS.setOption, ...ENDPOINT],
    [EEH_TOKENS.setReset, ...ENDPOINT, 2],
    [EEH_TOKENS.setReset, address + 1, ...unit, 1],
    [EEH_TOKENS.setReset, configAddressOf(1), ...unit, 1],
    [EEH_TOKENS.readState, address, unit[0] as number, 0],
    [EEH_TOKENS.readState],
    [TOKENS.query, address + 1, ...unit],
    [TOKENS.query],
    [TOKENS.create, ...ENDPOINT, 13, 20],
    [TOKENS.create, ...ENDPOINT, 16, 12],
    [TOKENS.create, ...ENDPOINT, 12, 19],
    [TOKENS.create, ...ENDPOINT, 12, 61],
    [TOKENS.remove, 5],
    [0x7777, ...ENDPOINT],
  ]) {
    assert.deepEqual(call(hypervisor, cells, 1), [H_SUCCESS, RTAS_PARAMETER], cells.join(" "));
    assert.deepEqual(stateOf(hypervisor), [0, 1]);
    assert.ok(hypervisor.machine.translation.isOpen(0, 0));
  }
});

test("a buffer outside of memory, misaligned, without a result or too long is refused by the hypercall", () => {
  const hypervisor = hypervisorOf();
  const at = (address: bigint) => hypervisor.hypercall(H_RTAS, BigUint64Array.of(address));
  for (const address of [2n ** 20n, 2n ** 20n - 4n, 0x3002n, 2n ** 60n]) assert.equal(at(address), H_PARAMETER);
  assert.equal(call(hypervisor, [EEH_TOKENS.readState, ...ENDPOINT], 0)[0], H_PARAMETER);
  assert.equal(call(hypervisor, [EEH_TOKENS.readState, ...ENDPOINT], 27)[0], H_PARAMETER);
});

test("services that the hypervisor lacks are not served: windows without windows, EEH without EEH, nothing without both", () => {
  const windowless = hypervisorOf();
  assert.deepEqual(call(windowless, [TOKENS.remove, 0x8000_0000], 1), [H_SUCCESS, RTAS_PARAMETER]);
  assert.ok(windowless.machine.translation.isOpen(0, 0), "the default window is still there");
  const without = hypervisorOf({ eeh: false, dynamicWindows: { largestWindow: 64 } });
  assert.equal(without.properties(0).eeh, undefined);
  assert.deepEqual(setOption(without, 1), [H_SUCCESS, RTAS_PARAMETER]);
  assert.equal(setOption(hypervisorOf({ eeh: false }), 1)[0], H_FUNCTION);
});
