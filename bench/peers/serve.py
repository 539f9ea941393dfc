"""The Python side of a benchmark: does what it is told, a line of JSON at a time, and is idle in between. See bench/question.ts."""

import json
import os
import resource
import sys
import time

# What libraries print must not get between the answers.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

import torch  # noqa: E402


class Case:
    """`run` does the work once; `result` gives numbers that must agree with ours."""

    def __init__(self, run, result=None):
        self.run = run
        self.result = result


def say(message):
    answers.write(json.dumps(message) + "\n")
    answers.flush()


def forget_peak():
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pass  # not Linux, or not allowed: the peak is then that of the whole process


def peak_bytes():
    try:
        with open("/proc/self/status") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def versions():
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": sys.version.split()[0]}
    for name in ("torch", "diffusers", "transformers", "peft"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            pass
    return found


def device():
    """Where the models compute."""
    return torch.device(sys.argv[3] if len(sys.argv) > 3 else "cpu")


def finish():
    """Waits until a GPU has done all that it was given; a CPU has."""
    if device().type == "cuda":
        torch.cuda.synchronize(device())


def serve(make):
    """make(folder) → {name: Case}."""
    folder, threads = sys.argv[1], int(sys.argv[2])
    torch.set_num_threads(threads)
    cases = make(folder)
    say({"cases": list(cases), "versions": versions()})
    for line in sys.stdin:
        command = json.loads(line)
        case = cases[command["case"]]
        if command["do"] == "begin":
            forget_peak()
            say({})
        elif command["do"] == "run":
            run, times = case.run, command["times"]
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(times):
                run()
            finish()
            say({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu})
        elif command["do"] == "result":
            say({"result": case.result() if case.result else []})
        elif command["do"] == "facts":
            say({"facts": {}, "peak": peak_bytes()})


def some(tensor, count=64):
    """`count` numbers of a tensor, evenly spread, as `some` of bench/numbers.ts takes them."""
    flat = tensor.detach().flatten().float()
    stride = max(1, flat.numel() // count)
    return flat[::stride][:count].tolist()
