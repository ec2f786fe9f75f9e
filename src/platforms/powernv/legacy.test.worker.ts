/** Another thread's view of a legacy group, attached by handle: posts what the group answers, each as its error's code or its table. */
import { parentPort, workerData } from "node:worker_threads";
import { SoftwareMachine, type SoftwareMachineHandle } from "../../machines/software/machine.ts";
import { InvalidArgumentError, IovaError } from "../../units/errors.ts";
import { TableGroup, type TableGroupHandle } from "./group.ts";
import { Phb, type PhbHandle } from "./phb.ts";
import { mapPages } from "./set-up.model.ts";
import type { PowernvTableOptions } from "./table.ts";

export interface LegacyData {
  readonly machine: SoftwareMachineHandle;
  readonly phb: PhbHandle;
  readonly group: TableGroupHandle;
  /** What to ask for, one after the other. */
  readonly asked: readonly PowernvTableOptions[];
  /** The page that is mapped through the table of the last one. */
  readonly page: number;
}

export interface LegacyAnswers {
  /** A message of an error, or the index of a table. */
  readonly tables: readonly string[];
  readonly changes: readonly string[];
  /** Where the page has been mapped. */
  readonly entry: number;
}

const { machine, phb, group, asked, page } = workerData as LegacyData;
const bridge = Phb.attach(SoftwareMachine.attach(machine), phb);
const view = TableGroup.attach(bridge, group);

function answerOf(use: () => unknown): string {
  try {
    return String(use());
  } catch (error) {
    if (error instanceof InvalidArgumentError) return `invalid: ${error.message}`;
    if (error instanceof IovaError) return error.code;
    throw error;
  }
}

const tables = asked.map((options) => answerOf(() => view.createTable(options).handle.index));
const fixed = view.createTable(asked.at(-1) as PowernvTableOptions);
const changes = [() => view.setWindow(fixed), () => view.unsetWindow(fixed), () => view.openBypass()].map(answerOf);
const answers: LegacyAnswers = { tables, changes, entry: mapPages(fixed.generic, page) };
parentPort?.postMessage(answers);
