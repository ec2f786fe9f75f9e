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

/** Phrases that are refused in `REVISED`. */
const REFUSED_IN_REVISED: typeof REFUSED = [
  [/\/(?:\*\*|\/) +What\b(?![^.]*\?)/g, "use a noun: begin with the field's noun, not with a relative clause"],
  [/\/(?:\*\*|\/) +Of (?!course\b)/g, "use a noun: begin with the thing, not with its owner"],
  [/\/\*\* +One (?:that|of|which)\b/g, "name the thing"],
  [/\/\*\* +(?:Is|Are|Do|Does|Has|Have|May|Can|Did|Was|Were|Must|Should)\b[^.*]*\?/g, 'say "True if …"'],
  [/\b(?:is|are|was|were|be|been) +told\b(?! +apart)/g, "use the field's verb: reported, recorded, detected"],
  [/\bfor +whom?\b/g, "name the actor"],
  [/\bso +many\b/g, "say the number: its name, or this number of"],
  [/\b(?:knows?|speaks?) +of\b/g, "use the field's verb: has, records, describes"],
  [/\bbut +for\b/g, "say except, or without"],
  [/\banew\b/g, "say again, or new"],
  [/\bcomes? +to +the +same\b/g, "say are equal"],
  [/\bthe +like\b/g, "name them"],
  [/\bfor +want +of\b/g, "say because, and what failed or is missing"],
];

/** Folders whose comments, messages and test names were revised by docs/style.md; the phrases above must not come back there. */
const REVISED =
  /^(?:src\/(?:log|explain|trace|statistics|capture|cli|replay)|explorer|bench|examples|scripts(?!\/tidy))\//;

/** Uses of these phrases in the sources, tests and scripts included, also where a line ends inside of one. */
export function plainWords(tree: Tree): Finding[] {
  const findings: Finding[] = [];
  for (const [path, source] of tree) {
    if (!/^(src|explorer|bench|examples|scripts(?!\/tidy))\//.test(path)) continue;
    const refused = REVISED.test(path) ? [...REFUSED, ...REFUSED_IN_REVISED] : REFUSED;
    // A comment that goes on in the next line: its mark becomes blanks, so that positions stay.
    const text = source.replace(/\n[ \t]*(?:\*|\/\/)(?= )/g, (mark) => " ".repeat(mark.length));
    for (const [phrase, instead] of refused) {
      for (const { 0: found, index } of text.matchAll(phrase)) {
        const line = source.slice(0, index).split("\n").length;
        findings.push({ path, line, message: `"${found.replace(/ +/g, " ")}": ${instead}` });
      }
    }
  }
  return findings;
}
