/**
 * Facts → groups: a group is what becomes one finding. Facts of one kind, one requester and one class of reason belong together, however many
 * there are; a group keeps the first of them, and counts the others, so that memory does not grow with a burst.
 */
import type { ConflictFact, Fact, LineRef } from "../log/facts.ts";
import type { Kind } from "./contract.ts";

/** Facts kept whole of one group: rules look at addresses and times of a burst. */
const MOST_FACTS = 64;
const MOST_LINES = 32;
/** Different addresses kept of one group. */
const MOST_ADDRESSES = 65;
/** More groups than this are a broken input; the facts of further ones are counted as not explained. */
const MOST_GROUPS = 4096;
const MOST_UNEXPLAINED_LINES = 8;

/** Facts that become findings. */
export type Reported = Exclude<Fact, { kind: "loss" | "event" | "mapping" | "host" }>;

export interface Group {
  readonly kind: Kind;
  readonly first: Reported;
  /** The first facts of the group, at most 64. */
  readonly facts: Reported[];
  /** All facts of the group. */
  count: number;
  firstTime: number | undefined;
  lastTime: number | undefined;
  /** Different addresses, in the order in which they were seen, at most 65. */
  readonly addresses: bigint[];
  readonly lines: LineRef[];
}

export class Groups {
  readonly #groups = new Map<string, Group>();
  /** Facts of groups for which no room was, and the lines of the first of them. */
  readonly unexplained: { count: number; readonly proof: LineRef[] } = { count: 0, proof: [] };

  /** @param part - what tells findings of one requester apart, where a trace shows that they are about different mappings */
  add(fact: Reported, part?: string): void {
    const kind = kindOf(fact);
    const key = `${kind} ${part === undefined ? identityOf(fact) : partOf(fact, part)}`;
    let group = this.#groups.get(key);
    if (group === undefined) {
      if (this.#groups.size === MOST_GROUPS) {
        this.#leaveOut(1, fact.lines);
        return;
      }
      group = {
        kind,
        first: fact,
        facts: [],
        count: 0,
        firstTime: fact.time,
        lastTime: fact.time,
        addresses: [],
        lines: [],
      };
      this.#groups.set(key, group);
    }
    include(group, fact);
  }

  /** Adds the groups of another: their facts come after those that are here. */
  absorb(later: Groups): void {
    for (const [key, added] of later.#groups) {
      const group = this.#groups.get(key);
      if (group === undefined) this.#groups.set(key, added);
      else append(group, added);
    }
    this.#leaveOut(later.unexplained.count, later.unexplained.proof);
  }

  #leaveOut(count: number, lines: readonly LineRef[]): void {
    const { proof } = this.unexplained;
    this.unexplained.count += count;
    proof.push(...lines.slice(0, MOST_UNEXPLAINED_LINES - proof.length));
  }

  get all(): readonly Group[] {
    return [...this.#groups.values()];
  }
}

function include(group: Group, fact: Reported): void {
  group.count++;
  if (group.facts.length < MOST_FACTS) group.facts.push(fact);
  if (fact.time !== undefined) group.lastTime = fact.time;
  for (const line of fact.lines) if (group.lines.length < MOST_LINES) group.lines.push(line);
  if ("iova" in fact && fact.iova !== undefined) addAddress(group, fact.iova);
}

function append(group: Group, later: Group): void {
  group.count += later.count;
  group.lastTime = later.lastTime ?? group.lastTime;
  group.facts.push(...later.facts.slice(0, MOST_FACTS - group.facts.length));
  group.lines.push(...later.lines.slice(0, MOST_LINES - group.lines.length));
  for (const address of later.addresses) addAddress(group, address);
}

function addAddress({ addresses }: Group, address: bigint): void {
  if (addresses.length < MOST_ADDRESSES && !addresses.includes(address)) addresses.push(address);
}

/** The kind of finding that a fact leads to. */
export function kindOf(fact: Reported): Kind {
  switch (fact.kind) {
    case "fault":
      if (fact.cause === "no-table") return "no-table";
      return fact.cause === "table-error" || fact.cause === "no-table-or-error" ? "table-error" : "dma-fault";
    case "conflict":
      return "conflicting-entry";
    case "misuse":
      return "dma-api-misuse";
    default:
      return fact.kind;
  }
}

/** The requester of the access, as far as the lines name it. */
function requesterOf({ device, iommu, streamId, client }: Reported): string {
  return device ?? `${iommu ?? ""} ${streamId ?? ""}${client === undefined ? "" : ` ${client}`}`;
}

function partOf(fact: Reported, part: string): string {
  return `${requesterOf(fact)} ${"access" in fact ? fact.access : ""} ${part}`;
}

/** Equal for facts of one finding: the requester, and the class of reason. */
function identityOf(fact: Reported): string {
  const requester = requesterOf(fact);
  switch (fact.kind) {
    case "fault":
      return `${requester} ${fact.cause} ${fact.access ?? ""}`;
    case "misuse":
    case "map-refused":
    case "assignment-refused":
      return `${requester} ${fact.because ?? ""}`;
    case "conflict":
      return `${requester} ${conflictOf(fact)}`;
    default:
      return requester;
  }
}

/** The class of a conflict: the same page again, a page that maps itself, or two owners. A burst over many pages of one class is one finding. */
export function conflictOf({ iova, oldEntry, newEntry }: ConflictFact): "identity" | "same-page" | "two-owners" | "" {
  if (oldEntry === undefined) return "";
  // Bit 63 forbids execution; it is no part of the page number.
  if ((oldEntry & ~(1n << 63n)) >> 12n === iova >> 12n) return "identity";
  return oldEntry === newEntry ? "same-page" : "two-owners";
}
