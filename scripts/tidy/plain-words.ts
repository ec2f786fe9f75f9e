/**
 * Comments, messages and test names are in plain words: the field's noun, a subject, a verb (docs/style.md). The phrases below hide the actor or
 * the thing that a reader looks for. Each comes with a better way to say it.
 */
import type { Finding, Tree } from "./tree.ts";

/** Phrases that are refused, and what a sentence says instead. */
const REFUSED: readonly (readonly [phrase: RegExp, instead: string])[] = [
  // "irq 16: nobody cared" is the kernel's.
  [
    /\b(?:[Ww]hoever|[Nn]obody(?! cared)|[Ss]omebody|[Aa]nybody)\b/g,
    "name the actor: another thread, no other thread, the caller",
  ],
  [/(?<!\bthere +)\b(?:is|are) +none\b/gi, "say what it is not, or that it is missing: is not a handle, is invalid"],
  [/\btold +of\b/gi, "use the field's verb: reported, recorded, known to"],
  [/\bas +it +is(?= ?(?:[.,;:)"`]|$))/gim, "say unchanged, untranslated, or which state is meant"],
  [/\bin +vain\b/gi, "say without success, or what failed"],
  [/\bof +the +same +mind\b/gi, "say what the others want: another thread that frees the range"],
  [/\bwhat +is +not\b/gi, "use a noun: an unmapped address, an unallocated level"],
];

/** Uses of these phrases in the sources of the package, its tests included, also where a line ends inside of one. */
export function plainWords(tree: Tree): Finding[] {
  const findings: Finding[] = [];
  for (const [path, source] of tree) {
    if (!/^(src|explorer|bench|examples)\//.test(path)) continue;
    // A comment that goes on in the next line: its mark becomes blanks, so that positions stay.
    const text = source.replace(/\n[ \t]*(?:\*|\/\/)(?= )/g, (mark) => " ".repeat(mark.length));
    for (const [phrase, instead] of REFUSED) {
      for (const { 0: found, index } of text.matchAll(phrase)) {
        const line = source.slice(0, index).split("\n").length;
        findings.push({ path, line, message: `"${found.replace(/ +/g, " ")}": ${instead}` });
      }
    }
  }
  return findings;
}
