/** Text in columns and lines: tables, the first column left, the others right, and paragraphs broken at blanks. */
import { append, largest } from "../units/lists.ts";

/** Lines of equal columns. `gap` blanks stand between columns. Cells may be empty. */
function aligned(rows: readonly (readonly string[])[], gap = 2): string[] {
  const widths = (rows[0] ?? []).map((_, column) => largest(rows.map((row) => (row[column] ?? "").length)));
  return rows.map((row) =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)))
      .join(" ".repeat(gap))
      .trimEnd(),
  );
}

/** Breaks a text at blanks so that no line is longer than `width`; following lines are indented by `indent`. */
export function wrapped(text: string, width: number, indent = ""): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line);
      line = indent + word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line];
}

/**
 * A manual, its paragraphs filled to the width. Lines that follow one another are one paragraph. A line that begins with two blanks (a command,
 * an entry of a list) or ends with a colon (a heading) stays a line of its own.
 */
export function reflowed(manual: string, width: number): string {
  const lines: string[] = [];
  let paragraph: string[] = [];
  const endParagraph = (): void => {
    if (paragraph.length > 0) append(lines, wrapped(paragraph.join(" "), width));
    paragraph = [];
  };
  for (const line of manual.split("\n")) {
    const isAlone = line === "" || line.startsWith("  ") || line.endsWith(":");
    if (isAlone) endParagraph();
    if (line.startsWith("  "))
      append(
        lines,
        wrapped(line.trim(), width - 2, "    ").map((part) => `  ${part}`),
      );
    else if (isAlone) lines.push(line);
    else paragraph.push(line);
  }
  endParagraph();
  return lines.join("\n");
}

/** A table that fits, and which columns had to go for that, by their place. */
export interface FittedTable {
  readonly lines: readonly string[];
  readonly dropped: readonly number[];
}

/** Lines of at most `width` columns if that can be: columns stand closer together first, then those of `leastFirst` go, in that order. */
export function fitted(
  rows: readonly (readonly string[])[],
  width: number,
  leastFirst: readonly number[] = [],
): FittedTable {
  for (let count = 0; ; count++) {
    const dropped = leastFirst.slice(0, count);
    const kept = rows.map((row) => row.filter((_, column) => !dropped.includes(column)));
    for (const gap of [2, 1]) {
      const lines = aligned(kept, gap);
      const isLast = count === leastFirst.length && gap === 1;
      if (isLast || lines.every((line) => line.length <= width)) return { lines, dropped };
    }
  }
}
