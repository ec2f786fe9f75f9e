import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import type { Explanation } from "../contract.ts";
import { Explainer } from "../explainer.ts";

/** Recordings of real kernels (Linux 6.12) in guests, with what really happened. */
const folder = fileURLToPath(new URL("../../../../src/explain/trace/fixtures/", import.meta.url));

interface Truth {
  readonly faults: readonly { verdict: string; device: string; access: string; page: string }[];
  readonly leak?: true;
  readonly exhausted?: true;
  readonly lostEvents?: true;
}

function explain(name: string): Explanation {
  const explainer = new Explainer();
  for (const file of ["trace.txt", "dmesg.txt"]) {
    const input = explainer.input(file);
    input.write(gunzipSync(readFileSync(join(folder, name, `${file}.gz`))));
    input.end();
  }
  return explainer.explain();
}

const pageOf = (address: string): bigint => BigInt(address) >> 12n;

describe("a recording with known truth is explained as it was", () => {
  for (const name of readdirSync(folder)) {
    test(name, () => {
      const truth = JSON.parse(readFileSync(join(folder, name, "truth.json"), "utf8")) as Truth;
      const { findings, lost } = explain(name);
      const faults = findings.filter(({ kind }) => kind === "dma-fault");
      for (const { verdict, access, page } of truth.faults) {
        const found = faults.filter(({ iova, otherAddresses = [] }) =>
          [iova ?? "0x0", ...otherAddresses].some((address) => pageOf(address) === pageOf(page)),
        );
        assert.ok(
          found.some((fault) => fault.verdict === verdict && fault.access === access),
          `${page}: ${found.map((fault) => fault.verdict)}, is ${verdict}`,
        );
      }
      if (truth.faults.length === 0) assert.deepEqual(faults, []);
      assert.equal(
        findings.some(({ kind }) => kind === "leak"),
        truth.leak === true,
      );
      assert.equal(
        findings.some(({ kind }) => kind === "exhausted"),
        truth.exhausted === true,
      );
      assert.equal(
        lost.some(({ what }) => what === "events"),
        truth.lostEvents === true,
      );
    });
  }
});

test("a mapped address with a code of two meanings: the reason joins both; with a code of one meaning the code is the reason", () => {
  const reasonsOf = (name: string): string[] =>
    explain(name)
      .findings.filter(({ verdict }) => verdict === "permission")
      .flatMap(({ candidates, follows }) => [...candidates.slice(0, 1).flatMap(({ because }) => because), ...follows])
      .map(({ text }) => text);
  const two =
    "The IOMMU's code means that the address is not mapped or the access not allowed, and the address is mapped.";
  assert.ok(reasonsOf("fault-write-readonly").includes(two));
  const one = reasonsOf("smmu-fault-many");
  assert.ok(one.includes("The IOMMU reports that an entry forbids the access."));
  assert.ok(!one.includes("No line says which accesses the mapping allows."));
});
