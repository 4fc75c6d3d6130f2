#!/usr/bin/env python3
"""What RRTO takes of a program's own thread, on a machine without a GPU: unmodified PyTorch runs on a GPU that computes nothing
(rrto-gpud's example `idle`), and perf samples the thread that makes the calls, once everything is replayed.

    share.py --bin DIR --libraries LIBRARY [LIBRARY ...] [--models MODEL ...]

DIR has rrto and examples/idle, as `cargo build --release --workspace --bins --examples` makes them. Several librrto_preload.so, such as those of
two builds, take turns. Prints a table: the share of samples in each, and in libc, whose malloc and memmove they call; a share
of 1 % is 1 % of the thread's time, fresh inputs and checksums between the inferences included.

cuBLAS chooses kernels by what the driver says of them, and now and then finds none here: such a run is made again."""

import argparse
import collections
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from bench import Bench

MODELS = ["mobilenet_v3_small", "resnet50", "vgg19_bn"]

# Samples a second, how long each time, and how many times each library has its turn.
SAMPLES_PER_S, SAMPLED_S, TURNS = 8000, 10, 3

# Until a model is loaded and replayed, on a slow machine; and more inferences than it makes meanwhile.
LOADED_S, RUNS = 12, 100_000

ATTEMPTS = 4


def sampled(bench, address, library, model):
    """Samples a program's first thread for a while. Gives the share of each file of code, or nothing if the program failed."""
    robot = {"RRTO_SERVER": address, "RRTO_CERTS": str(bench.certs), "RRTO_ROBOT": "robot", "OMP_NUM_THREADS": "1"}
    command = bench.model_command(None, None, model, "--runs", str(RUNS), "--warmup", "20")
    pipes = {"stdout": subprocess.DEVNULL, "stderr": bench.log}
    child = subprocess.Popen([str(c) for c in command], env={**os.environ, **robot, "LD_PRELOAD": str(library)}, **pipes)
    try:
        time.sleep(LOADED_S)
        data = bench.scratch / "perf.data"
        record = ["perf", "record", "-q", "-e", "cpu-clock", "-F", str(SAMPLES_PER_S), "-t", str(child.pid), "-o", data]
        subprocess.run([*record, "--", "sleep", str(SAMPLED_S)], stdout=bench.log, stderr=bench.log)
        if child.poll() is not None:
            return None
        report = ["perf", "report", "-q", "-i", data, "--no-children", "--sort", "dso"]
        lines = subprocess.run(report, stdout=subprocess.PIPE, stderr=bench.log, text=True, check=True).stdout.splitlines()
        rows = [line.split() for line in lines if "%" in line]
        return {row[1]: float(row[0].rstrip("%")) for row in rows}
    finally:
        child.kill()
        child.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--libraries", type=pathlib.Path, nargs="+", required=True)
    parser.add_argument("--models", nargs="*", default=MODELS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, open(pathlib.Path(scratch) / "log", "w") as log:
        bench = Bench(arguments.bin.resolve(), pathlib.Path(scratch), log)
        idle = [bench.binaries / "examples/idle", "--certs", bench.certs, "--listen", "127.0.0.1:0", "--log-level", "off"]
        with bench.process(idle, lambda line: line.split(" listening on ")[1].split()[0]) as address:
            print("| model | library | its share | libc's | samples of |\n|---|---|---|---|---|")
            for model in arguments.models:
                shares = collections.defaultdict(list)
                for library in arguments.libraries * TURNS:
                    attempts = (sampled(bench, address, library.resolve(), model) for _ in range(ATTEMPTS))
                    shares[library].append(next((share for share in attempts if share), {}))
                for library, turns in shares.items():
                    own, libc = ([turn[name] for turn in turns if name in turn] for name in (library.name, "libc.so.6"))
                    if not own:
                        print(f"| {model} | {library} | failed | | |")
                        continue
                    mean = lambda all_turns: f"{sum(all_turns) / len(all_turns):.2f} %"
                    print(f"| {model} | {library} | {mean(own)} | {mean(libc)} | {len(own)} x {SAMPLED_S} s |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
