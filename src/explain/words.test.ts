import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Finding } from "./contract.ts";
import { VERDICTS } from "./contract.ts";
import { wordsIn } from "./glossary.ts";
import { VERDICT_WORDS } from "./verdict-words.ts";
import { headlineOf, linesOf, outlookOf, timeOf } from "./words.ts";

const FAULT: Finding = {
  kind: "dma-fault",
  verdict: "undecided",
  certainty: "undecided",
  device: "0000:02:00.0",
  iova: "0xffffe000",
  granule: 4096,
  access: "write",
  count: 1,
  follows: [],
  candidates: [],
  excluded: [],
  proof: [{ file: "log", line: 3 }],
  record: ["cd /sys/kernel/tracing; echo 1 > events/iommu/enable   # what happens"],
};

describe("verdicts in words", () => {
  test("are there for each verdict of each kind, and for no other", () => {
    const named = Object.entries(VERDICT_WORDS).map(([kind, verdicts]) => [kind, Object.keys(verdicts)]);
    assert.deepEqual(named, Object.entries(VERDICTS));
  });

  test("are ends of sentences: no capital at the beginning but of a name, no full stop", () => {
    for (const verdicts of Object.values(VERDICT_WORDS)) {
      for (const { meaning, next } of Object.values(verdicts)) {
        assert.match(meaning, /^(?!The |A )[a-z].*[^.]$/);
        assert.match(next, /^[a-z].*[^.]$/);
      }
    }
  });
});

describe("the sentences after the headline say how sure the cause is, and what to do", () => {
  test("undecided: record it", () => {
    assert.equal(
      outlookOf(FAULT, 1),
      "These lines do not decide why. Do next: record it when it happens again (commands below, or iova capture), and let iova explain read the recording.",
    );
  });

  test("certain: the action for the cause", () => {
    assert.equal(
      outlookOf({ ...FAULT, verdict: "past-end", certainty: "certain", record: [] }, 1),
      "Certain (past-end): the device went past the end of a buffer. Do next: compare the length that the driver gives to the device with the length that it maps.",
    );
  });

  test("strong, after an earlier event: the event first, then the cause, and how to make sure", () => {
    const consequenceOf = { text: "The device was reset 5 ms before.", proof: [{ file: "log", line: 1 }] };
    assert.equal(
      outlookOf({ ...FAULT, verdict: "past-end", certainty: "strong", consequenceOf }, 1),
      "Most likely (past-end): the device went past the end of a buffer. Do next: look first at what happened before it [line 1]; then " +
        "compare the length that the driver gives to the device with the length that it maps. The commands below help to make sure.",
    );
  });
});

test("a refused write asks for a direction that lets the device write, a refused read for the other one", () => {
  const refused = { ...FAULT, verdict: "permission", certainty: "certain", record: [] } as const;
  assert.match(
    outlookOf(refused, 1),
    /the device writes to it, so its direction must be DMA_FROM_DEVICE or DMA_BIDIRECTIONAL\.$/,
  );
  assert.match(outlookOf({ ...refused, access: "read" }, 1), /must be DMA_TO_DEVICE or DMA_BIDIRECTIONAL\.$/);
});

test("the lines of a citation stand in the order of the file", () => {
  const lines = [12, 11].map((line) => ({ file: "log", line }));
  assert.equal(linesOf(lines, 1), "lines 11 and 12");
  assert.equal(linesOf([{ file: "trace", line: 5 }, ...lines], 2), "trace 5; log 11, 12");
});

describe("a time is printed with its clock", () => {
  test("seconds after the boot, seconds of the recording, dates with and without a year", () => {
    const of = (firstTime: number, clock: "uptime" | "wall" | "trace") => timeOf({ ...FAULT, firstTime, clock });
    assert.equal(of(12.5, "uptime"), "at 12.5 s after the boot");
    assert.equal(of(12.5, "trace"), "at 12.5 s of the recording");
    assert.equal(of(Date.UTC(2020, 9, 22, 8, 54, 51) / 1000, "wall"), "on 2020-10-22 at 08:54:51");
    assert.equal(of(Date.UTC(2024, 1, 6, 4, 26, 1, 376) / 1000, "wall"), "on 2024-02-06 at 04:26:01.376");
    assert.equal(of(Date.UTC(1970, 6, 28, 16, 14, 50) / 1000, "wall"), "on 07-28 at 16:14:50");
    assert.equal(timeOf(FAULT), "");
  });
});

describe("the headline", () => {
  const { device: _device, ...nameless } = FAULT;
  test("names the IOMMU where no device is named", () => {
    assert.match(
      headlineOf({ ...nameless, iommu: "14016000.iommu" }),
      /^A device behind the IOMMU 14016000\.iommu tried/,
    );
    assert.match(headlineOf(nameless), /^A device that the lines do not name tried/);
    assert.match(
      headlineOf({ ...nameless, iommu: "arm-smmu-v3.2.auto", streamId: "0x12" }),
      /^The device of stream 0x12 behind the IOMMU arm-smmu-v3\.2\.auto tried/,
    );
  });
});

test("words of the field are explained where they stand in the text, and only there", () => {
  assert.deepEqual(wordsIn("The address lies in a BAR."), [
    "BAR: the range of addresses of a device's own registers or memory.",
  ]);
  assert.deepEqual(wordsIn("nothing of the kind"), []);
});
