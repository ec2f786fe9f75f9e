import assert from "node:assert/strict";
import { test } from "node:test";
import { DmaDevice } from "../device.ts";
import { DmaPool } from "../dma-pool.ts";
import { got, setUp } from "../set-up.model.ts";
import { debugged } from "./debugged-device.ts";
import { MAX_PLACES, Places, placeOf } from "./places.ts";

function driver<Result>(call: () => Result): Result {
  return call();
}

function method(places: Places): string {
  return inside(places);
}

/** Stands for the debug mode's own functions. */
function inside(places: Places): string {
  return places.capture(method);
}

test("a place begins with the caller of the method, and has so many frames", () => {
  for (const frames of [1, 2, 32]) {
    const { owner, stack } = placeOf(driver(() => method(new Places("queue 1", frames))));
    assert.equal(owner, "queue 1");
    assert.ok(stack.length <= frames && stack.length >= Math.min(frames, 3));
    assert.match(stack[0] as string, /places\.test/);
    assert.doesNotMatch(stack[0] as string, /^at |inside|method/);
    if (frames > 1) assert.match(stack[1] as string, /^driver /);
  }
  assert.deepEqual(placeOf(method(new Places("queue 1", 0))), { owner: "queue 1", stack: [] });
});

test("frames of the runtime are left out, wherever they stand", async () => {
  const places = new Places("", 32);
  const [inCallback] = [1].map(() => placeOf(method(places)).stack);
  const later = await new Promise<readonly string[]>((resolve) => {
    setImmediate(() => resolve(placeOf(driver(() => method(places))).stack));
  });
  for (const stack of [inCallback as readonly string[], later]) {
    assert.ok(stack.length > 1);
    for (const frame of stack) assert.match(frame, /places\.test/);
  }
  const others = [
    "deno (ext:core/mod.js:1:2)",
    "node:events:3:4",
    "async Promise.all (index 0)",
    "f (node_modules/a.js:1:2)",
  ];
  const text = ["queue 1", ...others.map((frame) => `    at ${frame}`)].join("\n");
  assert.deepEqual(placeOf(text).stack, ["f (node_modules/a.js:1:2)"]);
  assert.deepEqual(placeOf("queue 1\n    at node:events:3:4").stack, ["node:events:3:4"], "better than none");
});

test("memory that a DMA pool allocates has the pool's user as its place, with as many frames as other places", () => {
  for (const stackFrames of [1, 3]) {
    const { machine, memory, table, withCoherent } = setUp();
    const device = debugged(new DmaDevice(table, {}, withCoherent), { stackFrames });
    const pool = new DmaPool(device, memory, { blockBytes: 64 });
    const block = driver(() => got(pool.allocate()));
    device.deviceRemoved();
    const [report] = device.reports;
    assert.ok(report?.kind === "removed-with-live-mappings");
    const { stack } = report.example.mapped;
    assert.equal(stack.length, stackFrames);
    for (const frame of stack) assert.match(frame, /places\.test/);
    pool.free(block);
    pool.destroy();
    machine.close();
  }
});

test("the program's own limit of stack frames stays unchanged, and does not matter", () => {
  const limit = Error.stackTraceLimit;
  try {
    Error.stackTraceLimit = 1;
    assert.equal(placeOf(driver(() => method(new Places("", 3)))).stack.length, 3);
    assert.equal(Error.stackTraceLimit, 1);
  } finally {
    Error.stackTraceLimit = limit;
  }
});

test("where the engine can't leave frames out, those of the debug mode are left out by name", () => {
  const { captureStackTrace, prepareStackTrace } = Error;
  try {
    // As Firefox writes a stack.
    Error.prepareStackTrace = (_, sites) =>
      sites.map((site) => `${site.getFunctionName() ?? ""}@file.js:1:2`).join("\n");
    Reflect.deleteProperty(Error, "captureStackTrace");
    const { stack } = placeOf(driver(() => method(new Places("", 4))));
    assert.deepEqual(stack.slice(0, 2), ["@file.js:1:2", "driver@file.js:1:2"]);
  } finally {
    Error.captureStackTrace = captureStackTrace;
    Error.prepareStackTrace = prepareStackTrace;
  }
});

test("long frames are cut, and those beyond the number", () => {
  const { prepareStackTrace } = Error;
  try {
    Error.prepareStackTrace = () => `Error${`\n    at f (${"x".repeat(900)})`.repeat(20)}`;
    const text = driver(() => method(new Places("queue 1", 4)));
    assert.ok(text.length < 5 * 241);
    const { stack } = placeOf(text);
    assert.equal(stack.length, 4);
    for (const frame of stack) assert.match(frame, /^f \(x+…$/);
  } finally {
    Error.prepareStackTrace = prepareStackTrace;
  }
});

test("a program that makes something else of stacks gets places without frames", () => {
  const { prepareStackTrace } = Error;
  try {
    Error.prepareStackTrace = (_, sites) => sites;
    const { owner } = placeOf(driver(() => method(new Places("queue 1", 4))));
    assert.equal(owner, "queue 1");
  } finally {
    Error.prepareStackTrace = prepareStackTrace;
  }
});

test("equal places are one, and their number is bounded", () => {
  const places = new Places("", 0);
  assert.equal(places.idOf("a"), places.idOf("a"));
  for (let i = 0; i < 2 * MAX_PLACES; i++) places.idOf(`owner ${i}`);
  assert.equal(places.count, MAX_PLACES);
  assert.equal(places.idOf("one more"), 0);
  assert.match(places.at(0).owner, /more than 1024 places/);
  assert.equal(places.at(places.idOf("owner 5")).owner, "owner 5");
});

test("owners and frames are cut to a line of 240 characters", () => {
  const places = new Places(() => `two\nlines ${"x".repeat(500)}`, 0);
  const { owner, stack } = placeOf(method(places));
  assert.equal(owner.length, 240);
  assert.match(owner, /^two lines x+…$/);
  assert.deepEqual(stack, []);
});
