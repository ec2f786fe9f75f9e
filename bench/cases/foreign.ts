/** Pages allocated by one thread and freed by another. */
import {
  load,
  notify,
  peek,
  poke,
  type SharedBuffer,
  type SharedWords,
  store,
  waitWhile,
  wordsOf,
} from "../../src/shared/memory.ts";
import { type BenchCase, type Cell, NANOSECONDS, type Work } from "../cell.ts";
import { fillPages, thinPages } from "../churn.ts";
import { measureSlices, warmUp } from "../measure.ts";
import { CASE_WORDS_AT, type Player } from "../player.ts";
import { type Scale, scaled } from "../scale.ts";
import { type Attached, attachTogether, type Subject, type SubjectName } from "../subjects.ts";
import { POOLS } from "./single.ts";

const SUBJECTS: readonly SubjectName[] = ["pooled", "cached", "single lock", "nothing"];

/** Pages per batch. Large enough that the hand-over costs little beside the allocator. */
const BATCH = 64;
/** Capacity of the ring, in batches. */
const BATCHES = 64;
const SENT_AT = CASE_WORDS_AT;
const TAKEN_AT = CASE_WORDS_AT + 32;
const PAGES_AT = CASE_WORDS_AT + 64;

export const foreign: BenchCase = {
  name: "foreign",
  about:
    "One thread allocates pages, another frees them; a ring of up to 4096 pages connects them. The time is that of one page, " +
    "allocated and freed, while both threads run.",
  metrics: [NANOSECONDS],
  operation: "pair",
  cells(scale: Scale, seed: number): readonly Cell[] {
    return SUBJECTS.map((subject) => {
      const pools = subject === "single lock" ? 1 : POOLS;
      const operations = BATCH * Math.ceil(scaled(4_000, scale) / BATCH);
      const { arena, slices } = scale;
      const work = { subject, entries: arena * pools, pools, arena, fillPercent: 50, slices, operations, seed };
      return { case: "foreign", row: subject, at: "2 threads", threads: 2, work };
    });
  },
  async play(work: Work, player: Player) {
    const attached = await attachTogether(work, player.number, (make) => player.share(make));
    const { subject } = attached;
    const live =
      player.number === 0 ? thinPages(subject, fillPages(subject, work.arena), work.fillPercent, work.seed).length : 0;
    player.meet();
    const ring = new Ring(player.words);
    const work1 = player.number === 0 ? send : receive;
    const batches = work.operations / BATCH;
    warmUp(work.slices, () => work1(subject, ring, batches));
    player.meet();
    const slices = measureSlices(work.slices, () => work1(subject, ring, batches));
    player.meet();
    attached.drain();
    player.meet();
    if (player.number === 0) checkLive(attached, live);
    return { slices, operations: work.operations, hash: undefined };
  },
};

function send(subject: Subject, ring: Ring, batches: number): void {
  for (let batch = 0; batch < batches; batch++) {
    const at = ring.awaitRoom();
    for (let i = 0; i < BATCH; i++) {
      const first = subject.allocate(1);
      if (first < 0) throw new Error("no space, though the table is half empty");
      poke(ring.words, at + i, first);
    }
    ring.sent();
  }
}

function receive(subject: Subject, ring: Ring, batches: number): void {
  for (let batch = 0; batch < batches; batch++) {
    const at = ring.awaitBatch();
    for (let i = 0; i < BATCH; i++) subject.free(peek(ring.words, at + i), 1);
    ring.taken();
  }
}

/** A ring of batches from one thread to another. Its words are plain; the two counts order them. */
class Ring {
  readonly words: SharedWords;
  /** Batches that this side has handled. */
  #handled = 0;

  constructor(buffer: SharedBuffer) {
    this.words = wordsOf(buffer);
  }
  /** Waits for room. Returns the index of the next batch to write. */
  awaitRoom(): number {
    this.#await(TAKEN_AT, this.#handled - BATCHES);
    return this.#place();
  }
  sent(): void {
    this.#advance(SENT_AT);
  }
  /** Waits for a batch. Returns its index. */
  awaitBatch(): number {
    this.#await(SENT_AT, this.#handled);
    return this.#place();
  }
  taken(): void {
    this.#advance(TAKEN_AT);
  }
  #place(): number {
    return PAGES_AT + (this.#handled % BATCHES) * BATCH;
  }
  #advance(at: number): void {
    this.#handled++;
    store(this.words, at, this.#handled);
    notify(this.words, at, 1);
  }
  /** Waits until the count is greater than `than`: spins for some microseconds, then sleeps. */
  #await(at: number, than: number): void {
    for (let spin = 0; spin < 500; spin++) if (load(this.words, at) > than) return;
    for (let found = load(this.words, at); found <= than; found = load(this.words, at)) {
      waitWhile(this.words, at, found, 1);
    }
  }
}

function checkLive(attached: Attached, expected: number): void {
  const live = attached.live();
  if (live === undefined || live === expected) return;
  throw new Error(`${live} pages are taken at the end; ${expected} were never given away`);
}
