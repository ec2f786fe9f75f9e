/**
 * The page was not mapped for the device, neither when the fault was reported nor before. What lies near it tells a likely mistake: a mapping
 * that ends there, one whose address lost its upper bits, memory that has this physical address, another device's mapping.
 */
import type { LineRef } from "../../log/facts.ts";
import type { Statement } from "../contract.ts";
import type { Weight } from "../rules/rule.ts";
import { AnswerBuilder, type TraceAnswer } from "./answer.ts";
import { NO_ROW } from "./lives.ts";
import { type Case, endedAt, isActive, isNextTo, lifeText, linesOf, mappedAt, mappingOf, say } from "./verdict.ts";

/** Live memory above 4 GiB may be at most this much for a match of the lower bits to mean something: 1 of 256 addresses. */
const TELLING_PAGES = 2 ** 20 / 256;

/** A small address is more often a pointer that was never set, or an offset without its base. */
const TELLING_ADDRESS = 0x10_0000n;
const PAGE_BITS = 12;

interface Near {
  readonly verdict: string;
  /** The mapping that the address lies near; absent where the address itself tells. */
  readonly life?: number;
  readonly weight: Weight;
  readonly text: string;
  readonly lines?: readonly LineRef[];
}

export function unmappedAnswer(it: Case, limit: Weight): TraceAnswer {
  const { requester, question } = it;
  const near = [...bounds(it), ...aliases(it), ...physical(it), ...beyondMask(it)];
  const foreign = otherDevice(
    it,
    near.some(({ weight }) => weight === "strong"),
  );
  if (foreign !== undefined) near.push(foreign);
  const strong = near.filter(({ weight }) => weight === "strong");
  // Two explanations that are equally good leave the question open.
  const leads = strong.length === 1 ? strong[0] : undefined;
  const builder = new AnswerBuilder(limit, it.question.lines);
  const absence = absenceOf(it);
  builder.follows(absence);
  const unknown = unknownMask(it);
  if (unknown !== undefined && near.length === 0) builder.follows(unknown);
  for (const one of near) {
    builder.candidate(one.verdict, one === leads ? one.weight : "hint", say(one.text, ...proofOf(it, one)));
  }
  const isCertain = near.length === 0 && requester.isComplete;
  const weight =
    leads !== undefined || strong.length > 1
      ? "hint"
      : isCertain
        ? "certain"
        : requester.isComplete
          ? "strong"
          : absentWeight(it);
  builder.candidate("not-mapped", weight, absence);
  if (!requester.isComplete && question.cause !== "absent" && question.cause !== "permission") {
    builder.candidate("permission", "hint", say("A mapping that is older than the recording would not show."));
  }
  const about = leads ?? near[0];
  const life = about?.life;
  return life === undefined || !["past-end", "before-start", "truncated-address"].includes(about?.verdict ?? "")
    ? builder.build("never")
    : builder.build(`${about?.verdict} ${it.analysis.lives.mapRow[life]}`, mappingOf(it, life));
}

function proofOf(it: Case, { life, lines = [] }: Near): LineRef[] {
  return [...(life === undefined ? [] : linesOf(it, life)), ...lines];
}

/** The address is wider than the mask: the DMA API gave the device no such address. What a task maps (VFIO) knows no mask. */
function beyondMask({ question, requester }: Case): Near[] {
  const { mask, iova } = question;
  if (mask === undefined || requester.isTask || iova < 1n << BigInt(mask.bits)) return [];
  // Nearly all ones is an invalid pointer rather than an address that is too wide.
  const isTelling = requester.isComplete && iova < 1n << 52n;
  const text = `The address has more bits than the device's mask, ${mask.bits}: the DMA API gave the device no such address.`;
  return [{ verdict: "beyond-mask", weight: isTelling ? "strong" : "hint", text, lines: mask.lines }];
}

/** Without a line that names the mask, whether the address is beyond it is unknown. That is printed where it may matter. */
function unknownMask({ question, requester, analysis }: Case): Statement | undefined {
  if (question.mask !== undefined || requester.isTask || requester.devices.length === 0) return undefined;
  const top = analysis.topOf(requester.devices);
  const bits = Math.ceil(Math.log2(Math.max(1, top))) + PAGE_BITS;
  if (top === 0 || question.iova < 1n << BigInt(bits)) return undefined;
  return say(
    `The addresses that the recording shows for the device have at most ${bits} bits. No line names its mask, so whether this one is too wide is open.`,
    ...question.lines.slice(0, 1),
  );
}

/** The IOMMU itself may say that there is no entry; an incomplete trace adds little to it. */
function absentWeight({ question }: Case): Weight {
  return question.cause === "absent" ? "strong" : "hint";
}

function absenceOf(it: Case) {
  const { analysis, requester, near } = it;
  const later = near.here.filter((life) => requester.owns(life) && mappedAt(it, life) > it.seconds);
  if (later.length > 0) {
    const life = later[0] as number;
    return say(
      `The address is mapped for the device only after the fault: ${lifeText(it, life)}.`,
      ...linesOf(it, life),
    );
  }
  const since = requester.completeFrom;
  if (requester.isComplete && since !== undefined) {
    return say("The recording holds all mappings of the device, and none of them holds the address.", since);
  }
  if (requester.limit === "hint") {
    return say(`No mapping of the recording explains the fault, but ${requester.because}.`);
  }
  const reason = analysis.isLossy ? "events were lost" : "the recording began when the device was in use already";
  return say(
    `The recording has no mapping of the address; ${reason}, so it may have been mapped nevertheless.`,
    analysis.lineOf(0),
  );
}

/** Mappings that end before the page, or begin after it. */
function bounds(it: Case): Near[] {
  const { near, requester, analysis, page } = it;
  const below = near.below.filter((life) => requester.owns(life) && isActive(it, life));
  const above = near.above.filter((life) => requester.owns(life) && isActive(it, life));
  const over = below.find((life) => isNextTo(it, life)) ?? below[0];
  const under = above.find((life) => analysis.lives.first[life] === page + 1) ?? above[0];
  const isAfter = over !== undefined && analysis.lives.end[over] === page;
  const isBefore = under !== undefined && analysis.lives.first[under] === page + 1;
  // Between two mappings, an exact address tells from where it was reached: from below, it is the page's first.
  const isExact = it.question.granule === 1;
  const isPageStart = (it.question.iova & 0xfffn) === 0n;
  const found: Near[] = [];
  if (over !== undefined) {
    const where = isAfter ? "in the page right" : "a few pages";
    const text = `The address lies ${where} after the end of a mapping of the device that is in use (${lifeText(it, over)}).`;
    const weight = isAfter && (!isBefore || (isExact && isPageStart)) ? "strong" : "hint";
    found.push({ verdict: "past-end", life: over, weight, text });
  }
  if (under !== undefined) {
    const where = isBefore ? "in the page right" : "a few pages";
    const text = `The address lies ${where} before the beginning of a mapping of the device that is in use (${lifeText(it, under)}).`;
    const weight = isBefore && (!isAfter || (isExact && !isPageStart)) ? "strong" : "hint";
    found.push({ verdict: "before-start", life: under, weight, text });
  }
  return found;
}

/** Mappings whose address without its upper bits would hold the page. */
function aliases(it: Case): Near[] {
  const { near, requester, analysis } = it;
  const own = near.aliases.filter(({ life }) => requester.owns(life) && mappedAt(it, life) < it.seconds);
  const live = own.filter(({ life }) => isActive(it, life));
  const alias = live[0] ?? own[0];
  if (alias === undefined) return [];
  const pages = (analysis.lives.end[alias.life] as number) - (analysis.lives.first[alias.life] as number);
  const isTelling = live.length > 0 && pages <= TELLING_PAGES && it.question.iova >= TELLING_ADDRESS;
  const isMask = it.question.mask?.bits === alias.bits;
  const what =
    alias.bits > 0
      ? `The address of a mapping of the device that ${live.length > 0 ? "is in use" : "has ended"}, cut to its lower ${alias.bits} bits,`
      : "The address of a mapping of the device, with bit 31 repeated up to bit 63,";
  return [
    {
      verdict: "truncated-address",
      life: alias.life,
      weight: isTelling ? "strong" : "hint",
      text: `${what} (${lifeText(it, alias.life)}) is this one${isMask ? "; the device's mask has as many bits" : ""}.`,
      ...(isMask ? { lines: it.question.mask?.lines ?? [] } : {}),
    },
  ];
}

/** Memory of the device's mappings that has this physical address. */
function physical(it: Case): Near[] {
  const life = it.near.physical.find((one) => it.requester.owns(one) && isActive(it, one));
  if (life === undefined) return [];
  const text = `The address is the physical address of memory that is mapped for the device elsewhere (${lifeText(it, life)}).`;
  return [{ verdict: "physical-address", life, weight: "strong", text }];
}

/** All devices get addresses from the same top, so a match alone is weak; it counts where nothing else explains the address. */
function otherDevice(it: Case, hasBetter: boolean): Near | undefined {
  const { near, requester, analysis } = it;
  const life = near.here.find((one) => !requester.owns(one) && !analysis.isOfUnknown(one) && isActive(it, one));
  if (life === undefined || analysis.lives.mapRow[life] === NO_ROW || endedAt(it, life) < it.seconds) return undefined;
  const owner = analysis.history.owners.nameOf(analysis.lives.owner[life] as number) ?? "";
  return {
    verdict: "wrong-device",
    life,
    weight: hasBetter || !requester.isComplete ? "hint" : "strong",
    text: `The address belongs to a mapping of ${owner} that is in use (${lifeText(it, life)}).`,
  };
}
