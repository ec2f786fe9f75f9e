/** The IOMMU models of a software machine, by name. A handle holds a model's index in this list: append only. */
import type { Registers } from "../../../machine/contract.ts";
import { hexadecimal } from "../../../units/counts.ts";
import { InvalidArgumentError, inWords } from "../../../units/errors.ts";
import { linearIommu } from "./linear.ts";
import type { IommuModel } from "./model.ts";
import { phb4Iommu } from "./phb4.ts";
import { psychoIommu, sabreIommu } from "./sabre.ts";

/** A model without registers: a hypervisor programs the translation unit for its guests. */
const hidden: IommuModel = { name: "none", words: 0, create: () => NO_REGISTERS };

export const IOMMU_MODELS: readonly IommuModel[] = [hidden, linearIommu, phb4Iommu, sabreIommu, psychoIommu];

/** The index of a model in the list. Throws InvalidArgumentError for an unknown name. */
export function modelIndex(name: string): number {
  const index = IOMMU_MODELS.findIndex((model) => model.name === name);
  if (index >= 0) return index;
  throw new InvalidArgumentError("iommu", name, `one of ${IOMMU_MODELS.map((model) => model.name).join(", ")}`);
}

function refuse(at: number): never {
  const expected = "a hypercall: this machine's IOMMU belongs to its hypervisor";
  throw new InvalidArgumentError("register", inWords(hexadecimal(at)), expected);
}

const NO_REGISTERS: Registers = {
  read32: refuse,
  write32: refuse,
  read64: refuse,
  write64: refuse,
  writeHalves64: refuse,
  readHigh64: refuse,
  readLow64: refuse,
};
