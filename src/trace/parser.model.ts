/**
 * The plain way to read ftrace text: split into lines, match regular expressions. Slow and obvious: the oracle of the
 * parser's tests, and the rival of its measurement. Knows the `tracefs` shape and the fields that the recordings have.
 */
import { KIND_NAMES } from "./events.ts";

/** An event as the model reads it; addresses as bigint, lists as arrays. */
export interface ModelEvent {
  readonly line: number;
  readonly cpu: number;
  readonly seconds: number;
  readonly name: string;
  readonly iova: bigint;
  readonly physical: bigint;
  readonly bytes: number;
  readonly device: string;
  readonly direction: string;
  readonly elements: readonly bigint[];
  readonly segments: readonly bigint[];
  readonly segmentBytes: readonly bigint[];
}

const EVENT = /^.{16}.*?\[(\d+)\] \S+ +(\d+\.\d+): ([a-z_]+): (.*)$/;
const names = new Set([...KIND_NAMES, "dma_map_page", "dma_unmap_page"]);

/** Every event of ours in `text`, in order. */
export function readByRegex(text: string): ModelEvent[] {
  const events: ModelEvent[] = [];
  text.split("\n").forEach((line, index) => {
    const match = EVENT.exec(line);
    if (match === null || !names.has(match[3] as string)) return;
    events.push(eventOf(index + 1, match));
  });
  return events;
}

function eventOf(line: number, match: RegExpExecArray): ModelEvent {
  const fields = match[4] as string;
  const lists = match[3]?.endsWith("_sg") ?? false;
  const segments = lists ? listOf(/dma_addrs=\{([^}]*)\}/.exec(fields)) : [];
  const segmentBytes = lists ? listOf(/sizes=\{([^}]*)\}/.exec(fields)) : [];
  const size = /unmapped_size=(\d+)/.exec(fields) ?? /\bsize=(\d+)/.exec(fields);
  const iova = /iova=(0x[0-9a-f]+)/.exec(fields) ?? /dma_addr=([0-9a-f]+)/.exec(fields);
  const physical = /paddr=(0x[0-9a-f]+)/.exec(fields) ?? /phys_addr=([0-9a-f]+)/.exec(fields);
  return {
    line,
    cpu: Number(match[1]),
    seconds: Number(match[2]),
    name: match[3] as string,
    iova: segments[0] ?? hex(iova?.[1]),
    physical: hex(physical?.[1]),
    bytes:
      segmentBytes.length > 0 ? Number(segmentBytes.reduce((sum, bytes) => sum + bytes, 0n)) : Number(size?.[1] ?? 0),
    device:
      /device=(\S+)/.exec(fields)?.[1] ??
      /^(\S+:\S+) dir=/.exec(fields)?.[1] ??
      /^IOMMU:\S+ (\S+)/.exec(fields)?.[1] ??
      "",
    direction: /dir=([A-Z_]+)/.exec(fields)?.[1] ?? "",
    elements: lists ? listOf(/phys_addrs=\{([^}]*)\}/.exec(fields)) : [],
    segments,
    segmentBytes,
  };
}

function hex(text: string | undefined): bigint {
  return text === undefined ? 0n : BigInt(text.startsWith("0x") ? text : `0x${text}`);
}

function listOf(match: RegExpExecArray | null): bigint[] {
  return match?.[1] ? match[1].split(",").map((number) => BigInt(number)) : [];
}
