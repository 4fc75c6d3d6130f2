#!/usr/bin/env python3
"""Times models one after the other in one session behind rrto-netem's links, against the floor of each; see bench.py for how programs
run.

    two_models_link.py --bin DIR [--links NAME ...] [--mode MODE] [--no-gpu]

ResNet50 comes first, whose outputs are short, and then GPT-2, whose outputs are long: what the session has learned of its traffic until then
is of no use any more. GPT-2 is called in two ways, of which the second waits for the device twice in an inference and not once, whoever
executes it: see `gpt2_uncached` in model.py. Its floor has two round trips, and how many an inference has had is printed.

Some 80 s on a machine with a GPU. `--no-gpu` is for the example `idle` of rrto-gpud, under the name of rrto-gpud in DIR: nothing is run
locally, and models are taken to need no time on the device."""

import argparse
import json
import pathlib
import statistics
import sys
import tempfile

from bench import HERE, Bench
from measure_replay import LINKS, OWN_CPU_MS, floor_ms

# Each program, whose time it takes of itself, and the round trips that it needs.
PARTS = {"resnet50": ("resnet50", 1), "gpt2": ("gpt2", 1), "gpt2_uncached": ("gpt2", 2)}

# As in the trial that this repeats.
WARMUP, RUNS, GRAPH_RUNS = 13, 20, 50


def program(is_local):
    """What is timed: it prints a line of JSON for each part."""
    import torch

    import model

    models = {}
    for name, (base, _) in PARTS.items():
        torch.manual_seed(0)
        workload = model.MODELS[name]("cuda", *models.get(base, []))
        models[base] = [module.to("cuda") for module in workload.modules]
        torch.cuda.synchronize()
        runner = model.Runner(workload, torch.cuda.synchronize)
        with torch.inference_mode():
            runner.untimed(WARMUP)
            report = runner.timed(RUNS)
            if is_local and name == base:
                report["graph_ms"] = runner.graph_ms("cuda", GRAPH_RUNS)
        report |= {field: getattr(runner, field) for field in ("input_bytes", "output_bytes", "digests")}
        print(json.dumps({"part": name, **report}), flush=True)


def play(bench, address, mode):
    """Runs the program, locally where there is no address; gives what each part has reported."""
    command = [sys.executable, pathlib.Path(__file__).resolve(), "--program", *([] if address else ["--local"])]
    lines = bench.run(bench.remote_command(address, mode, command) if address else command)
    reports = [json.loads(line) for line in lines.splitlines() if line.startswith("{")]
    return {report["part"]: report for report in reports}


def floor_of(name, report, local, link):
    base, round_trips = PARTS[name]
    own_ms, local_there_ms = OWN_CPU_MS[base]
    graph_ms = 0
    if local is not None:
        own_ms *= max(1, statistics.median(local[base]["latencies_ms"]) / local_there_ms)
        graph_ms = local[base]["graph_ms"]
    return floor_ms(LINKS[link], report["input_bytes"], report["output_bytes"], graph_ms, own_ms, round_trips)


def row(name, report, local, link):
    times_ms, floor = sorted(report["latencies_ms"]), floor_of(name, report, local, link)
    median_ms, per = statistics.median(times_ms), report["per_inference"]
    same = "-" if local is None else "yes" if report["digests"] == local[name]["digests"] else "NO"
    tenth = times_ms[len(times_ms) // 10]
    cells = [link, name, f"{floor:.1f}", f"{median_ms:.1f}", f"{tenth:.1f}", f"{times_ms[-1]:.1f}", f"{median_ms / floor:.3f}", f"{tenth / floor:.3f}"]
    return cells + [f"{per['round_trips']:.1f}", f"{per['udp_bytes_up'] / 1e3:.0f}", f"{per['udp_bytes_down'] / 1e3:.0f}", same]


HEAD = ["link", "program", "floor, ms", "median", "p10", "longest", "median / floor", "p10 / floor", "round trips", "kB up", "kB down", "same outputs"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, help="rrto, librrto_preload.so, rrto-gpud, rrto-netem")
    parser.add_argument("--links", nargs="*", choices=LINKS, default=list(LINKS))
    parser.add_argument("--mode", default="replay")
    parser.add_argument("--no-gpu", action="store_true")
    parser.add_argument("--program", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--local", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.program:
        return program(arguments.local)
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
    with tempfile.TemporaryDirectory() as scratch, open(pathlib.Path(scratch) / "log", "w") as log:
        bench = Bench(arguments.bin.resolve(), pathlib.Path(scratch), log)
        local = None if arguments.no_gpu else play(bench, None, None)
        with bench.server() as address:
            for link in arguments.links:
                with bench.link(address, **LINKS[link]) as behind:
                    for name, report in play(bench, behind, arguments.mode).items():
                        print(f"| {' | '.join(row(name, report, local, link))} |", flush=True)


if __name__ == "__main__":
    main()
