/** The programs of documents: blocks of TypeScript and JavaScript, joined where one goes on in the next, each with the output that is shown. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "../root.ts";
import type { Block } from "./blocks.ts";

export interface Program {
  /** Path and line of its first block. */
  readonly where: string;
  readonly file: string;
  readonly parts: readonly Part[];
  /** False for a file that another program or a command of the document uses. */
  readonly isRun: boolean;
}

/** A block of a program, and the block of its output. */
interface Part {
  readonly block: Block;
  readonly output: Block | undefined;
}

/** The programs of a document or a source, without blocks that are not run or that show only a part of a program. */
export function programsOf(blocks: readonly Block[]): Program[] {
  const programs: { parts: { block: Block; output: Block | undefined }[] }[] = [];
  for (const block of blocks) {
    const where = `${block.path}:${block.line}`;
    const parts = programs.at(-1)?.parts;
    if (block.language === "ts" || block.language === "js") {
      if (!block.flags.has("continued")) programs.push({ parts: [{ block, output: undefined }] });
      else if (parts === undefined) throw new Error(`${where} continues a program, but none is above it`);
      else parts.push({ block, output: undefined });
    } else if (block.flags.has("output")) {
      const last = parts?.at(-1);
      if (last === undefined || last.output !== undefined) throw new Error(`${where} is the output of no program`);
      last.output = block;
    }
  }
  return programs.filter(({ parts }) => isWhole(parts[0]!.block)).map(programOf);
}

function isWhole({ from, notRun, code }: Block): boolean {
  return notRun === undefined && (from === undefined || readFileSync(join(ROOT, from), "utf8") === code);
}

function programOf({ parts }: { readonly parts: readonly Part[] }): Program {
  const { path, line, language, name } = parts[0]!.block;
  return {
    where: `${path}:${line}`,
    file: name ?? (language === "ts" ? `line-${line}.ts` : `line-${line}.mjs`),
    parts,
    isRun: name === undefined || parts.some(({ output }) => output !== undefined),
  };
}

/** Unused programs: the document does not show their output, and no other block names their file. */
export function unusedFiles(blocks: readonly Block[]): string[] {
  const unused = programsOf(blocks).filter(({ file, isRun, parts }) => {
    const own = parts.map(({ block }) => block);
    return !isRun && !blocks.some((block) => !own.includes(block) && block.code.includes(file));
  });
  return unused.map(({ where, file }) => `${where} has the file ${file}, which no other block uses`);
}

/** Lines of a block with `from` that its file lacks; a line `// …` stands for lines that are left out. */
export function linesMissingInFile({ code, from, path, line }: Block): string[] {
  if (from === undefined) return [];
  const source = readFileSync(join(ROOT, from), "utf8");
  const missing = code.split(/^\s*\/\/ …\n/m).filter((part) => !source.includes(part));
  return missing.map((part) => `${path}:${line} shows what ${from} lacks, line for line:\n${part}`);
}
