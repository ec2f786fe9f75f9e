/**
 * A vCPU thread that calls at random until it is killed; its user space registers and unregisters memory, detaches and attaches a hardware
 * table, and makes and removes another guest table. Posts "begun" once it has made some calls.
 */
import { parentPort, workerData } from "node:worker_threads";
import { Crew, type CrewSeat } from "../../crew/crew.ts";
import { LIOBN, type SceneHandle, tceOf, USER_PAGE, Vcpu, viewOf } from "./set-up.model.ts";

export interface KilledWork {
  readonly seat: CrewSeat;
  readonly scene: SceneHandle;
  readonly seed: number;
}

const TOO_HARD = 9999;
const work = workerData as KilledWork;
const scene = viewOf(work.scene, Crew.attach(work.seat));
const { tables, hardware, pinned, owner } = scene;
const vcpu = new Vcpu(scene);
const disk = hardware[1] as (typeof hardware)[0];
let x = work.seed | 1;
function random(below: number): number {
  x ^= x << 13;
  x ^= x >>> 17;
  x ^= x << 5;
  return (x >>> 0) % below;
}

function call(): number {
  const tce = tceOf(random(96), random(4));
  const entry = random(100);
  const what = random(8);
  if (what < 5) return vcpu.put(entry, tce);
  if (what < 7) return vcpu.putList(entry, [tce, tceOf(random(96)), tceOf(random(96), 1)]);
  return vcpu.stuff(entry, 0, random(28));
}

/** User space after H_TOO_HARD: registers its views of hardware tables, and the guest's memory. */
function help(): void {
  for (const table of hardware) tables.attachHardware(LIOBN, table);
  for (let region = 0; region < 6; region++) pinned.register(owner, USER_PAGE + 16 * region, 16);
}

function otherWork(): void {
  const what = random(4);
  if (what === 0) tables.detachHardware(LIOBN, disk);
  else if (what === 1) tables.createTable(LIOBN + 1, { pageShift: 16, offset: 1, size: 600 });
  else if (what === 2) tables.removeTable(LIOBN + 1);
  else pinned.unregister(owner, USER_PAGE + 16 * random(6), 16);
}

for (let i = 0; ; i++) {
  if (call() === TOO_HARD) help();
  if (random(10) === 0) otherWork();
  if (i === 10) parentPort?.postMessage("begun");
}
