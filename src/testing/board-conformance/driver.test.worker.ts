/** The thread of a driver: attaches to its board, which may be one on a QEMU, and drives. */
import { workerData } from "node:worker_threads";
import type { BoardKind } from "../../machines/board.ts";
import { BOARD_KINDS } from "../../machines/boards.ts";
import { QEMU_BOARDS } from "../../machines/qemu/boards.ts";
import { Driver, type DriverPart } from "./driver.model.ts";

const part = workerData as DriverPart;
const kinds: readonly BoardKind[] = [...BOARD_KINDS, ...QEMU_BOARDS];
const kind = kinds.find(({ name }) => name === part.handle.kind) as BoardKind;
new Driver(part, kind.attach(part.handle)).run();
