/** The thread of a process that opens a container, maps and unmaps at random until it is killed. Posts "begun" once it has mapped something. */
import { parentPort, workerData } from "node:worker_threads";
import { Crew, type CrewSeat } from "../crew/crew.ts";
import { SoftwareMachine } from "../machines/software/machine.ts";
import { PinnedMemory, type PinnedMemoryHandle } from "../pinned/pinned-memory.ts";
import { LinearPlatform, type LinearPlatformHandle } from "../platforms/linear/platform.ts";
import { type Errno, isErrno } from "../units/errno.ts";
import type { Access } from "../units/numbers.ts";
import type { ContainerHandle } from "./container-end.ts";
import { IoAddressSpace } from "./iommufd.ts";
import { domainOf, PAGE, ProcessMemory, userAddress, WINDOW } from "./set-up.model.ts";
import { Type1Container } from "./type1.ts";

export interface KilledWork {
  readonly seat: CrewSeat;
  readonly machine: SoftwareMachine["handle"];
  readonly platform: LinearPlatformHandle;
  readonly pinned: PinnedMemoryHandle;
  readonly owner: number;
  readonly container: ContainerHandle;
  readonly kind: "type1" | "iommufd";
  readonly seed: number;
}

const work = workerData as KilledWork;
const crew = Crew.attach(work.seat);
const machine = SoftwareMachine.attach(work.machine, crew);
const platform = LinearPlatform.attach(machine, work.platform);
const pinned = PinnedMemory.attach(work.pinned, crew);
pinned.join(work.owner, new ProcessMemory());
const domain = domainOf(machine, platform);
let x = work.seed | 1;
function random(below: number): number {
  x ^= x << 13;
  x ^= x >>> 17;
  x ^= x << 5;
  return (x >>> 0) % below;
}

const options = { pinned, owner: work.owner, handle: work.container };
const calls = work.kind === "type1" ? type1() : iommufd();
for (let i = 0; ; i++) {
  calls(random(400), random(500), 1 + random(40), (1 + random(3)) as Access);
  if (i === 3) parentPort?.postMessage("begun");
}

function opened<Opened>(answer: Opened | Errno): Opened {
  if (isErrno(answer)) throw new Error(answer);
  return answer;
}

type Calls = (entry: number, page: number, pages: number, access: Access) => void;

function type1(): Calls {
  const container = opened(Type1Container.open({ ...options, version: 1 }));
  container.attachGroup({ number: 1, domain });
  return (entry, page, pages, access) => {
    const range = { iova: WINDOW.base + BigInt(entry) * PAGE, bytes: BigInt(pages) * PAGE };
    if (random(3) === 0) container.unmap(range);
    else container.map({ ...range, userAddress: userAddress(page), flags: access });
  };
}

function iommufd(): Calls {
  const space = opened(IoAddressSpace.create(options));
  space.attach(domain);
  return (entry, page, pages, access) => {
    const range = { iova: WINDOW.base + BigInt(entry) * PAGE, bytes: BigInt(pages) * PAGE };
    if (random(5) === 0) space.unmapAll();
    else if (random(3) === 0) space.copy({ source: space, sourceIova: range.iova, bytes: PAGE, access });
    else space.map({ userAddress: userAddress(page), bytes: range.bytes, access });
  };
}
