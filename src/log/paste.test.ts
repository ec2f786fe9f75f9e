import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Fact } from "./facts.ts";
import { factsOf, linesOf, unreadOf } from "./facts-of.model.ts";

const MESSAGE =
  "arm-smmu 15000000.iommu: Unhandled context fault: fsr=0x402, iova=0x1032db3e0, fsynr=0x130000, cbfrsynra=0x300, cb=4";
const FAULT = `[   12.345670] ${MESSAGE}`;

/** Address, stream and time of each fault in the text. */
function faultsOf(text: string): string[] {
  return factsOf(text).flatMap((fact: Fact) =>
    fact.kind === "fault" ? [`${fact.iova?.toString(16)} ${fact.streamId?.toString(16)} ${fact.time ?? "-"}`] : [],
  );
}

const ONE = ["1032db3e0 300 12.34567"];

describe("prefixes seen in reports", () => {
  const prefixes: readonly (readonly [prefix: string, time: number | undefined])[] = [
    ["", undefined],
    ["[   12.345670] ", 12.34567],
    ["[ 9690.896638][  T814] ", 9690.896638],
    ["[ 9690.896638][    C0] ", 9690.896638],
    ["[Thu Oct 22 08:54:51 2020] ", 1603356891],
    ["[  +0.001779] ", 0.001779],
    ["Jul 28 16:14:53 host kernel: ", 18029693],
    ["Jul 28 16:14:53 host kernel: [  221.562629] ", 221.562629],
    ["kernel: [ 221.562629] ", 221.562629],
    ["[14768.593293] myhost kernel: ", 14768.593293],
    ["<3>[   12.345670] ", 12.34567],
    ["2024-02-06T04:26:01.376941Z WARNING kernel: [  12.345670] ", 12.34567],
    ["kern.debug: [  12.345670] ", 12.34567],
    ["kern  :err   : [   12.345670] ", 12.34567],
    ["0x000000000277BBFA |   1263.468579:   ", 1263.468579],
    ["(qemu) [   12.345670] ", 12.34567],
    ["> ", undefined],
    ["> [   12.345670] ", 12.34567],
    [">>> [   12.345670] ", 12.34567],
    ["> > > [   12.345670] ", 12.34567],
    ["| [   12.345670] ", 12.34567],
    ["\t", undefined],
    ["\u001b[1;31m[   12.345670] \u001b[0m", 12.34567],
  ];
  for (const [prefix, time] of prefixes) {
    test(JSON.stringify(prefix), () => {
      assert.deepEqual(faultsOf(prefix + MESSAGE), [`1032db3e0 300 ${time ?? "-"}`]);
    });
  }
});

test("the differences of `dmesg --reltime` add up, over lines without messages, too", () => {
  const text = `[Oct22 08:54] Linux version 6.1.0\n[  +0.500000] a\n[  +0.250000] ${MESSAGE}\n[  +1.000000] b\n[ +10.000000] ${MESSAGE.replace("3e0", "4e0")}`;
  assert.deepEqual(faultsOf(text), ["1032db3e0 300 0.75", "1032db4e0 300 11.75"]);
});

describe("a message that is quoted again is one message", () => {
  test("at another depth", () => {
    assert.deepEqual(faultsOf(`${MESSAGE}\n\n> ${MESSAGE}`), ["1032db3e0 300 -"]);
  });

  test("at the same time, wrapped in another way", () => {
    assert.deepEqual(faultsOf(`${FAULT}\n\n> ${FAULT.replace(" fsynr", "\n> fsynr")}`), ONE);
  });

  test("with other messages in between, when it was still open", () => {
    const xen = "DMAR: [DMA Write NO_PASID] Request device [03:00.0] fault addr 0x100000 [fault reason 0x05] not set";
    assert.equal(faultsOf(`> ${xen}\n\n${xen}\n${MESSAGE}\n`).length, 2);
  });

  test("but at the same depth, without times, it is a second one", () => {
    assert.equal(faultsOf(`${MESSAGE}\n${MESSAGE}`).length, 2);
  });

  const blocked = (time: string): string => `${time} arm-smmu 15000000.iommu: Blocked unknown Stream ID 0x429`;
  const uptime = "[   40.100000]";
  const count = (...lines: readonly string[]): number => factsOf(lines.join("\n")).length;

  test("two that follow each other with the same time are two, quoted or not (review of 2026-11-30)", () => {
    assert.equal(count(blocked(uptime), blocked(uptime)), 2);
    assert.equal(count(FAULT, FAULT), 2);
    assert.equal(count(blocked(uptime), blocked(uptime), "", `> ${blocked(uptime)}`, `> ${blocked(uptime)}`), 2);
    assert.equal(count(blocked(uptime), "text", blocked(uptime)), 1, "the same line pasted again");
  });

  test("a journal that is pasted again, with times of whole seconds, is one; a repetition inside of it is not", () => {
    const [first, second] = ["Jul 28 16:14:53 host kernel:", "Jul 28 16:14:59 host kernel:"];
    const log = [blocked(first), "Jul 28 16:14:53 host app: text", blocked(first), blocked(second)];
    assert.equal(count(...log), 3);
    assert.equal(count(...log, "", "the same again:", ...log), 3);
  });
});

test("the rest of a quoted line that a mail program wrapped may have no quote mark", () => {
  const [head = "", tail = ""] = FAULT.split(/ (?=fsynr)/);
  assert.deepEqual(faultsOf(`> ${head}\n${tail}\n> more`), ONE);
});

describe("source code is no message, decided line by line", () => {
  const code = [
    `\tpr_err("${MESSAGE}\\n");`,
    `+\tdev_err_ratelimited(smmu->dev, "${MESSAGE}\\n",`,
    `-\t\t"${MESSAGE}\\n",`,
    `   "${MESSAGE}",`,
    ` * ${MESSAGE}`,
    `/* ${MESSAGE} */`,
    `// ${MESSAGE}`,
    MESSAGE.replace("0x402", "0x%x"),
    MESSAGE.replace("0x402", "%#llx"),
  ];
  for (const line of code) {
    test(line.slice(0, 30), () => {
      assert.deepEqual(faultsOf(line), []);
      assert.deepEqual(faultsOf(`${line}\n${FAULT}`), ONE, "a message below");
      assert.deepEqual(faultsOf(`${FAULT}\n${line}`), ONE, "a message above");
    });
  }

  test("a hunk of a patch holds no message, the text behind it may", () => {
    const hunk = `@@ -1,3 +1,3 @@ The log:\n \n-    ${MESSAGE}\n+    ${MESSAGE.replace("402", "403")}\n end`;
    assert.deepEqual(faultsOf(`${hunk}\n${FAULT}`), ONE);
    assert.deepEqual(faultsOf(hunk.replace(/^/gm, "> ")), []);
  });

  test("a list of messages is no patch", () => {
    assert.deepEqual(faultsOf(`- ${FAULT}`), ONE);
    assert.deepEqual(faultsOf(`* ${FAULT}`), ONE);
  });
});

describe("raw mails", () => {
  test("a Subject with a message's text, folded or not, is no message", () => {
    const mail = `From: a@example.org\nSubject: Re: ${MESSAGE.slice(0, 60)}\n ${MESSAGE.slice(60)}\nDate: x\n\nHello,\n${FAULT}`;
    assert.deepEqual(faultsOf(mail), ONE);
    assert.deepEqual(faultsOf(`Subject: ${MESSAGE}\n\ntext`), []);
  });

  test("a message that stands in a Subject alone is counted as unread (review of 2026-11-30)", () => {
    const folded = `From: a\nSubject: Re: ${MESSAGE.slice(0, 60)}\n ${MESSAGE.slice(60)}\nDate: x\n\n`;
    const other = FAULT.replace("3e0", "4e0");
    assert.deepEqual(unreadOf(`${folded}Hello,\n${other}`), { count: 1, first: linesOf(2) });
    assert.deepEqual(unreadOf(`${folded}Hello,\n${FAULT}`), { count: 0, first: [] });
    assert.deepEqual(unreadOf(`Subject: ${MESSAGE}`), { count: 1, first: linesOf(1) });
    assert.deepEqual(unreadOf("Subject: [PATCH] iommu/amd: Fix fault handling\n\ntext"), { count: 0, first: [] });
    assert.deepEqual(unreadOf(`${folded}${FAULT}\n${folded}${FAULT.replace(/^/gm, "> ")}`), { count: 0, first: [] });
  });

  test("a Subject that is quoted is no message either", () => {
    const mail = `Subject: x\n\n> From: b\n> Subject: ${MESSAGE}\n>\n> ${FAULT}`;
    assert.deepEqual(faultsOf(mail), ONE);
    assert.deepEqual(unreadOf(mail), { count: 0, first: [] });
  });

  test("base64", () => {
    const body = Buffer.from(`Hello,\r\n\r\n${FAULT}\r\n${FAULT.replace("3e0", "4e0")}\r\n-- \r\n`)
      .toString("base64")
      .replace(/.{76}/g, "$&\n");
    const mail = `Content-Transfer-Encoding: base64\n\n${body}\n--next--\n${FAULT.replace("3e0", "5e0")}\n`;
    assert.deepEqual(faultsOf(mail), [...ONE, "1032db4e0 300 12.34567", "1032db5e0 300 12.34567"]);
  });

  test("base64 that was cut, with padding that does not fit its length", () => {
    const body = Buffer.from(`Hello,\n${FAULT}\nend\n`).toString("base64").replaceAll("=", "");
    for (const padding of ["", "=", "=="]) {
      for (let cut = 0; cut < 4; cut++) {
        const line = body.slice(0, body.length - cut) + padding;
        assert.deepEqual(faultsOf(`Content-Transfer-Encoding: base64\n\n${line}\n`), ONE, line);
      }
    }
  });

  test("quoted-printable that breaks every word of the prefilter", () => {
    const encoded = FAULT.replaceAll("=", "=3D");
    for (let at = 20; at < 75; at++) {
      if (/=.?$/.test(encoded.slice(0, at))) continue;
      const broken = `${encoded.slice(0, at)}=\n${encoded.slice(at)}`;
      assert.deepEqual(faultsOf(broken), ONE, broken);
    }
  });

  test("quoted-printable of any character, when the headers say so", () => {
    const encoded = FAULT.replaceAll("=", "=3D").replace("Unhandled", "=55nhandled").replace(": ", ":=C2=A0");
    assert.deepEqual(faultsOf(`Content-Transfer-Encoding: quoted-printable\n\n${encoded}`), ONE);
  });
});

describe("web pages and terminals", () => {
  test("several lines in one, separated by <br>", () => {
    const other = FAULT.replace("3e0", "4e0");
    assert.deepEqual(faultsOf(`<p>${FAULT}<br/>text<br>${other}</p>`), [...ONE, "1032db4e0 300 12.34567"]);
  });

  test("entities, and tags inside a message", () => {
    const page = FAULT.replace("fault", "<span class='x'>fault</span>").replace("[", "&#91;").replace("]", "&#x5d;");
    assert.deepEqual(faultsOf(page), ONE);
  });

  test("carriage returns alone", () => {
    assert.deepEqual(faultsOf(`a\r${FAULT}\r${FAULT.replace("3e0", "4e0")}`), [...ONE, "1032db4e0 300 12.34567"]);
    assert.deepEqual(faultsOf(`${FAULT}\r\r\n${FAULT.replace("3e0", "4e0")}\r\n`), [...ONE, "1032db4e0 300 12.34567"]);
  });

  test("a whole log on one line", () => {
    const lines = Array.from({ length: 200 }, (_, at) => FAULT.replace("3e0", (0x100 + at).toString(16)));
    assert.equal(faultsOf(lines.join(" ")).length, 200);
  });
});

describe("found by generated logs, 2026-11-30", () => {
  const event = (at: number): string =>
    `AMD-Vi: Event logged [IO_PAGE_FAULT device=19:0e.0 domain=0x000b\naddress=0x1b69${at}000 flags=0x0000]`;

  test("wrapped messages without prefix are read whole, however many follow each other", () => {
    const text = Array.from({ length: 9 }, (_, at) => event(at)).join("\n");
    assert.deepEqual(
      faultsOf(text),
      Array.from({ length: 9 }, (_, at) => `1b69${at}000 undefined -`),
    );
  });

  test("a line of QEMU behind a long line with a prefix is a message of its own", () => {
    const long = `[   12.345670] DMAR: [INTR-REMAP] Request device [14:08.3] fault index 0x535c [fault reason 0x25] Blocked a request`;
    const walk =
      "qemu-system-x86_64: vtd_iova_to_slpte: detected slpte permission error (iova=0x1000, level=0x1, slpte=0x0, write=0)";
    assert.deepEqual(
      factsOf(`${long}\n${walk}`).map(({ shape }) => shape),
      ["intel-interrupt", "qemu-vtd-walk"],
    );
  });

  test("colours take no column: a blank at the end of a coloured line is one", () => {
    const line = (text: string): string => `\u001b[32m\u001b[0m\u001b[1m${text}\u001b[0m`;
    const first = line("dmar: DMAR:[DMA Write] Request device [1f:0a.7] fault addr 13fc2000 ");
    assert.deepEqual(faultsOf(`${first}\n${line("DMAR:[fault reason 05] PTE Write access is not set")}`), [
      "13fc2000 undefined -",
    ]);
  });

  test("a quoted line of 80 characters with its quote mark was wrapped at a blank, not cut", () => {
    const head = "> Jul 28 02:15:01 myhost kernel: [ 8101.805550] nvme 0000:19:02.3: AMD-Vi: Event";
    assert.equal(head.length, 80);
    const facts = factsOf(`${head}\n> logged [IO_PAGE_FAULT domain=0x000b address=0x1b01e000 flags=0x0020]`);
    assert.deepEqual(
      facts.map((fact) => "device" in fact && fact.device),
      ["0000:19:02.3"],
    );
  });
});

/** The facts of a text, without places and times. */
function said(text: string): object[] {
  return factsOf(text).map(({ lines: _lines, text: _text, time: _time, clock: _clock, ...rest }) => rest);
}

const INTEL =
  "DMAR: [DMA Write NO_PASID] Request device [10:1f.2] fault addr 0x13527000 [fault reason 0x05] PTE Write access is not set";

describe("broken lines, found by generated logs of every shape, 2026-11-30", () => {
  test("a line of QEMU's trace is not the rest of the long line before", () => {
    const text =
      "qemu-system-x86_64: virtio_iommu_translate no mapping for 0x3e935000 for sid=14668\n278365@1676297375.587477:vtd_dmar_slpte sid 0x394c slpte 0x1f2556003 addr 0x3e935000 write 0";
    assert.deepEqual(
      factsOf(text).map((fact) => "device" in fact && fact.device),
      ["0000:39:09.4"],
    );
  });

  test("a line that is wrapped at a blank behind column 80 is no cut word", () => {
    const text = "mtk-iommu 1401d000.m4u: fault type=0x5 iova=0x1e6fd000 pa=0x0 larb=0 port=2 layer=1 read";
    const long = `Jul 28 16:14:53 host kernel: ${text.replace(" layer", "\nlayer")}`;
    assert.deepEqual(said(long), said(text));
  });

  test("a number that a terminal of 80 columns cut is one number, not the zeros before the edge", () => {
    const text =
      "[ 4948.144340][    C0] One of leaked entries details: [device address=0x000000002831b000] [size=811008 bytes] [mapped with DMA_FROM_DEVICE] [mapped as single]";
    assert.deepEqual(said(`${text.slice(0, 80)}\n${text.slice(80)}`), said(text));
  });

  test("a number of which a message leaves out the rest is read with it, at any width", () => {
    const text =
      "[ 4948.144340][    C0] myhost kernel: One of leaked entries details: [device address=0x000000002831b000] [size=811008 bytes] [mapped with DMA_FROM_DEVICE] [mapped as single]";
    const at = text.indexOf("2831b000");
    assert.deepEqual(said(`${text.slice(0, at)}\n${text.slice(at)}`), said(text));
  });

  test("a number that a wider terminal cut is one number", () => {
    const text = `[ 6557.150210][    C0] myhost kernel: ${INTEL}`;
    const at = text.indexOf("27000");
    assert.ok(at > 81);
    assert.deepEqual(said(`${text.slice(0, at)}\n${text.slice(at)}`), said(text));
  });

  test("a word is joined where that makes a message, and only there", () => {
    const text =
      "[    1.000000] vfio-pci 0000:2d:1e.0: Device is ineligible for IOMMU domain attach due to platform RMRR requirement.";
    assert.deepEqual(said(`${text.slice(0, 97)}\n${text.slice(97)}`), said(text));
  });

  test("a command line says two things at one time, and goes on behind a wrap", () => {
    const text = "[    0.000000] Command line: BOOT_IMAGE=/boot/vmlinuz-6.12 root=/dev/sda1 ro intel_iommu=on iommu=pt";
    const whole = said(text);
    assert.equal(whole.length, 2);
    assert.deepEqual(said(text.replace(" intel", "\nintel")), whole);
  });
});

describe("copies, prefixes and encodings, found by generated logs of every shape, 2026-11-30", () => {
  test("an event's proof is its own line, not the one before", () => {
    const event = factsOf(`${INTEL}\npcieport 0000:39:10.2: AER: Uncorrected (Fatal) error received: 0000:01:00.0`)[0];
    assert.deepEqual([event?.kind, event?.lines], ["event", [{ file: "-", line: 2 }]]);
  });

  test("quoted-printable that breaks entities, escapes, line breaks of a page, and before a prefix", () => {
    const page = `<p>${FAULT}<br/>${FAULT.replace("3e0", "4e0")}<br/></p>`.replaceAll("=", "=3D");
    const escaped = FAULT.replace(/[[\]_]/g, "\\$&").replaceAll("=", "=3D");
    const journal = `Jul 28 16:14:53 host kernel: ${FAULT}`.replaceAll("=", "=3D");
    for (const [text, faults] of [
      [page, [...ONE, "1032db4e0 300 12.34567"]],
      [escaped, ONE],
      [journal, ONE],
    ] as const) {
      for (let at = 72; at < 75; at++) {
        if (/=.?$/.test(text.slice(0, at))) continue;
        const broken = `${text.slice(0, at)}=\n${text.slice(at)}`;
        assert.deepEqual(faultsOf(broken), faults, broken);
      }
    }
  });

  test("a message that was wrapped behind its own = is no quoted-printable", () => {
    const text = "AMD-Vi: IO_PAGE_FAULT: domain = 0, device id = 0x1bbb, fault address =\n0x1d908000, flags = 0x0";
    assert.deepEqual(faultsOf(text), ["1d908000 undefined -"]);
  });

  test("a dump of registers that was wrapped behind its = is no quoted-printable either", () => {
    const text =
      "0x000000000277BBFA |   249.707690:   arm-smmu 15000000.iommu: FSR    = 00000402 [Format=2 TF], SID=0x10f";
    assert.deepEqual(said(text.replace("= ", "=\n")), said(text));
  });

  test("words that Markdown escaped", () => {
    assert.deepEqual(
      said("[    1.000000] vtd\\_ce\\_not\\_present Context entry bus 16 devfn 252 not present").length,
      1,
    );
  });

  test("a second message that keeps its prefix in the line of the first", () => {
    const second = FAULT.replace("3e0", "4e0").replace("12.345670", "13.500000");
    for (const prefix of [
      "",
      "Jul 28 16:14:53 host kernel: ",
      "2024-02-06T04:26:01.376941Z host kernel: ",
      "(XEN) ",
      "<3>",
    ]) {
      const text = `${prefix}[   12.000000] pcieport 0000:2b:0b.5: pciehp: Slot(1): Link Down> ${prefix}${second}`;
      assert.deepEqual(faultsOf(text), ["1032db4e0 300 13.5"], text);
      assert.equal(factsOf(text).length, 2, text);
    }
  });

  test("a quoted copy of a log of differences is a copy", () => {
    const text = `[  +0.001779] ${FAULT.slice(15)}\n[  +0.002000] ${FAULT.slice(15).replace("3e0", "4e0")}`;
    assert.equal(faultsOf(`${text}\n\n${text.replace(/^/gm, "> ")}`).length, 2);
  });

  test("differences behind colours and tags", () => {
    assert.deepEqual(faultsOf(`<p>[  +0.001779] ${MESSAGE}<br>`), ["1032db3e0 300 0.001779"]);
    assert.deepEqual(faultsOf(`\u001b[32m[  +0.001779] \u001b[0m${MESSAGE}`), ["1032db3e0 300 0.001779"]);
  });

  test("a copy that is quoted deeper does not go on with the first", () => {
    const word = "arm-smmu-v3 490d0000.iommu:      0x0000001100000010";
    assert.deepEqual(said(`${word}\n\n> ${word}`), said(word));
  });

  test("Rockchip's dump of entries is no word of an SMMU's event", () => {
    const text =
      "rk_iommu fdfe0800.iommu: Page fault at 0x0000000021413000 of type write\nrk_iommu fdfe0800.iommu: mmu_dte_addr: 0x000000010189a000 dte@0x000000010189aff8: 0x1722101 valid: 1 pte@0x0000000101722004: 0x2c01107 valid: 1 page@0x0000000102c01000 flags: 0x106";
    const before = "arm-smmu-v3 arm-smmu-v3.1.auto: CMDQ error (cons 0x0300001e): ATC invalidate timeout";
    assert.deepEqual(said(`${before}\n${text}`).slice(1), said(text));
  });
});
