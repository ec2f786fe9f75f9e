import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { tracePath } from "./shipped.ts";

test("the name of a shipped trace leads to its file, from any folder; a file of that name here comes first", () => {
  const before = process.cwd();
  const folder = mkdtempSync(join(tmpdir(), "iova-shipped-"));
  try {
    process.chdir(folder);
    const path = tracePath("nvme-io-612");
    assert.ok(path.endsWith("nvme-io-612.txt.gz") && existsSync(path), path);
    writeFileSync("nvme-io-612", "");
    assert.equal(tracePath("nvme-io-612"), "nvme-io-612");
  } finally {
    process.chdir(before);
    rmSync(folder, { recursive: true });
  }
});

test("everything else is the path that it was", () => {
  for (const path of ["-", "none", "../traces/nvme-io-612", "nvme-io-612.txt", "", "fixtures/vfio"]) {
    assert.equal(tracePath(path), path);
  }
});
