/** The completion script for bash, 3.2 or later. */
import type { Grammar, GrammarOption, GrammarVerb, Values } from "./completion-grammar.ts";

/** The text of a function `_iova`, and the line that makes bash call it. */
export function bashScript({ options, verbs }: Grammar): string {
  const words = [...verbs.map(({ name }) => name), ...namesOf(options)].join(" ");
  return `# bash completion of iova: source <(iova completion bash)
_iova_words() { COMPREPLY=($(compgen -W "$1" -- "$word")); }
_iova_list() {
  local head=""
  case "$word" in *,*) head="\${word%,*}," ;; esac
  COMPREPLY=($(compgen -P "$head" -W "$1" -- "\${word##*,}"))
}
# Names of files: by readline itself, which knows about blanks in them; where it can't be asked, by bash.
_iova_files() { compopt -o default 2>/dev/null || COMPREPLY=(\${COMPREPLY[@]+"\${COMPREPLY[@]}"} $(compgen -f -- "$word")); }
_iova() {
  local word="\${COMP_WORDS[COMP_CWORD]}" before="\${COMP_WORDS[COMP_CWORD-1]}" verb="" i
  COMPREPLY=()
  # --platform=sun4u is three words to bash.
  if [ "$word" = "=" ]; then word=""
  elif [ "$before" = "=" ]; then before="\${COMP_WORDS[COMP_CWORD-2]}"; fi
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "\${COMP_WORDS[i]}" in
      -*) ;;
      *) verb="\${COMP_WORDS[i]}"; break ;;
    esac
  done
  case "$verb" in
    "") _iova_words "${words}" ;;
${verbs.map(verbCase).join("\n")}
  esac
}
complete -F _iova iova
`;
}

function verbCase({ name, options, values }: GrammarVerb): string {
  const taking = options.filter((option) => option.values !== undefined);
  const afterOption = taking.map(
    (option) => `        ${namesOf([option]).join("|")}) ${commandFor(option.values as Values)}; return ;;`,
  );
  const own = [
    values.words.length > 0 ? commandFor({ ...values, areFiles: false }) : "",
    values.areFiles ? "_iova_files" : "",
  ];
  const valueCases = afterOption.length === 0 ? "" : `      case "$before" in\n${afterOption.join("\n")}\n      esac\n`;
  return `    ${name})
${valueCases}      case "$word" in
        -*) _iova_words "${namesOf(options).join(" ")}" ;;
        *) ${own.filter((part) => part !== "").join("; ") || ":"} ;;
      esac ;;`;
}

function commandFor({ words, isList, areFiles }: Values): string {
  if (areFiles) return "_iova_files";
  if (words.length === 0) return ":";
  return `${isList ? "_iova_list" : "_iova_words"} "${words.join(" ")}"`;
}

function namesOf(options: readonly GrammarOption[]): string[] {
  return options.flatMap(({ short, long }) => (short === undefined ? [long] : [short, long]));
}
