/** The grammar for completions, read from the definitions of verbs and options. */
import type { Argument, Command, Option } from "./vendor.ts";

/** Known completions of an argument or a value. */
export interface Values {
  readonly words: readonly string[];
  /** Several of the words, with commas between them. */
  readonly isList: boolean;
  readonly areFiles: boolean;
}

export interface GrammarOption {
  /** As typed: `-p`, `--platform`. */
  readonly short: string | undefined;
  readonly long: string;
  readonly summary: string;
  /** Undefined: the option takes no value. */
  readonly values: Values | undefined;
  /** True if the value may be left out. */
  readonly isValueOptional: boolean;
}

export interface GrammarVerb {
  readonly name: string;
  readonly summary: string;
  readonly options: readonly GrammarOption[];
  /** Words and files of all of the verb's arguments. */
  readonly values: Values;
}

export interface Grammar {
  /** Options that stand before a verb. */
  readonly options: readonly GrammarOption[];
  readonly verbs: readonly GrammarVerb[];
}

/** Names that the manuals give to values and arguments that are files. */
const FILES = /\b(FILE|TRACE|FOLDER)\b/;

export function grammarOf(program: Command): Grammar {
  return {
    options: optionsOf(program),
    verbs: program.commands.map((verb) => ({
      name: verb.name(),
      summary: verb.summary() || verb.description(),
      options: optionsOf(verb),
      values: argumentValues(verb, program),
    })),
  };
}

function optionsOf(command: Command): GrammarOption[] {
  return command
    .createHelp()
    .visibleOptions(command)
    .map((option) => ({
      short: option.short,
      long: option.long ?? option.name(),
      summary: option.description,
      values: option.required || option.optional ? valuesOf(option, option.flags) : undefined,
      isValueOptional: option.optional,
    }));
}

function argumentValues(verb: Command, program: Command): Values {
  const all = verb.registeredArguments.map((argument) => valuesOf(argument, argument.name()));
  // `iova help VERB`
  const verbs = verb.name() === "help" ? program.commands.map((command) => command.name()) : [];
  return {
    words: [...verbs, ...all.flatMap(({ words }) => words)],
    isList: false,
    areFiles: all.some(({ areFiles }) => areFiles),
  };
}

/** Readers of words carry these (options.ts). */
function valuesOf(place: Option | Argument, name: string): Values {
  const reader = place.parseArg as { readonly words?: readonly string[]; readonly isList?: boolean } | undefined;
  return { words: reader?.words ?? [], isList: reader?.isList ?? false, areFiles: FILES.test(name) };
}
