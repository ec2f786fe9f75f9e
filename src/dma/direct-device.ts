/**
 * A device behind a direct window: bus address = physical address + offset.
 * What the device's mask, boundary or alignment does not allow is bounced where bounce buffers are on, else refused: "mask-too-low",
 * "longer-than-boundary" or, where memory is not aligned as the device needs it, "platform-refused".
 *
 * The same memory may be mapped many times at one bus address, and no record is kept of it: a wrong `unmap` of what is not bounced
 * is seen only when it could not have been mapped there at all. (The debug mode sees all.)
 *
 * One DirectDevice per device and thread.
 */
import type { DmaDeviceOptions } from "./device-options.ts";
import type { DirectWindow } from "./device-window.ts";
import { DirectRoute } from "./direct/direct-route.ts";
import type { DeviceLimits } from "./limits.ts";
import { RoutedDevice } from "./routed-device.ts";

export class DirectDevice extends RoutedDevice {
  /**
   * Of the options, `cpuPageShift` and `faults` mean nothing here.
   * @throws InvalidArgumentError for a window, limit or option outside its range, and for a device that is not trusted: through a
   * direct window it would see all memory
   */
  constructor(window: DirectWindow, limits: DeviceLimits = {}, options: DmaDeviceOptions = {}) {
    const route = new DirectRoute(window, limits, options);
    super(route, route, options);
  }
}
