import type { Device, Module } from "@spo/torch";

/** Where networks are, and how their kernels lie there; null: as loading leaves them. */
export interface OffloadPlace {
  device: Device;
  memoryFormat: "contiguous" | "channels_last" | null;
}

/** Networks that sampling needs and updates do not: on the device for the one, on the CPU for the other. Of no networks it does nothing. */
export class Offload {
  readonly #modules: readonly Module[];
  readonly #place: OffloadPlace;

  constructor(modules: readonly Module[], place: OffloadPlace) {
    this.#modules = modules;
    this.#place = place;
  }

  /** Puts them onto the CPU. */
  away(): void {
    for (const module of this.#modules) module.to({ device: "cpu" });
  }

  /** Puts them onto the device again. */
  back(): void {
    const { device, memoryFormat } = this.#place;
    const format = memoryFormat ?? (device === "cpu" ? "channels_last" : "contiguous");
    for (const module of this.#modules) module.to({ device }).arrange_(format);
  }
}
