/** Shell commands on a screen: broken where the shell allows a new line, so that they can be copied as they stand. */

/** A line of `Finding.record`: the command, and behind it as a comment of the shell what it decides. */
export function partsOfRecord(line: string): { readonly command: string; readonly decides: string } {
  const [command = "", decides = ""] = line.split(/ {2,}# /);
  return { command, decides };
}

/** The parts of a command between semicolons; semicolons in quotes and in loops do not separate. */
function partsOf(command: string): string[] {
  const parts: string[] = [];
  let part = "";
  let quote = "";
  for (let at = 0; at < command.length; at++) {
    const character = command[at] ?? "";
    if (quote !== "") quote = character === quote ? "" : quote;
    else if (character === "'" || character === '"') quote = character;
    if (character === ";" && quote === "" && !isInLoop(part)) {
      parts.push(part.trim());
      part = "";
    } else part += character;
  }
  return [...parts, part.trim()].filter((one) => one !== "");
}

function isInLoop(text: string): boolean {
  return /\bfor .* in\b/.test(text) && !/\bdone\b/.test(text);
}

/** Lines of at most `width` columns where that can be; a part without a semicolon is never broken. */
export function commandLines(command: string, width: number): string[] {
  const lines: string[] = [];
  for (const part of partsOf(command)) {
    const last = lines.at(-1);
    if (last !== undefined && `${last}; ${part}`.length <= width) lines[lines.length - 1] = `${last}; ${part}`;
    else lines.push(part);
  }
  return lines;
}
