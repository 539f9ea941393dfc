// Which address of this machine the other processes reach it by.
import { createSocket } from "node:dgram";
import { networkInterfaces } from "node:os";

/**
 * The address of the interface that leads to a host: the system's routes decide, nothing is sent. 127.0.0.1 for a host on this machine.
 *
 * Rejects with the system's error where the host has no address or no way leads there.
 */
export function addressTowards(host: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
    const fail = (error: Error): void => {
      socket.close();
      reject(error);
    };
    socket.once("error", fail);
    socket.connect(9, host, (error?: Error) => {
      if (error) return fail(error);
      const { address } = socket.address();
      socket.close();
      resolve(address);
    });
  });
}

/** Name of the interface with an address, `eth0`; undefined where there is none. */
export const interfaceOf = (address: string): string | undefined =>
  Object.entries(networkInterfaces()).find(([, all]) => all?.some((one) => one.address === address))?.[0];
