// libvips may open only JPEG, PNG and WebP, whatever a file claims to be.
import { getEnvironmentData, setEnvironmentData } from "node:worker_threads";
import sharp from "sharp";

/** Told to the threads that are started from here. */
export const LOADERS_ARE_BLOCKED = "spo: image loaders are blocked";

// Blocking is of the process, not of the thread: done again in a new thread, it would block for a moment what others decode just then.
if (getEnvironmentData(LOADERS_ARE_BLOCKED) !== true) {
  sharp.block({ operation: ["VipsForeignLoad"] });
  sharp.unblock({ operation: ["VipsForeignLoadJpeg", "VipsForeignLoadPng", "VipsForeignLoadWebp"] });
  setEnvironmentData(LOADERS_ARE_BLOCKED, true);
}
