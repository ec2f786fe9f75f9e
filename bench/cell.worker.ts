/** Plays one player of a cell for each assignment of the harness, and posts its measurements. */
import { parentPort } from "node:worker_threads";
import type { SharedBuffer } from "../src/shared/memory.ts";
import { caseNamed } from "./cases/index.ts";
import type { Played, Work } from "./cell.ts";
import { type Mail, Player } from "./player.ts";

/** A player's part. */
export interface Assignment {
  readonly case: string;
  readonly work: Work;
  readonly player: number;
  readonly players: number;
  readonly input: unknown;
  readonly words: SharedBuffer;
}

/** Messages from the harness: an assignment, or a value that another player of the cell shares. */
export type ToWorker = { readonly assignment: Assignment } | { readonly shared: unknown };
/** Messages to the harness: a value for the other players, the measurements, or an error. */
export type FromWorker = { readonly shared: unknown } | { readonly played: Played } | { readonly failed: unknown };

const port = parentPort;
if (port === null) throw new Error("this file is for worker threads: start build/bench/main.js");

/** At most one: a cell's first player sends once. It may come before this player asks for it. */
let received: { readonly value: unknown } | undefined;
let wake: (() => void) | undefined;

const mail: Mail = {
  send: (value) => post({ shared: value }),
  async receive() {
    if (received === undefined)
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    const value = received?.value;
    received = undefined;
    return value;
  },
};

port.on("message", (message: ToWorker) => {
  if ("assignment" in message) play(message.assignment);
  else {
    received = { value: message.shared };
    wake?.();
  }
});

async function play({ case: name, work, player, players, input, words }: Assignment): Promise<void> {
  try {
    post({ played: await caseNamed(name).play(work, new Player(player, players, input, words, mail)) });
  } catch (error) {
    post({ failed: error });
  }
}

function post(message: FromWorker): void {
  port?.postMessage(message);
}
