/**
 * Messages in the Subject of a mail. A Subject is often shortened, so no fact is made of it; but a message that stands there alone is counted as
 * unread, so that it is not dropped in silence.
 */
import { Assembly } from "./assembly.ts";
import type { Fact, LineRef } from "./facts.ts";
import { matchesIn } from "./matches.ts";
import { Values } from "./shape.ts";

/** Messages remembered of one input. */
const MOST_REMEMBERED = 1024;

export class Subjects {
  /** A Subject has been there, so the text is a mail. */
  isMail = false;
  /** Messages of the text behind the first Subject. */
  readonly #ofText = new Set<string>();
  readonly #ofSubjects = new Map<string, LineRef>();
  /** Keys of the Subject that is being read. */
  #keys: string[] = [];
  /** One for all Subjects: an assembly has tables of some size. */
  #assembly: Assembly | undefined;

  /** A Subject, folded lines joined. */
  note(text: string, line: LineRef): void {
    this.isMail = true;
    for (const key of this.#messagesIn(text)) {
      if (this.#ofSubjects.size < MOST_REMEMBERED && !this.#ofSubjects.has(key)) this.#ofSubjects.set(key, line);
    }
  }

  #messagesIn(text: string): readonly string[] {
    this.#keys = [];
    const matches = matchesIn(text, 0);
    if (matches.length === 0) return this.#keys;
    this.#assembly ??= new Assembly((fact) => this.#keys.push(keyOf(fact) ?? ""));
    for (const { shape, match } of matches) {
      const base = { shape: shape.name, lines: [], text };
      shape.read(new Values(match.groups ?? {}, shape.fields), { base }, this.#assembly);
    }
    this.#assembly.finish();
    return this.#keys.filter((key) => key !== "");
  }

  /** The text holds this message. */
  seen(fact: Fact): void {
    const key = keyOf(fact);
    if (key !== undefined && this.#ofText.size < MOST_REMEMBERED) this.#ofText.add(key);
  }

  /** Lines of messages that only Subjects hold. */
  unread(): LineRef[] {
    return [...this.#ofSubjects].flatMap(([key, line]) => (this.#ofText.has(key) ? [] : [line]));
  }
}

/** Equal for one message in a Subject and in the text. */
function keyOf(fact: Fact): string | undefined {
  if (fact.kind === "host" || fact.kind === "event" || fact.kind === "loss" || fact.kind === "mapping")
    return undefined;
  return `${fact.kind} ${"iova" in fact ? fact.iova : ""} ${fact.device ?? ""}`;
}
