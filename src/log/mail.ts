/**
 * The parts of a raw mail around a log (RFC 5322, RFC 2045): headers are no messages, even when a Subject holds the text of one; a body may be
 * encoded as base64 or quoted-printable.
 */

/** Parts of every runtime (WHATWG HTML and Encoding); the library is compiled without the types of any of them. */
declare function atob(text: string): string;
declare class TextDecoder {
  decode(bytes?: Uint8Array, options?: { readonly stream: boolean }): string;
}

const HEADER = /^(?:subject|thread-topic|references|in-reply-to|content-[a-z-]{2,30}|x-[a-z-]{2,40}):/i;
const ENCODING = /^content-transfer-encoding:\s*(base64|quoted-printable|7bit|8bit|binary)/i;
export const SUBJECT: RegExp = /^subject:/i;
/** A Subject of more lines is cut. */
const MOST_FOLDED = 8;
const CONTINUED = /^[ \t]+\S/;
const BASE64 = /^[A-Za-z0-9+/]{1,1000}={0,2}$/;

export class Mail {
  #encoding: "plain" | "base64" | "quoted-printable" = "plain";
  #isHeader = false;
  /** Lines of the Subject that is being read. */
  readonly #subject: string[] = [];
  /** Lines of one that the latest line has ended. */
  #ended: readonly string[] = [];
  /** The body of a part in base64 has begun. */
  #isBody = false;
  #decoder = new TextDecoder();
  /** Decoded text of which no line feed has been seen yet. */
  #carry = "";

  /** True if each line must be given to `read`. */
  get isOpen(): boolean {
    return this.#isHeader || this.#encoding === "base64";
  }

  get isQuotedPrintable(): boolean {
    return this.#encoding === "quoted-printable";
  }

  /** The lines of text that a line of the mail ends; undefined when it stands for itself. */
  read(raw: string): readonly string[] | undefined {
    const line = raw.endsWith("\r") ? raw.slice(0, -1) : raw;
    if (this.#isBody) {
      if (line !== "" && BASE64.test(line)) return this.#decode(line);
      return this.#endBody(line);
    }
    if (this.#subject.length > 0 && CONTINUED.test(line)) {
      if (this.#subject.length < MOST_FOLDED) this.#subject.push(line);
      return [];
    }
    this.#ended = this.#subject.splice(0);
    if (HEADER.test(line)) {
      const encoding = ENCODING.exec(line)?.[1]?.toLowerCase();
      if (encoding !== undefined)
        this.#encoding = encoding === "base64" || encoding === "quoted-printable" ? encoding : "plain";
      this.#isHeader = true;
      if (SUBJECT.test(line)) this.#subject.push(line);
      return [];
    }
    if (this.#isHeader && CONTINUED.test(line)) return [];
    this.#isHeader = false;
    if (line === "" && this.#encoding === "base64") this.#isBody = true;
    return undefined;
  }

  /** The Subject that ended before the latest line, unfolded, and its lines; given once. */
  takeSubject(): { readonly text: string; readonly lines: number } | undefined {
    const ended = this.#ended;
    this.#ended = [];
    return ended.length === 0 ? undefined : { text: ended.join("").replace(SUBJECT, ""), lines: ended.length };
  }

  #decode(line: string): readonly string[] {
    // Padding that does not fit the length is an error of atob's; without any, only one character too many is.
    const bare = line.replace(/=+$/, "");
    const whole = bare.length % 4 === 1 ? bare.slice(0, -1) : bare;
    const bytes = Uint8Array.from(atob(whole), (one) => one.charCodeAt(0));
    const lines = (this.#carry + this.#decoder.decode(bytes, { stream: true })).split("\n");
    this.#carry = (lines.pop() ?? "").slice(0, MOST_CARRIED);
    return lines;
  }

  /** The line ends the part; what was decoded of its last line comes before it. */
  #endBody(line: string): readonly string[] | undefined {
    if (line === "") return [];
    const rest = this.#carry;
    this.#isBody = false;
    this.#encoding = "plain";
    this.#carry = "";
    this.#decoder = new TextDecoder();
    return rest === "" ? undefined : [rest, line];
  }

  /** Ends the reading: what is left of a part. */
  finish(): readonly string[] {
    const rest = this.#carry;
    this.#carry = "";
    this.#ended = this.#subject.splice(0);
    return rest === "" ? [] : [rest];
  }
}

/** A longer line is cut. */
const MOST_CARRIED = 65_536;
