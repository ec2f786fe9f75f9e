/** Damages to a log between the machine and the reader's input: by mail programs, terminals, web pages, people who cut and paste. */
import { pick, type Random } from "./random.model.ts";

/** A line of the text on its way. */
export interface Line {
  /** The log daemon's prefix of the message; empty for the rest of a line that was broken. */
  readonly prefix: string;
  readonly text: string;
  /** Numbers of the messages that the line holds, or holds a piece of. */
  readonly messages: readonly number[];
}

export interface Damage {
  readonly name: string;
  /** Damages of one group exclude each other: a text is encoded once. */
  readonly group: string;
  readonly apply: (lines: readonly Line[], random: Random) => Line[];
}

const whole = ({ prefix, text }: Line): string => prefix + text;
const other = (text: string): Line => ({ prefix: "", text, messages: [] });

/** Each line through `change`, its prefix taken as text. */
function each(lines: readonly Line[], change: (text: string) => string): Line[] {
  return lines.map((line) => ({ ...line, prefix: "", text: change(whole(line)) }));
}

/** Breaks each line into pieces, each of which holds the same messages. */
function broken(lines: readonly Line[], pieces: (text: string, prefix: number) => readonly string[]): Line[] {
  return lines.flatMap((line) =>
    pieces(whole(line), line.prefix.length).map((text, at) =>
      at === 0 && text.startsWith(line.prefix)
        ? { ...line, text: text.slice(line.prefix.length) }
        : { ...line, prefix: "", text },
    ),
  );
}

/** Breaks a line at its last blank before the column, as mail programs do, but not in or right behind its prefix; the blank goes. */
function wrapped(line: string, column: number, prefix = 20): string[] {
  if (line.length <= column) return [line];
  const at = line.lastIndexOf(" ", column);
  return at <= prefix ? [line] : [line.slice(0, at), ...wrapped(line.slice(at + 1), column)];
}

/** Breaks a line at the terminal's edge, wherever that is. */
function cut(line: string, columns: number): string[] {
  return line.length <= columns ? [line] : [line.slice(0, columns), ...cut(line.slice(columns), columns)];
}

/** Quoted-printable (RFC 2045, 6.7): lines of at most 76 characters, the "=" at their end among them. */
function encoded(line: string): string[] {
  const lines = [""];
  const bytes = line.replaceAll("=", "=3D").replace(/[ \t]$/, (blank) => (blank === " " ? "=20" : "=09"));
  for (const [character] of bytes.matchAll(/=[0-9A-F]{2}|[\s\S]/g)) {
    const last = lines.at(-1) ?? "";
    if (last.length + character.length > 75) lines.push(character);
    else lines[lines.length - 1] = last + character;
  }
  return lines.map((piece, at) => (at === lines.length - 1 ? piece : `${piece}=`));
}

const ENTITIES: Readonly<Record<string, string>> = { "<": "&lt;", ">": "&gt;", "&": "&amp;", '"': "&quot;" };
const escaped = (text: string): string => text.replace(/[<>&"]/g, (mark) => ENTITIES[mark] ?? mark);

/** Each ends in a blank: behind `>` alone the blank of a message that was cut before it could be one of the mark. */
const MARKS = ["> ", ">> ", ">>> ", "> > ", "| ", "> | "] as const;
/** Mail programs wrap at these columns, editors and forums at wider ones. */
const MAIL_COLUMNS = [70, 72, 74, 76, 78, 79] as const;
const PAGE_COLUMNS = [...MAIL_COLUMNS, 90, 100, 120] as const;
const TERMINAL_COLUMNS = [80] as const;

function quoted(lines: readonly Line[], mark: string): Line[] {
  return lines.map((line) => ({ ...line, prefix: mark + line.prefix }));
}

/** In the order in which they happen to a text. */
export const DAMAGES: readonly Damage[] = [
  {
    name: "cut at a terminal's edge",
    group: "broken",
    apply: (lines, random) => {
      const columns = pick(TERMINAL_COLUMNS, random);
      return broken(lines, (line) => cut(line, columns));
    },
  },
  {
    name: "wrapped",
    group: "broken",
    apply: (lines, random) => {
      const column = pick(PAGE_COLUMNS, random);
      return broken(lines, (line, prefix) => wrapped(line, column, prefix));
    },
  },
  {
    name: "coloured",
    group: "coloured",
    apply: (lines) =>
      lines.map(({ prefix, text, messages }) => ({
        prefix: prefix === "" ? "" : `\u001b[32m${prefix}\u001b[0m`,
        text: `\u001b[1;31m${text}\u001b[0m`,
        messages,
      })),
  },
  { name: "quoted", group: "quoted", apply: (lines, random) => quoted(lines, pick(MARKS, random)) },
  {
    name: "quoted, then wrapped without marks",
    group: "broken",
    apply: (lines, random) => {
      const column = pick(MAIL_COLUMNS, random);
      return broken(quoted(lines, "> "), (line, prefix) => wrapped(line, column, prefix));
    },
  },
  {
    name: "quoted again below",
    group: "again",
    apply: (lines, random) => [
      ...lines,
      ...["", "Ann wrote:", ""].map(other),
      ...quoted(lines, pick([">> ", "> > ", ">>> "], random)),
      other(""),
    ],
  },
  {
    name: "quoted twice below",
    group: "again",
    apply: (lines) => [
      ...lines,
      ...["", "Ann wrote:", ""].map(other),
      ...quoted(lines, ">> "),
      ...["> Ben wrote:", ">"].map(other),
      ...quoted(lines, ">>> "),
    ],
  },
  {
    name: "Markdown fence",
    group: "markup",
    apply: (lines) => [other("The log:"), other("```"), ...lines, other("```")],
  },
  {
    // An escaped colour is not a colour any more, so this excludes them.
    name: "Markdown escapes",
    group: "coloured",
    apply: (lines) => each(lines, (text) => text.replace(/[_[\]*#]/g, "\\$&")),
  },
  { name: "entities", group: "markup", apply: (lines) => each(lines, escaped) },
  {
    name: "page of <br>",
    group: "markup",
    apply: (lines) => [other("<p>"), ...each(lines, (text) => `${escaped(text)}<br>`), other("</p>")],
  },
  {
    name: "page of one line",
    group: "markup",
    apply: (lines) => [
      {
        prefix: "",
        text: `<p>${lines.map((line) => escaped(whole(line))).join("<br/>")}</p>`,
        messages: lines.flatMap(({ messages }) => messages),
      },
    ],
  },
  { name: "quoted-printable", group: "encoded", apply: (lines) => broken(lines, encoded) },
  {
    name: "quoted-printable with a header",
    group: "encoded",
    apply: (lines) => [
      other("Subject: a fault"),
      other("Content-Transfer-Encoding: quoted-printable"),
      other(""),
      ...broken(lines, encoded),
    ],
  },
  { name: "CRLF", group: "ends", apply: (lines) => each(lines, (text) => `${text}\r`) },
];
