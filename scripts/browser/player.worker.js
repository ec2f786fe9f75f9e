/**
 * A web worker of the browser test. First message: attach to the table that it holds, and say so. Second: play, and report.
 * Two, so that all threads are attached, and play, at once.
 */
import { PooledAllocator } from "../../dist/iova.js";
import { Player } from "./play.js";

self.onmessage = ({ data: { handle, shadow, seed } }) => {
  const allocator = PooledAllocator.attach(handle);
  self.onmessage = ({ data: { steps } }) => {
    const player = new Player(allocator, shadow, seed);
    player.play(steps, 64);
    // Returns this thread's cached ranges to the pools. Live ranges stay live.
    allocator.close();
    self.postMessage(player.report());
  };
  self.postMessage("attached");
};
