import { native } from "@spo/native";

/** What calls an operator of the engine: its index and its arguments → what it returns. */
export type Call = typeof native.call;

/**
 * Until it is disposed of, every operator is called by what `around` makes of the engine's own call. Nested ones are disposed of in
 * reverse order. Outside of a rehearsal nothing stands between an operator and the engine.
 */
export function interceptCalls(around: (call: Call) => Call): Disposable {
  const call = native.call;
  native.call = around(call);
  return {
    [Symbol.dispose]: () => {
      native.call = call;
    },
  };
}
