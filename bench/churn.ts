/**
 * The workload of the benchmarks.
 *
 * A pair frees a victim, drawn at random among the live ranges, and allocates as many pages in its place. So no request can fail,
 * and the table keeps its fill. The table is filled first, then thinned at random, which spreads the holes. All times
 * are of such pairs and include the driver (drawing the victim, the table of live ranges, the digest of the results). The
 * subject "nothing" is the driver alone.
 */
import { PooledAllocator } from "../src/allocator/pooled-allocator.ts";
import type { Work } from "./cell.ts";
import * as measure from "./measure.ts";
import type { Attached, Subject } from "./subjects.ts";

// A local constant: V8 folds it, an imported one it looks up in every pair.
const { FNV_PRIME } = measure;

/** One step of xorshift32; never 0 from a seed that is not 0. */
export function nextRandom(state: number): number {
  let x = state;
  x ^= x << 13;
  x ^= x >>> 17;
  return x ^ (x << 5);
}

/** The seed of a slice: far from the others', and never 0. */
export function seedOf(seed: number, slice: number): number {
  return Math.imul(seed, 0x9e3779b1) ^ Math.imul(slice + 1, 0x85ebca6b) || 1;
}

/** A number that Math.floor(unsigned random · scale) turns into 0 .. below − 1. */
const scaleTo = (below: number): number => below / 2 ** 32;

/** Fills an arena with single pages. Returns them in order. */
export function fillPages(subject: Subject, arena: number): Int32Array {
  const live = new Int32Array(arena);
  for (let i = 0; i < arena; i++) {
    live[i] = subject.allocate(1);
    if ((live[i] as number) < 0) throw new Error(`no space for page ${i} of ${arena} that should fit`);
  }
  return live;
}

/** Frees pages at random until `percent` of them are left. Returns the live ones. */
export function thinPages(subject: Subject, pages: Int32Array, percent: number, seed: number): Int32Array {
  const keep = Math.max(1, Math.round((pages.length * percent) / 100));
  let random = seedOf(seed, -2);
  let length = pages.length;
  while (length > keep) {
    random = nextRandom(random);
    const victim = Math.floor((random >>> 0) * scaleTo(length));
    subject.free(pages[victim] as number, 1);
    length--;
    pages[victim] = pages[length] as number;
  }
  return pages.slice(0, keep);
}

/** Pairs of one page. Returns the digest, continued. */
export function churnPages(subject: Subject, live: Int32Array, pairs: number, seed: number, hash: number): number {
  const scale = scaleTo(live.length);
  let random = seed;
  let digest = hash;
  for (let pair = 0; pair < pairs; pair++) {
    random = nextRandom(random);
    const victim = ((random >>> 0) * scale) | 0;
    subject.free(live[victim] as number, 1);
    const first = subject.allocate(1);
    if (first < 0) throw noSpace(1);
    live[victim] = first;
    digest = Math.imul(digest ^ first, FNV_PRIME);
  }
  return digest;
}

/** As `churnPages`; each pair is timed by the clock, in milliseconds, into `samples`: `every`-th pairs only. */
export function churnPagesTimed(
  subject: Subject,
  live: Int32Array,
  samples: Float64Array,
  every: number,
  seed: number,
): void {
  const scale = scaleTo(live.length);
  let random = seed;
  for (let sample = 0; sample < samples.length; sample++) {
    random = seedOf(random, sample);
    churnPages(subject, live, every - 1, random, 0);
    random = nextRandom(random);
    const victim = ((random >>> 0) * scale) | 0;
    const began = performance.now();
    subject.free(live[victim] as number, 1);
    const first = subject.allocate(1);
    samples[sample] = performance.now() - began;
    if (first < 0) throw noSpace(1);
    live[victim] = first;
  }
}

/** Ranges that are freed last, so that a cache starts with two or three of each length. */
const SPARE = 64;

/** A prepared table. Structured-cloneable. */
export interface MixState {
  readonly firsts: Int32Array;
  readonly counts: Int32Array;
  /** The last `SPARE` of them are freed after all are placed. */
  readonly spare: number;
}

/** The lengths: 1 .. 16 pages evenly, and 3 % of 64. */
function drawLength(random: number): number {
  const draw = random >>> 8;
  return draw % 100 < 3 ? 64 : 1 + ((draw >>> 7) & 15);
}

/**
 * A mix in a table of its own, in its steady state: filled, freed at random down to `fillPercent`, then churned
 * until each live range has been freed four times on average. Made by the pooled allocator with one pool, which is next fit.
 */
export function prepareMix(work: Work): MixState {
  const { entries, fillPercent, seed } = work;
  const allocator = PooledAllocator.create({ entries, pools: 1, largePool: false, threads: 1 });
  const firsts: number[] = [];
  const counts: number[] = [];
  let random = seedOf(seed, -1);
  let taken = 0;
  while (taken < entries) {
    random = nextRandom(random);
    const count = Math.min(drawLength(random), entries - taken);
    firsts.push(allocator.allocate(count));
    counts.push(count);
    taken += count;
  }
  while ((taken / entries) * 100 > fillPercent) {
    random = nextRandom(random);
    const victim = Math.floor((random >>> 0) * scaleTo(firsts.length));
    const count = counts[victim] as number;
    allocator.free(firsts[victim] as number, count);
    taken -= count;
    firsts[victim] = firsts[firsts.length - 1] as number;
    counts[victim] = counts[counts.length - 1] as number;
    firsts.length--;
    counts.length--;
  }
  const mix = new Mix(Int32Array.from(firsts), Int32Array.from(counts));
  mix.churn(allocator, 4 * firsts.length, seedOf(seed, -3), 0);
  return { firsts: mix.firsts, counts: mix.counts, spare: Math.min(SPARE, firsts.length >> 1) };
}

/** A mix on one subject. */
export class Mix {
  /** The live ranges. */
  readonly firsts: Int32Array;
  readonly counts: Int32Array;

  constructor(firsts: Int32Array, counts: Int32Array) {
    this.firsts = firsts;
    this.counts = counts;
  }

  /** Sets a prepared state up in an empty table. */
  static setUp(attached: Attached, { firsts, counts, spare }: MixState): Mix {
    for (let i = 0; i < firsts.length; i++) attached.place(firsts[i] as number, counts[i] as number);
    const live = firsts.length - spare;
    for (let i = live; i < firsts.length; i++) attached.subject.free(firsts[i] as number, counts[i] as number);
    return new Mix(firsts.slice(0, live), counts.slice(0, live));
  }

  /** Pairs of the mix. Returns the digest, continued. */
  churn(subject: Subject, pairs: number, seed: number, hash: number): number {
    const { firsts, counts } = this;
    const scale = scaleTo(firsts.length);
    let random = seed;
    let digest = hash;
    for (let pair = 0; pair < pairs; pair++) {
      random = nextRandom(random);
      const victim = ((random >>> 0) * scale) | 0;
      const count = counts[victim] as number;
      subject.free(firsts[victim] as number, count);
      const first = subject.allocate(count);
      if (first < 0) throw noSpace(count);
      firsts[victim] = first;
      digest = Math.imul(digest ^ first, FNV_PRIME);
    }
    return digest;
  }

  /** As `churnPagesTimed`. */
  churnTimed(subject: Subject, samples: Float64Array, every: number, seed: number): void {
    const { firsts, counts } = this;
    const scale = scaleTo(firsts.length);
    let random = seed;
    for (let sample = 0; sample < samples.length; sample++) {
      random = seedOf(random, sample);
      this.churn(subject, every - 1, random, 0);
      random = nextRandom(random);
      const victim = ((random >>> 0) * scale) | 0;
      const count = counts[victim] as number;
      const began = performance.now();
      subject.free(firsts[victim] as number, count);
      const first = subject.allocate(count);
      samples[sample] = performance.now() - began;
      if (first < 0) throw noSpace(count);
      firsts[victim] = first;
    }
  }
}

function noSpace(count: number): Error {
  return new Error(`no space for ${count} entries, though as many have just been freed`);
}
