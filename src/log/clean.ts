/**
 * Takes off a line what mail programs, forums, terminals and web pages put round it: quote marks, colours, entities, escapes.
 * The result is the line that the kernel or the log daemon wrote.
 */

/** Part of every runtime (WHATWG Encoding); the library is compiled without the types of any of them. */
declare class TextDecoder {
  decode(bytes?: Uint8Array): string;
}

export interface CleanLine {
  /** Without quote marks and markup; blanks at its end taken off, those at its beginning kept. */
  readonly text: string;
  /** Number of quote marks before it. */
  readonly depth: number;
}

/** Colours and cursor movements of terminals (ECMA-48 control sequences). */
// biome-ignore lint/suspicious/noControlCharactersInRegex: a control sequence begins with the character ESC
const CONTROL_SEQUENCE = /\u001b\[[0-9;?]*[ -/]*[@-~]/g;
/** The same with the ESC lost, as web pages show it; only the colours, since `[0m` could else be text. */
const LOST_ESCAPE = /\[\d{1,3}(?:;\d{1,3})*m(?=\S|$)/g;
const QUOTE_MARK = /^[ \t]{0,12}[>|][ \t]?/;
const QUOTE_MARKS = /^(?:[ \t]{0,12}[>|][ \t]?)+/;
const ENTITIES: Readonly<Record<string, string>> = { gt: ">", lt: "<", amp: "&", quot: '"', apos: "'", nbsp: " " };
const ENTITY = /&(?:#(\d{1,5})|#x([0-9a-f]{1,4})|(gt|lt|amp|quot|apos|nbsp));/gi;
const TAG =
  /<\/?(?:br|p|pre|code|div|span|font|tt|b|i|u|em|strong|mark|wbr|hr|h[1-6]|blockquote|table|tbody|thead|td|th|tr|ul|ol|li|a|html|head|body|title)(?:\s[^<>]{0,500})?\/?>/gi;
/** Markdown escapes a mark that would else format: `IO\_PAGE\_FAULT`, `\[DMA Read\]`. */
const ESCAPED_MARK = /\\+([_[\]*#<>()`-])/g;
/** A line round a block of code in Markdown. */
const FENCE = /^\s{0,3}```\w*\s*$/;
/** Blanks are encoded at the end of a line only (RFC 2045, 6.7); elsewhere `=20` begins a number, as in `size=2097152`. */
const QUOTED_PRINTABLE = /=(3D|5B|5D|5F|C2=A0|(?:20|09)$)/g;
/** The same in a text that is known to be encoded: each byte. */
const EACH_BYTE = /=[0-9A-F]{2}(?:=[0-9A-F]{2})*/g;

function withoutControlSequences(raw: string): string {
  return raw.includes("\u001b") ? raw.replace(CONTROL_SEQUENCE, "") : raw;
}

/** The line as a terminal showed it, with as many columns: without colours, entities, escapes and quote marks. */
export function shownLine(raw: string): string {
  let text = withoutControlSequences(raw);
  if (text.includes("&")) text = text.replace(ENTITY, ofEntity);
  if (text.includes("\\")) text = text.replace(ESCAPED_MARK, "$1");
  if (text.includes("=")) text = text.replace(QUOTED_PRINTABLE, (_, code: string) => byteOf(code));
  if (text.includes("<")) text = text.replace(TAG, "");
  return text.replace(QUOTE_MARKS, "").replace(/\r$/, "");
}

/**
 * Cleans one line, given without its line feed.
 * @param isQuotedPrintable - the headers say that the text is encoded so
 */
export function cleanLine(raw: string, isQuotedPrintable = false): CleanLine {
  let text = withoutControlSequences(raw);
  if (!raw.includes("\u001b") && text.includes("[") && LOST_ESCAPE.test(text)) text = text.replace(LOST_ESCAPE, "");
  if (text.includes("&")) text = text.replace(ENTITY, ofEntity);
  if (text.includes("="))
    text = isQuotedPrintable
      ? text.replace(EACH_BYTE, bytesOf)
      : text.replace(QUOTED_PRINTABLE, (_, code: string) => byteOf(code));
  if (text.includes("<")) text = text.replace(TAG, "");
  let depth = 0;
  for (let mark = QUOTE_MARK.exec(text); mark !== null; mark = QUOTE_MARK.exec(text)) {
    text = text.slice(mark[0].length);
    depth++;
  }
  if (text.includes("\\")) text = text.replace(ESCAPED_MARK, "$1");
  if (text.includes("\u00a0")) text = text.replaceAll("\u00a0", " ");
  return { text: FENCE.test(text) ? "" : text.trimEnd(), depth };
}

function ofEntity(entity: string, decimal?: string, hexadecimal?: string, name?: string): string {
  if (name !== undefined) return ENTITIES[name.toLowerCase()] ?? entity;
  const code = decimal === undefined ? Number.parseInt(hexadecimal ?? "", 16) : Number(decimal);
  return code >= 0x20 && code < 0xd800 ? String.fromCharCode(code) : " ";
}

function bytesOf(codes: string): string {
  const bytes = codes.split("=").slice(1);
  return new TextDecoder().decode(Uint8Array.from(bytes, (code) => Number.parseInt(code, 16)));
}

function byteOf(code: string): string {
  return code === "C2=A0" ? " " : String.fromCharCode(Number.parseInt(code, 16));
}
