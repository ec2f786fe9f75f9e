/**
 * Tells source code from what a program printed: patches, C strings and comments may hold the text of a message that nothing has printed.
 * Decided line by line, since a mail may hold a patch and a log.
 */

/** Functions that print, at the beginning of a line. */
const CALL =
  /^\s{0,60}(?:[+-]\s{0,60})?(?:pr_\w+|printk\w*|dev_\w+|drm_\w+|net_\w+|WARN\w*|error_report\w*|f?printf|RTE_LOG|TP_printk|trace_printk)\s?\(/;
/** `%s`, `%#llx`, `%pad`: what printf puts values into. */
const CONVERSION = /%[-#0+]{0,3}\d{0,3}(?:\.\d{1,3})?(?:hh?|ll?|[zjt])?(?:[dioxXsu]|p[a-zA-Z]{0,3})\b/;
const STRING_END = /\\n"/;
/** A line that is nothing but a string, of an initialiser or of an argument. */
const STRING_LINE = /^\s{0,60}(?:[+-]\s{0,60})?"[^"]*"\s?[,;)]+$/;
const COMMENT = /^\s{0,60}(?:[+-]\s{0,60})?(?:\/\*|\/\/)|^\s{1,60}\*\s|^[+-]\s{1,60}\*\s/;
/** Added or removed lines of code are indented by tabs. */
const CHANGED_LINE = /^[+-]\t/;
/** Programs print time stamps, code has none. */
const TIME_STAMP = /\[\s*\d{1,9}\.\d{3,9}\]/;
/** Messages that were run together make longer lines than code has. */
const MOST_COLUMNS = 1024;

/** True if a line without a prefix is source code. */
export function isSourceCode(text: string): boolean {
  if (text.length > MOST_COLUMNS || TIME_STAMP.test(text)) return false;
  if (text.includes("%") && CONVERSION.test(text)) return true;
  if (text.includes('"') && (STRING_END.test(text) || STRING_LINE.test(text))) return true;
  return CALL.test(text) || COMMENT.test(text) || CHANGED_LINE.test(text);
}

/** Follows the hunks of patches: `@@ -1,3 +1,4 @@` says how many lines belong to it. */
export class Hunks {
  #before = 0;
  #after = 0;

  /** True if lines of a hunk are still to come. */
  get isOpen(): boolean {
    return this.#before > 0 || this.#after > 0;
  }

  /** True if the line, without quote marks, is one of a hunk. */
  takes(text: string): boolean {
    const head = text.startsWith("@@ -") ? /^@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@/.exec(text) : null;
    if (head !== null) {
      this.#before = Number(head[1] ?? 1);
      this.#after = Number(head[2] ?? 1);
      return true;
    }
    if (!this.isOpen) return false;
    const sign = text[0];
    // Mail programs take the blank off an empty line.
    if (sign === " " || sign === undefined || sign === "\t") {
      this.#before--;
      this.#after--;
    } else if (sign === "-") this.#before--;
    else if (sign === "+") this.#after--;
    else if (sign !== "\\") this.#before = this.#after = 0;
    else return true;
    return sign === undefined || " \t+-".includes(sign);
  }
}
