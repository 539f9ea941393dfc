// @ts-check
import { run } from "../../native/lib/run.js";

const PROBE =
  "import importlib.util as u, sys; sys.exit(not all(u.find_spec(m) for m in ('torch', 'diffusers')))";

/** A Python that has torch and diffusers: SPO_PYTHON, else the one on the PATH. */
export async function findPython() {
  const candidates = process.env.SPO_PYTHON ? [process.env.SPO_PYTHON] : ["python3", "python"];
  for (const python of candidates) {
    const { code } = await run(python, ["-c", PROBE], {});
    if (code === 0) return python;
  }
  return undefined;
}
