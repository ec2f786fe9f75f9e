/**
 * Compares the output that a document shows with the printed output. A line `…` stands for one line or more that are left out, and `…` in a
 * line for a part of it. In measured output a number, with its unit, counts as `#`, and blanks as one; a line that begins with blanks
 * goes on with the one before it, since the widths of numbers decide where a line is broken.
 */

/** Returns the first difference; undefined if the output is as shown. */
export function differenceOf(shown: string, printed: string, isMeasured: boolean): string | undefined {
  const lines = (isMeasured ? normalized(shown) : shown).split("\n").slice(0, -1);
  const found = isMeasured ? normalized(printed) : printed;
  const patterns = lines.map(patternOf);
  if (new RegExp(`^${patterns.join("")}$`).test(found)) return undefined;
  const at = lines.findIndex((_, index) => !new RegExp(`^${patterns.slice(0, index + 1).join("")}`).test(found));
  const what = at < 0 ? "more is printed than is shown" : `not printed at its place: ${lines[at]}`;
  return `${what}\nprinted was:\n${printed}`;
}

function patternOf(line: string): string {
  if (line === "…") return "(?:.*\\n)+?";
  return `${line.replace(/[.*+?^${}()|[\]\\]/g, "\\$&").replaceAll("…", ".*")}\\n`;
}

/** A number, with its multiplier and unit. Words that have a digit in them (`0x10`, `x86`, `nvme0`) are not numbers. */
const NUMBER =
  /(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?(?: ?(?:%|[kMGT]?(?:ns|µs|ms|s|min|[KMGT]iB|[kM][bB]|bytes)\b)|[kMGT]\b)?(?!\w|\.\d)/g;

function normalized(text: string): string {
  return text.replace(NUMBER, "#").replace(/\n? +/g, " ");
}
