/** A worker of a user's page: attaches to the table in its message, allocates ranges, and posts them. */
import { PooledAllocator } from "iova";

self.onmessage = ({ data: handle }) => {
  const allocator = PooledAllocator.attach(handle);
  const ranges = [];
  for (let i = 0; i < 200; i++) {
    const count = 1 + (i % 7);
    const first = allocator.allocate(count);
    if (first >= 0) ranges.push([first, count]);
  }
  allocator.close();
  self.postMessage(ranges);
};
