/** The completion script for zsh: a file for a folder of fpath, or to be sourced after compinit. */
import type { Grammar, GrammarOption, GrammarVerb, Values } from "./completion-grammar.ts";

/** The text of a function `_iova` that calls zsh's `_arguments`. */
export function zshScript({ options, verbs }: Grammar): string {
  return `#compdef iova
# zsh completion of iova: source <(iova completion zsh), or a file _iova in a folder of fpath
_iova() {
  local curcontext="$curcontext" state line
  typeset -A opt_args
  _arguments -C ${options.map(optionSpec).join(" ")} '1: :->verb' '*:: :->rest'
  case $state in
    verb)
      local -a verbs
      verbs=(${verbs.map(({ name, summary }) => quoted(`${name}:${summary}`)).join(" ")})
      _describe verb verbs ;;
    rest)
      case $words[1] in
${verbs.map(verbCase).join("\n")}
      esac ;;
  esac
}
if [ "\${funcstack[1]}" = _iova ]; then _iova "$@"; else compdef _iova iova; fi
`;
}

function verbCase({ name, options, values }: GrammarVerb): string {
  const operands = values.words.length > 0 || values.areFiles ? [quoted(`*: :${actionFor(values)}`)] : [];
  const specs = [...options.map(optionSpec), ...operands];
  return `        ${name}) _arguments ${specs.join(" \\\n          ")} ;;`;
}

/** `'(-p --platform)'{-p,--platform=}'[summary]:value:(words)'`: the option in both its forms, each once. */
function optionSpec({ short, long, summary, values, isValueOptional }: GrammarOption): string {
  const described = `[${summary.replace(/[[\]\\:]/g, "\\$&")}]`;
  const value = values === undefined ? "" : `${isValueOptional ? "::" : ":"}value:${actionFor(values)}`;
  const longForm = values === undefined ? long : `${long}=`;
  if (short === undefined) return quoted(`${longForm}${described}${value}`);
  return `${quoted(`(${short} ${long})`)}{${short},${longForm}}${quoted(`${described}${value}`)}`;
}

function actionFor({ words, isList, areFiles }: Values): string {
  if (isList) return `_values -s , word ${words.join(" ")}`;
  if (words.length > 0 && areFiles) return `{ compadd ${words.join(" ")}; _files }`;
  if (words.length > 0) return `(${words.join(" ")})`;
  return areFiles ? "_files" : " ";
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
