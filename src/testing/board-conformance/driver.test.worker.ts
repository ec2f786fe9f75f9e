/** The thread of a driver: attaches to its board and drives. */
import { workerData } from "node:worker_threads";
import { attachBoard } from "../../machines/boards.ts";
import { Driver, type DriverPart } from "./driver.model.ts";

const part = workerData as DriverPart;
new Driver(part, attachBoard(part.handle)).run();
