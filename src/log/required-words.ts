/**
 * Finds the words that every match of a pattern contains, so that a search for words can stand before the search for patterns. A word is a row
 * of character sets: `[0-9a-f]:` is a word of two sets.
 */

/** The ASCII characters that may stand at one place. */
export type CharacterSet = ReadonlySet<string>;
export type Word = readonly CharacterSet[];

interface Option {
  /** Every match contains one of these. */
  readonly words: readonly Word[];
  /** Bits of information: the more, the fewer other texts contain it. */
  readonly bits: number;
}

/** Longer words find no fewer texts. */
const MOST_SETS = 14;
const DIGIT_BITS = 1;
/** A set of more characters says too little: it ends a word. */
const MOST_CHARACTERS = 40;
const PRINTABLE: readonly string[] = Array.from({ length: 95 }, (_, at) => String.fromCharCode(32 + at));
const DIGITS: readonly string[] = PRINTABLE.filter((one) => /\d/.test(one));

/** The words of a pattern; undefined when there are none that every match contains. */
export function requiredWords(pattern: RegExp): readonly Word[] | undefined {
  return new Parser(pattern.source, pattern.flags.includes("i")).alternatives()?.words;
}

/** Sets by their characters: equal sets are one object, which makes the making of a search many times as fast. */
const SETS = new Map<string, CharacterSet>();

function setOf(characters: readonly string[]): CharacterSet {
  const key = characters.join("");
  let set = SETS.get(key);
  if (set === undefined) {
    set = new Set(characters);
    SETS.set(key, set);
  }
  return set;
}

/** Plain text as a word. */
export function wordOf(text: string): Word {
  return [...text].map((one) => setOf([one]));
}

/** Character classes by their source and the case that they ignore. */
const CLASSES = new Map<string, CharacterSet>();

class Parser {
  readonly #source: string;
  readonly #ignoresCase: boolean;
  #at = 0;

  constructor(source: string, ignoresCase: boolean) {
    this.#source = source;
    this.#ignoresCase = ignoresCase;
  }

  /** Reads up to the end of the pattern or of the group. */
  alternatives(): Option | undefined {
    const branches: (Option | undefined)[] = [this.#sequence()];
    while (this.#source[this.#at] === "|") {
      this.#at++;
      branches.push(this.#sequence());
    }
    const options = branches.filter((one) => one !== undefined);
    if (options.length < branches.length) return undefined;
    return {
      words: options.flatMap(({ words }) => words),
      bits: Math.min(...options.map(({ bits }) => bits)) - Math.log2(options.length) / 2,
    };
  }

  #sequence(): Option | undefined {
    const best = new Best();
    for (let next = this.#source[this.#at]; next !== undefined && next !== "|" && next !== ")"; ) {
      this.#item(best);
      next = this.#source[this.#at];
    }
    best.end();
    return best.option;
  }

  /** One character, class or group, with its quantifier. */
  #item(best: Best): void {
    if (this.#source[this.#at] === "(") {
      const isAssertion = /^\(\?<?[=!]/.test(this.#source.slice(this.#at, this.#at + 4));
      const inner = this.#group();
      const { least } = this.#quantifier();
      if (isAssertion) return;
      best.end();
      if (least > 0 && inner !== undefined) best.offer(inner);
      return;
    }
    const set = this.#characters();
    const { least, most } = this.#quantifier();
    if (set === undefined) return;
    if (least === 0 || set.size > MOST_CHARACTERS || set.size === 0) {
      best.end();
      return;
    }
    for (let times = 0; times < least; times++) best.add(set);
    if (most !== least) best.end();
  }

  #group(): Option | undefined {
    const head = /^\((?:\?(?:<?[=!]|:|<\w+>))?/.exec(this.#source.slice(this.#at, this.#at + 64))?.[0] ?? "(";
    this.#at += head.length;
    const inner = this.alternatives();
    this.#at++;
    return inner;
  }

  #quantifier(): { least: number; most: number } {
    const match = /^(?:[*+?]|\{(\d+)(,?)(\d*)\})\??/.exec(this.#source.slice(this.#at, this.#at + 16));
    if (match === null) return { least: 1, most: 1 };
    this.#at += match[0].length;
    const sign = match[0][0];
    if (sign === "*") return { least: 0, most: Infinity };
    if (sign === "+") return { least: 1, most: Infinity };
    if (sign === "?") return { least: 0, most: 1 };
    const least = Number(match[1]);
    return { least, most: match[2] === "" ? least : match[3] === "" ? Infinity : Number(match[3]) };
  }

  /** Characters that may stand here; an empty set for other than ASCII text, undefined for a position between characters. */
  #characters(): CharacterSet | undefined {
    const first = this.#source[this.#at++] as string;
    if (first === "^" || first === "$") return undefined;
    if (first === ".") return setOf([]);
    if (first === "[") return this.#class();
    if (first !== "\\") return this.#folded([first]);
    const escaped = this.#source[this.#at++] as string;
    return escaped === "b" || escaped === "B" ? undefined : this.#folded(ofEscape(escaped));
  }

  #class(): CharacterSet {
    const end = /(?:\\.|[^\\\]])*/.exec(this.#source.slice(this.#at))?.[0].length ?? 0;
    const body = this.#source.slice(this.#at, this.#at + end);
    this.#at += end + 1;
    const key = `${this.#ignoresCase} ${body}`;
    let set = CLASSES.get(key);
    if (set === undefined) {
      set = setOf(this.#charactersOf(body));
      CLASSES.set(key, set);
    }
    return set;
  }

  #charactersOf(body: string): readonly string[] {
    if (/\\[sSDW]/.test(body)) return [];
    const pattern = new RegExp(`[${body}]`, this.#ignoresCase ? "i" : "");
    return pattern.test("\n") ? [] : PRINTABLE.filter((one) => pattern.test(one));
  }

  #folded(characters: readonly string[]): CharacterSet {
    if (!this.#ignoresCase) return setOf(characters);
    return setOf([...new Set(characters.flatMap((one) => [one.toLowerCase(), one.toUpperCase()]))]);
  }
}

function ofEscape(escaped: string): readonly string[] {
  if (escaped === "d") return DIGITS;
  return /[a-zA-Z0-9]/.test(escaped) ? [] : [escaped];
}

/** Logs are full of digits: sets of them tell lines apart less than sets of as many other characters. */
function bitsOf({ size }: CharacterSet): number {
  return size >= DIGITS.length ? DIGIT_BITS : Math.log2(PRINTABLE.length / size);
}

/** The best word of a sequence so far. */
class Best {
  option: Option | undefined;
  #word: CharacterSet[] = [];

  add(set: CharacterSet): void {
    if (this.#word.length < MOST_SETS) this.#word.push(set);
  }

  /** The next part need not follow the previous one directly. */
  end(): void {
    if (this.#word.length === 0) return;
    const bits = this.#word.reduce((sum, set) => sum + bitsOf(set), 0);
    this.offer({ words: [this.#word], bits });
    this.#word = [];
  }

  offer(option: Option): void {
    if (this.option === undefined || option.bits > this.option.bits) this.option = option;
  }
}
