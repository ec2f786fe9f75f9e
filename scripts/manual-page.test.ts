import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { MANUAL_PAGE, manualPage } from "./manual-page.ts";
import { ROOT } from "./root.ts";

test("docs/manual.md says what the help of each verb says: `node build/scripts/manual-page.js` writes it again", async () => {
  const page = await manualPage();
  for (const verb of ["explain", "capture", "stat", "replay", "platforms", "completion"]) {
    assert.match(page, new RegExp(`^## iova ${verb}\\n\\n\`\`\`text\\nUsage: iova ${verb} `, "m"));
  }
  assert.equal(readFileSync(join(ROOT, MANUAL_PAGE), "utf8"), page);
});
