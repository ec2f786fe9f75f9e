/**
 * The other end of a channel: maps in whatever page of the table it can, reads it as long as it may, and looks for the secret that pages
 * hold once their export has ended.
 */
import { workerData } from "node:worker_threads";
import { LdcHypervisor, type LdcHypervisorHandle } from "../../machines/hypervisors/ldc/hypervisor.ts";
import { LdcError } from "./errors.ts";
import { LdcLink, type MappedInPage } from "./link.ts";

export interface ImporterData {
  readonly handle: LdcHypervisorHandle;
  /** Words: stop, reads that were granted, secrets seen, this thread plus one, pages mapped in. */
  readonly report: SharedArrayBuffer;
  readonly entries: number;
  readonly secret: number;
}

const data = workerData as ImporterData;
const channel = LdcHypervisor.attach(data.handle);
const domain = channel.ends[1];
const link = new LdcLink(domain);
const report = new Int32Array(data.report);
const seen = new Uint8Array(512);

function mapIn(entry: number): MappedInPage | undefined {
  try {
    return link.mapIn(BigInt(entry) << 13n);
  } catch (error) {
    if (error instanceof LdcError) return undefined;
    throw error;
  }
}

Atomics.store(report, 3, channel.thread + 1);
for (let round = 0; Atomics.load(report, 0) === 0; round++) {
  const page = mapIn(round % data.entries);
  if (page === undefined) continue;
  Atomics.add(report, 4, 1);
  for (let i = 0; i < 1 + (round % 50); i++) {
    if (!domain.readMappedIn(page.address, seen)) break;
    Atomics.add(report, 1, 1);
    if (seen[0] === data.secret || seen[511] === data.secret) Atomics.add(report, 2, 1);
  }
  link.unmapIn(page);
}
channel.close();
