/**
 * What an input says beside the things that are to be explained: about the machine, about events of devices, about what was lost.
 * Rules ask it; memory is bounded.
 */
import type { EventFact, HostFact, LossFact, MappingFact } from "../log/facts.ts";

const MOST_EVENTS = 4096;
const MOST_HOST_FACTS = 16_384;
const MOST_LOSSES = 64;

export class Evidence {
  readonly events: EventFact[] = [];
  readonly host: HostFact[] = [];
  readonly losses: LossFact[] = [];
  readonly mappings: MappingFact[] = [];
  readonly #known = new Set<string>();

  add(fact: EventFact | HostFact | LossFact | MappingFact): void {
    switch (fact.kind) {
      case "event":
        // The latest matter: a fault's cause stands shortly before it.
        if (this.events.length === MOST_EVENTS) this.events.shift();
        this.events.push(fact);
        break;
      case "host":
        this.#addHost(fact);
        break;
      case "loss":
        if (this.losses.length < MOST_LOSSES) this.losses.push(fact);
        break;
      case "mapping":
        if (this.mappings.length < MOST_HOST_FACTS) this.mappings.push(fact);
        break;
    }
  }

  /** Lines repeat what they say of a device: its first line is enough. */
  #addHost(fact: HostFact): void {
    const key =
      fact.about === "driver" || fact.about === "name" || fact.about === "userspace" ? keyOf(fact) : undefined;
    if (this.host.length === MOST_HOST_FACTS || (key !== undefined && this.#known.has(key))) return;
    if (key !== undefined) this.#known.add(key);
    this.host.push(fact);
  }

  /** The facts about one subject. */
  about<About extends HostFact["about"]>(about: About): Extract<HostFact, { about: About }>[] {
    return this.host.filter((fact): fact is Extract<HostFact, { about: About }> => fact.about === about);
  }
}

function keyOf(fact: HostFact): string {
  const device = "device" in fact ? fact.device : "";
  const word = fact.about === "driver" ? fact.driver : fact.about === "name" ? fact.name : "";
  return `${fact.about} ${device} ${word}`;
}
