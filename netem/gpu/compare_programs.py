#!/usr/bin/env python3
"""Runs the programs of programs.py on a machine with an NVIDIA GPU, each locally and through RRTO, and compares what they have computed to the bit.

    compare_programs.py --bin DIR --results DIR [--only NAME ...] [--modes replay pipeline ...] [--budget-s S]

DIR holds rrto, librrto_preload.so and rrto-gpud. A program is run locally twice: what differs between those runs is nobody's mistake and is not
compared. Programs under RRTO run in a mount namespace in which the GPU's device files are covered. Writes programs.json and programs.md; exit
status 0 if everything that repeats itself locally is the same through RRTO."""

import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import sys
import tempfile
import time

from bench import HERE, Bench, machine, section

# Programs at a time; each has some threads, and the GPU is shared.
AT_A_TIME = max(1, (os.cpu_count() or 1) // 4)


def names():
    """Without importing PyTorch here: a child's memory starts with its parent's."""
    return re.findall(r"^@program\ndef (\w+)", (HERE / "programs.py").read_text(), re.MULTILINE)


def digests(text):
    """What a program has computed, by name."""
    lines = text.strip().splitlines()
    if lines[-1:] != ["END"]:
        raise RuntimeError("a program ended early")
    return dict(line.split(" ", 1)[1].rsplit(" ", 1) for line in lines if line.startswith("DIGEST "))


def compare(bench, address, name, modes):
    """One program: how many values it has, how many of them repeat themselves locally, and which differ in which mode."""
    command = [sys.executable, HERE / "programs.py", name]
    start = time.monotonic()
    local = [digests(bench.run(command)) for _ in range(2)]
    local_s = (time.monotonic() - start) / 2
    steady = {what for what in local[0] if local[0][what] == local[1].get(what)}
    result = {"values": len(local[0]), "steady": len(steady), "local_s": local_s, "modes": {}}
    for mode in modes:
        start = time.monotonic()
        try:
            remote = digests(bench.remote(address, mode, command))
        except RuntimeError as error:
            result["modes"][mode] = {"error": str(error)[-1500:]}
            continue
        differ = sorted(what for what in local[0] if what not in remote or (what in steady and remote[what] != local[0][what]))
        result["modes"][mode] = {"differ": differ, "s": time.monotonic() - start}
    return result


def is_right(result):
    return all("error" not in run and not run["differ"] for run in result["modes"].values())


def markdown(results):
    m = results["machine"]
    lines = [
        "# Programs of many kinds, local and through RRTO",
        "",
        f"{m['gpu']}, {m['cpus']} CPU cores, PyTorch {m['torch']}, {m['date']}; `netem/gpu/compare_programs.py` runs `netem/gpu/programs.py` and made this.",
        "A value is a tensor that the program has computed; steady are those that two local runs agree on to the bit, and those are compared to the bit.",
        "",
        "| program | values | steady | " + " | ".join(results["modes"]) + " |",
        "|---|---|---|" + "---|" * len(results["modes"]),
    ]
    for name, result in results["programs"].items():
        cells = []
        for mode in results["modes"]:
            run = result["modes"].get(mode, {"error": ""})
            cells.append("FAILED" if "error" in run else f"{len(run['differ'])} DIFFER" if run["differ"] else "same")
        lines.append(f"| {name} | {result['values']} | {result['steady']} | {' | '.join(cells)} |")
    if results["failures"]:
        lines += ["", "Failed locally: " + ", ".join(results["failures"])]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--results", type=pathlib.Path, required=True)
    parser.add_argument("--only", nargs="*", default=names(), help="programs; all by default")
    parser.add_argument("--modes", nargs="*", default=["replay"])
    parser.add_argument("--budget-s", type=float, default=None)
    arguments = parser.parse_args()
    results = {"machine": machine(), "modes": arguments.modes, "programs": {}, "failures": {}}
    arguments.results.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, open(arguments.results / "programs.log", "w") as log:
        bench = Bench(arguments.bin.resolve(), pathlib.Path(scratch), log, arguments.budget_s)
        with bench.server("--max-sessions", "64", "--sessions-per-robot", "64") as address, concurrent.futures.ThreadPoolExecutor(AT_A_TIME) as pool:
            running = {name: pool.submit(compare, bench, address, name, arguments.modes) for name in arguments.only}
            for name, future in running.items():
                with section(results, name):
                    results["programs"][name] = future.result()
                    print(name, json.dumps(results["programs"][name])[:600], flush=True)
    (arguments.results / "programs.json").write_text(json.dumps(results, indent=1) + "\n")
    (arguments.results / "programs.md").write_text(markdown(results))
    print(markdown(results))
    sys.exit(0 if not results["failures"] and all(map(is_right, results["programs"].values())) else 1)


if __name__ == "__main__":
    main()
