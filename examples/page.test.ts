/** docs/writing-a-platform.md shows the code unchanged. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const ROOT = new URL("../../", import.meta.url);

test("every line of code on the page stands in the file that the page names", () => {
  const page = readFileSync(new URL("docs/writing-a-platform.md", ROOT), "utf8");
  const blocks = [...page.matchAll(/^<!-- (\S+) -->\n```ts\n([\s\S]*?)^```/gm)];
  assert.ok(blocks.length >= 5, `${blocks.length} blocks`);
  assert.equal([...page.matchAll(/^```ts$/gm)].length, blocks.length, "a block does not say where it comes from");
  for (const [, path = "", code = ""] of blocks) {
    const source = readFileSync(new URL(path, ROOT), "utf8");
    // Lines that are left out are a … on a line of their own.
    for (const part of code.split(/^\s*\/\/ …\n/m)) {
      assert.ok(source.includes(part), `${path} does not have, line for line:\n${part}`);
    }
  }
});
