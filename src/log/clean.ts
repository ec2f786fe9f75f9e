/**
 * Takes off a line what mail programs, forums, terminals and web pages put round it: quote marks, colours, entities, escapes.
 * What is left is the line as the kernel or the log daemon wrote it.
 */

export interface CleanLine {
  /** Without quote marks and markup; blanks at its end taken off, those at its beginning kept. */
  readonly text: string;
  /** How many quote marks stood before it. */
  readonly depth: number;
}

/** Colours and cursor movements of terminals (ECMA-48 control sequences). */
// biome-ignore lint/suspicious/noControlCharactersInRegex: a control sequence begins with the character ESC
const CONTROL_SEQUENCE = /\u001b\[[0-9;?]*[ -/]*[@-~]/g;
/** The same with the ESC lost, as web pages show it; only the colours, since `[0m` could else be text. */
const LOST_ESCAPE = /\[\d{1,3}(?:;\d{1,3})*m(?=\S|$)/g;
const QUOTE_MARK = /^[ \t]{0,12}[>|][ \t]?/;
const ENTITIES: Readonly<Record<string, string>> = {
  "&gt;": ">",
  "&lt;": "<",
  "&amp;": "&",
  "&quot;": '"',
  "&#39;": "'",
  "&apos;": "'",
  "&nbsp;": " ",
  "&#x27;": "'",
};
const ENTITY = /&(?:gt|lt|amp|quot|apos|nbsp|#39|#x27);/g;
const TAG = /<\/?(?:br|p|pre|code|div|span|tt|b|i|em|strong|blockquote|td|tr|li|a)(?:\s[^<>]*)?\/?>/gi;
/** Markdown escapes a mark that would else format: `IO\_PAGE\_FAULT`, `\[DMA Read\]`. */
const ESCAPED_MARK = /\\+([_[\]*#<>()`-])/g;
/** Blanks are encoded at the end of a line only (RFC 2045, 6.7); elsewhere `=20` begins a number, as in `size=2097152`. */
const QUOTED_PRINTABLE = /=(3D|5B|5D|5F|C2=A0|(?:20|09)$)/g;

/** Cleans one line, given without its line feed. */
export function cleanLine(raw: string): CleanLine {
  let text = raw;
  if (text.includes("\u001b")) text = text.replace(CONTROL_SEQUENCE, "");
  else if (text.includes("[") && LOST_ESCAPE.test(text)) text = text.replace(LOST_ESCAPE, "");
  if (text.includes("&")) text = text.replace(ENTITY, (entity) => ENTITIES[entity] ?? entity);
  if (text.includes("=")) text = text.replace(QUOTED_PRINTABLE, (_, code: string) => byteOf(code));
  let depth = 0;
  for (let mark = QUOTE_MARK.exec(text); mark !== null; mark = QUOTE_MARK.exec(text)) {
    text = text.slice(mark[0].length);
    depth++;
  }
  if (text.includes("<")) text = text.replace(TAG, "");
  if (text.includes("\\")) text = text.replace(ESCAPED_MARK, "$1");
  if (text.includes("\u00a0")) text = text.replaceAll("\u00a0", " ");
  return { text: text.trimEnd(), depth };
}

function byteOf(code: string): string {
  return code === "C2=A0" ? " " : String.fromCharCode(Number.parseInt(code, 16));
}
