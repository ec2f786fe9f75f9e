/** A web worker of the browser test: attaches to the posted table, plays, and reports. */
import { PooledAllocator } from "../../build/src/index.js";
import { Player } from "./play.js";

self.onmessage = ({ data: { handle, shadow, seed, steps } }) => {
  const allocator = PooledAllocator.attach(handle);
  const player = new Player(allocator, shadow, seed);
  player.play(steps, 64);
  // What rests in this thread's cache goes back; what is live stays live.
  allocator.close();
  self.postMessage(player.report());
};
