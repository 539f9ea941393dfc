import fc from "fast-check";

// Every run of the tests draws the same: a rare counterexample is found by whoever looks for it, not in somebody else's change.
fc.configureGlobal({ seed: Number(process.env.SPO_TEST_SEED ?? 1) });
