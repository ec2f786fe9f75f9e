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
    // What rests in this thread's cache goes back; what is live stays live.
    allocator.close();
    self.postMessage(player.report());
  };
  self.postMessage("attached");
};
