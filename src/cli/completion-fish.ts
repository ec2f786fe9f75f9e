/** The completion script for fish, 3.0 or later. */
import type { Grammar, GrammarOption, GrammarVerb, Values } from "./completion-grammar.ts";

/** A `complete` line for each verb and option. */
export function fishScript({ options, verbs }: Grammar): string {
  const lines = [
    "# fish completion of iova: iova completion fish | source",
    // Where nothing else is said, no files.
    "complete -c iova -f",
    ...options.map((option) => optionLine("__fish_use_subcommand", option)),
    ...verbs.flatMap(verbLines),
  ];
  return `${lines.join("\n")}\n`;
}

function verbLines({ name, summary, options, values }: GrammarVerb): string[] {
  const inVerb = `__fish_seen_subcommand_from ${name}`;
  const operands = [
    ...(values.words.length > 0 ? [`complete -c iova -n ${quoted(inVerb)} -a ${quoted(values.words.join(" "))}`] : []),
    ...(values.areFiles ? [`complete -c iova -n ${quoted(inVerb)} -F`] : []),
  ];
  return [
    `complete -c iova -n __fish_use_subcommand -a ${name} -d ${quoted(summary)}`,
    ...operands,
    ...options.map((option) => optionLine(inVerb, option)),
  ];
}

function optionLine(condition: string, { short, long, summary, values, isValueOptional }: GrammarOption): string {
  const names = `${short === undefined ? "" : `-s ${short.slice(1)} `}-l ${long.slice(2)}`;
  const value = values === undefined ? "" : flagsOf(values, isValueOptional);
  return `complete -c iova -n ${quoted(condition)} ${names}${value} -d ${quoted(summary)}`;
}

/** -r: a value follows; -x: a value follows, and it is no file. */
function flagsOf({ words, areFiles }: Values, isValueOptional: boolean): string {
  if (areFiles) return isValueOptional ? " -F" : " -r -F";
  return `${isValueOptional ? "" : " -x"}${words.length > 0 ? ` -a ${quoted(words.join(" "))}` : ""}`;
}

function quoted(text: string): string {
  return `'${text.replace(/['\\]/g, "\\$&")}'`;
}
