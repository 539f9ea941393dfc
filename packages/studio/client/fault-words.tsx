import type { Fault } from "../src/api.ts";

/** What is wrong, and what to do. */
export const FaultWords = ({ fault: { message, hint } }: { fault: Fault }) => (
  <div class="fault" role="alert">
    <p>{message}</p>
    {hint && <p class="dim">{hint}</p>}
  </div>
);
