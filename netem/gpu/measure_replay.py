#!/usr/bin/env python3
"""Measures record and replay on a machine with an NVIDIA GPU, against the same programs run locally and in pipeline
mode; says of each bar whether it is met. See bench.py for how programs run.

    measure_replay.py --bin DIR --results DIR [--only PART ...] [--budget-s S] [--tests COMMAND ...]

Parts: identity (1,000 inferences of each model, bit by bit, what they cost on the wire, and reports), models (latency), links
(latency through rrto-netem's link), programs (those that synchronise in their midst, take turns, or train), tests (the
COMMANDs: test binaries, each with its arguments). Writes replay.json and replay.md.

Programs that are timed are started first, several processes a mode, and then take turns, a few runs each, so that only one is at
work at a time and a machine that drifts does so for all of them alike. A virtual machine shares its processors, and then the same Python
loop takes nearly twice as long: so each run has such a loop before and after it, and counts if neither was disturbed. Which runs count
thus depends on the loop alone, and not on how long they took. A process's time is the median of its runs that count, a mode's that of its
processes. The medians of all runs are given beside. Where nothing is timed they run side by side."""

import argparse
import concurrent.futures
import contextlib
import json
import pathlib
import re
import shlex
import statistics
import sys
import tempfile
import time

from bench import Bench, OutOfTime, Player, machine, section
from replay_report import markdown

MODELS = ["resnet50", "mobilenet_v3_small", "vgg19_bn", "vit_b_16", "convnext_base", "gpt2"]
PROGRAMS = ["faster_rcnn", "gpt2_generate", "two_models", "train_item", "train"]

# Their runs wait for nothing, so only the time of many says something.
MEAN_ONLY = ["train"]

# Nearby they do the same in both modes, so that there is nothing to compare; behind a link they do not.
TRAINING = ["train_item", "train"]

# Replay against local: offloading costs no time, or saves some.
LOCAL_BARS = {
    "resnet50": 0.8,
    "mobilenet_v3_small": 0.8,
    "vit_b_16": 1.15,
    "convnext_base": 1.15,
    "gpt2": 1.15,
    "vgg19_bn": 1.5,
}
FLOOR_BAR, PIPELINE_BAR, BYTES_BAR, ROUND_TRIPS_BAR = 1.05, 1.02, 256, 1

# What each program takes with a driver that does nothing: none that issues its calls one by one gets below it. And what
# it took locally in the same run. Both on another machine of the same kind; where the processor is slower at the time,
# the program's own part is longer by as much.
OWN_CPU_MS = {
    "resnet50": (1.58, 2.92),
    "mobilenet_v3_small": (1.51, 2.48),
    "gpt2": (3.09, 3.41),
    "convnext_base": (3.25, 4.03),
    "vit_b_16": (2.42, 3.45),
    "vgg19_bn": (1.22, 1.17),
}

LINKS = {
    "rtt2_450": {"rtt_ms": "2", "rate_mbps": "450", "queue_kb": "256"},
    "rtt10_90": {"rtt_ms": "10", "rate_mbps": "90", "queue_kb": "256"},
}
LINK_MODELS = ["resnet50", "mobilenet_v3_small", "gpt2"]
# Behind the first link only.
LINK_PROGRAMS = TRAINING

IDENTITY_RUNS = 1000
REPORT_RUNS = 30
# Until sequences are found, and their graphs made.
WARMUP = 12
# Turns of each program, and runs a turn: short ones, so that a machine that is slow for a moment is so for all. The first
# runs after a pause find caches cold, and are left out.
TURNS, LINK_TURNS = (12, 12), (4, 10)
# A run of these is as long as dozens of others.
LONG_TURNS = {"gpt2_generate": (3, 7), "faster_rcnn": (6, 10)}
COLD_RUNS = 2
# A run is undisturbed if the yardsticks beside it took no longer than the lowest 10th percentile of any program's, times this; where
# a processor is shared they take 1.8 times as long. So many of a process's runs have to be, one in so many of those of the planned turns;
# or there are more turns, up to so many times as many.
MOST_DISTURBED, LEAST_UNDISTURBED, MOST_TURNS = 1.15, 6, 8
GRAPH_RUNS = 100
# Processes of each program and mode, and programs at a time: a process has a GB or two of its own.
PROCESSES, AT_A_TIME = 3, 3
# Processes of these, at least: what one takes depends on where its memory lies, by several per cent.
LEAST_PROCESSES = {"gpt2_generate": 5}

COUNTERS = ["operators", "round_trips", "control_bytes_up", "control_bytes_down", "bulk_bytes_up", "bulk_bytes_down"]
COUNTERS += ["udp_bytes_up", "udp_bytes_down"]

# A payload on a stream of its own begins with its number and length; the counters count the payload alone.
BULK_HEADER_BYTES = 16

TEST_LIMIT_S = 120

# All at a time: those behind links in two modes each, and six models and five programs beside them; or three programs in two modes and
# several processes.
MOST_SESSIONS = 32

# Side by side, one thread each, or they get into each other's way.
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


def wire(run):
    """What an inference costs on the wire, from its counters. Whatever else was counted is there under `other`."""
    per = dict(run["per_inference"] or {})
    cost = {name: per.pop(name, None) for name in COUNTERS}
    for way, payload, beyond in (("up", "input", "bytes_up_beyond_input"), ("down", "output", "bytes_down_beyond_output")):
        control, bulk = cost[f"control_bytes_{way}"], cost[f"bulk_bytes_{way}"]
        if control is None or bulk is None:
            cost[beyond] = None
        else:
            cost[beyond] = control + bulk - run[f"{payload}_bytes"] + (BULK_HEADER_BYTES if bulk else 0)
    return {**cost, "other": per}


def bar(what, value, limit):
    """A bar is met where what it measures is known and not above the limit."""
    return {"bar": what, "value": value, "limit": limit, "met": value is not None and value <= limit}


def read_report(path):
    """What the preload library wrote about a run, if it does."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


# --- 1,000 inferences, bit by bit


def measure_identity(bench, address, names, runs, programs, results):
    """All models side by side, locally and in replay; and each program once, for its report. Nothing here is timed:
    a report takes the time of every call."""

    def local(name):
        return bench.model(None, None, name, runs, WARMUP, ONE_THREAD)

    def replay(name, runs):
        report = bench.scratch / f"{name}.report"
        run = bench.model(address, "replay", name, runs, WARMUP, {**ONE_THREAD, "RRTO_REPORT": str(report)})
        return run, read_report(report)

    with concurrent.futures.ThreadPoolExecutor(2 * len(names) + len(programs) + 1) as pool:
        pairs = [(name, pool.submit(local, name), pool.submit(replay, name, runs)) for name in names]
        reports = [(name, pool.submit(replay, name, REPORT_RUNS)) for name in programs]
        for name, run in reports:
            with section(results, f"report {name}"):
                results["reports"][name] = run.result()[1]
        for name, local_run, replay_run in pairs:
            with section(results, f"identity {name}"):
                wanted, (got, report) = local_run.result()["digests"], replay_run.result()
                different = [i for i, pair in enumerate(zip(wanted, got["digests"], strict=True)) if pair[0] != pair[1]]
                cost = wire(got)
                results["identity"][name] = {
                    "inferences": len(wanted),
                    "different": len(different),
                    "first_different": different[0] if different else None,
                    "gpu_files_opened": got["gpu_files"],
                    **cost,
                    "counters": got["counters"],
                    "report": report,
                    "bars": [
                        bar("inferences that differ", len(different), 0),
                        bar("round trips", cost["round_trips"], ROUND_TRIPS_BAR),
                        bar("bytes up beyond the input", cost["bytes_up_beyond_input"], BYTES_BAR),
                        bar("bytes down beyond the output", cost["bytes_down_beyond_output"], BYTES_BAR),
                    ],
                }
                print(name, json.dumps(results["identity"][name]), flush=True)


# --- timed, in turns


def start(bench, stack, address, name, modes, processes=1):
    """Starts so many processes of a program in each mode; `None` is locally. They are not ready yet."""
    players = {}
    for mode in modes:
        for _ in range(processes):
            at = None if mode is None else address(mode)
            player = Player(bench, at, mode, name, WARMUP)
            players.setdefault(mode or "local", []).append(player)
            stack.callback(player.close)
    return players


class Quiet:
    """How long the yardsticks take on this machine while nobody disturbs it, as far as is known."""

    def __init__(self):
        self.lowest_ms = float("inf")

    def note(self, timed):
        """What was seen beside one program's runs."""
        yardsticks_ms = sorted(ms for runs in each_process(timed) for _, ms in runs)
        self.lowest_ms = min(self.lowest_ms, yardsticks_ms[len(yardsticks_ms) // 10])

    def undisturbed_ms(self, runs):
        """The times of the runs that count."""
        return [ms for ms, yardstick_ms in runs if yardstick_ms <= self.lowest_ms * MOST_DISTURBED]


def each_process(timed):
    return [runs for processes in timed.values() for runs in processes]


def take_turns(name, players, shape, quiet):
    """Turns of all players, until each has had its own and enough undisturbed runs. Gives what each process of a mode answered, turn by
    turn, and its runs."""
    (turns, runs), planned = shape, planned_runs(name, shape)
    answers = {kind: [[] for _ in processes] for kind, processes in players.items()}
    timed = {kind: [[] for _ in processes] for kind, processes in players.items()}
    for turn in range(turns * MOST_TURNS):
        if turn >= turns:
            quiet.note(timed)
            if all(is_enough(quiet.undisturbed_ms(of), planned) for of in each_process(timed)):
                break
        for kind, processes in players.items():
            for number, player in enumerate(processes):
                answer = player.run(runs)
                answers[kind][number].append(answer)
                timed[kind][number] += runs_ms(name, answer)
    quiet.note(timed)
    return answers, timed


def planned_runs(name, shape):
    """How many runs of a process count if there are no more turns than planned and nobody disturbs them."""
    turns, runs = shape
    return turns * (1 if name in MEAN_ONLY else runs - COLD_RUNS)


def is_enough(undisturbed_ms, planned):
    """Whether so many runs say what a process takes, of which so many were to count."""
    return len(undisturbed_ms) * LEAST_UNDISTURBED >= planned


def runs_ms(name, answer):
    """Of each of a turn's runs the time and the yardstick."""
    if name in MEAN_ONLY:
        return [(answer["mean_ms"], statistics.median(answer["yardsticks_ms"]))]
    return list(zip(answer["latencies_ms"], answer["yardsticks_ms"], strict=True))[COLD_RUNS:]


def median(times):
    """`None` where nothing was measured."""
    return statistics.median(times) if times else None


def ratio(one, other):
    return None if one is None or other is None else one / other


def times(timed, planned, quiet):
    """What each mode takes, by the runs of its processes, of each of which so many were planned."""
    every = [run for runs in each_process(timed) for run in runs]
    result = {"undisturbed": len(quiet.undisturbed_ms(every)) / len(every)}
    for kind, processes in timed.items():
        counted = [quiet.undisturbed_ms(runs) for runs in processes]
        each = sorted(median(ms) for ms in counted if is_enough(ms, planned))
        result[f"{kind}_ms"], result[f"{kind}_processes_ms"] = median(each), each
        result[f"{kind}_all_ms"] = median([median([ms for ms, _ in runs]) for runs in processes])
    for other in timed.keys() - {"replay"}:
        result[f"replay_to_{other}"] = ratio(result["replay_ms"], result[f"{other}_ms"])
    return result


def compare(name, players, shape, quiet, graph=False):
    """Times one program's players against each other and ends them. What that comes to is left for when all is known about the
    machine: under `timed`, see `evaluate`."""
    answers, timed = take_turns(name, players, shape, quiet)
    result = {"graph_ms": players["local"][0].graph_ms(GRAPH_RUNS)} if graph else {}
    reports = {kind: [player.end() for player in processes] for kind, processes in players.items()}
    outputs = [(report["digests"], report["end_digest"]) for group in reports.values() for report in group]
    result["same_outputs"] = all(output == outputs[0] for output in outputs)
    result["input_bytes"], result["output_bytes"] = (reports["replay"][0][way] for way in ("input_bytes", "output_bytes"))
    result["timed"] = timed, planned_runs(name, shape)
    for kind in players:
        if kind != "local":
            counted = [answer["per_inference"] for of in answers[kind] for answer in of]
            mean = {field: statistics.mean(c[field] for c in counted) for field in counted[0]} if all(counted) else None
            result[kind] = wire({**reports[kind][0], "per_inference": mean})
            result[kind]["counters"] = reports[kind][0]["counters"]
    return result


def evaluate(results, quiet):
    """What the timed parts come to."""
    for result in [*results["models"].values(), *results["links"], *results["programs"].values()]:
        result |= times(*result.pop("timed"), quiet)
    for name, result in [*results["models"].items(), *results["programs"].items()]:
        result["bars"] = [bar("outputs that differ", int(not result["same_outputs"]), 0)]
        if name in LOCAL_BARS:
            result["bars"].append(bar("replay / local", result["replay_to_local"], LOCAL_BARS[name]))
        if name not in TRAINING:
            result["bars"].append(bar("replay / pipeline", result["replay_to_pipeline"], PIPELINE_BAR))
    add_floors(results)
    if quiet.lowest_ms < float("inf"):
        results["machine"]["undisturbed_loop_ms"] = quiet.lowest_ms


def wait_until_ready(groups, results, part):
    """Gives those groups of players that are ready."""
    ready = {}
    for name, players in groups.items():
        label = " ".join(name) if isinstance(name, tuple) else name
        with section(results, f"{part} {label}, start"):
            for player in (player for processes in players.values() for player in processes):
                player.ready()
            ready[name] = players
    return ready


def measure_nearby(bench, address, part, names, processes, quiet, results):
    """Times `names` locally and in both modes, some at a time."""
    for first in range(0, len(names), AT_A_TIME):
        with contextlib.ExitStack() as stack:
            modes, group = [None, "pipeline", "replay"], names[first : first + AT_A_TIME]
            count = lambda name: max(processes, LEAST_PROCESSES.get(name, 0))
            groups = {name: start(bench, stack, lambda _: address, name, modes, count(name)) for name in group}
            for name, players in wait_until_ready(groups, results, part).items():
                with section(results, f"{part} {name}"):
                    shape = LONG_TURNS.get(name, TURNS)
                    results[part][name] = compare(name, players, shape, quiet, graph=name in LOCAL_BARS)


def start_links(bench, stack, address, results):
    """Programs behind links, each with a link of its own, so that they can load side by side."""
    groups = {}
    for link, settings in LINKS.items():
        for name in LINK_MODELS + (LINK_PROGRAMS if link == next(iter(LINKS)) else []):
            with section(results, f"link {link} {name}"):
                through = lambda _, settings=settings: stack.enter_context(bench.link(address, **settings))
                groups[link, name] = start(bench, stack, through, name, ["pipeline", "replay"])
    return groups


def measure_links(groups, quiet, results):
    for (link, name), players in wait_until_ready(groups, results, "links").items():
        with section(results, f"links {link} {name}"):
            results["links"].append({"link": link, "model": name, **compare(name, players, LINK_TURNS, quiet)})


def floor_ms(link, input_bytes, output_bytes, graph_ms, own_cpu_ms, round_trips=1):
    """What no eager program gets under that sends its tensors as they are and waits for the device so often: max(input / rate + one
    CUDA-graph execution, the program's own CPU time) + its round trips + output / rate."""
    ms = lambda count: count * 8 / (float(link["rate_mbps"]) * 1e3)
    return max(ms(input_bytes) + graph_ms, own_cpu_ms) + round_trips * float(link["rtt_ms"]) + ms(output_bytes)


def add_floors(results):
    for result in results["links"]:
        if result["model"] in LINK_PROGRAMS:
            result["bars"] = [bar("outputs that differ", int(not result["same_outputs"]), 0)]
            continue
        model = results["models"].get(result["model"], {})
        graph_ms, local_ms = model.get("graph_ms"), model.get("local_ms")
        if graph_ms is None or local_ms is None:
            results["failures"][f"floor of {result['model']} at {result['link']}"] = "no local time and that of its CUDA graph (part models)"
            continue
        own_ms, local_there_ms = OWN_CPU_MS[result["model"]]
        result["own_cpu_ms"] = own_ms * max(1, local_ms / local_there_ms)
        sizes = result["input_bytes"], result["output_bytes"]
        result["floor_ms"] = floor_ms(LINKS[result["link"]], *sizes, graph_ms, result["own_cpu_ms"])
        result["replay_to_floor"], result["pipeline_to_floor"] = (ratio(result[f"{k}_ms"], result["floor_ms"]) for k in ("replay", "pipeline"))
        result["bars"] = [
            bar("outputs that differ", int(not result["same_outputs"]), 0),
            bar("replay / floor", result["replay_to_floor"], FLOOR_BAR),
        ]


# --- test binaries


def run_tests(bench, commands, results):
    for command in commands:
        with section(results, f"tests {command}"):
            out = bench.run(shlex.split(command), limit_s=TEST_LIMIT_S)
            counts = re.findall(r"(\d+) passed; (\d+) failed", out)
            results["tests"][command] = {"passed": sum(int(c[0]) for c in counts), "failed": sum(int(c[1]) for c in counts)}
            print(command, results["tests"][command], flush=True)


def measure(bench, wanted, models, programs, tests, identity_runs, processes, quiet, results):
    with bench.server("--max-sessions", MOST_SESSIONS, "--sessions-per-robot", MOST_SESSIONS) as address, contextlib.ExitStack() as behind_links:
        # They load while the models are compared bit by bit.
        groups = start_links(bench, behind_links, address, results) if wanted("links") else {}
        if wanted("identity"):
            measure_identity(bench, address, models, identity_runs, programs if wanted("programs") else [], results)
        measure_links(groups, quiet, results)
        behind_links.close()
        if wanted("models"):
            measure_nearby(bench, address, "models", models, processes, quiet, results)
        if wanted("programs"):
            measure_nearby(bench, address, "programs", programs, processes, quiet, results)
    if wanted("tests"):
        run_tests(bench, tests, results)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, required=True, help="rrto, librrto_preload.so, rrto-gpud, rrto-netem")
    parser.add_argument("--results", type=pathlib.Path, required=True)
    parser.add_argument("--only", nargs="*", choices=["identity", "models", "links", "programs", "tests"])
    parser.add_argument("--models", nargs="*", choices=MODELS, default=MODELS, help="of identity and models")
    parser.add_argument("--programs", nargs="*", choices=PROGRAMS, default=PROGRAMS)
    parser.add_argument("--tests", nargs="*", default=[], metavar="COMMAND")
    parser.add_argument("--processes", type=int, default=PROCESSES, help="of each program and mode, nearby")
    parser.add_argument("--identity-runs", type=int, default=IDENTITY_RUNS)
    parser.add_argument("--budget-s", type=float, default=280, help="what has not begun by then is skipped and named")
    parser.add_argument("--device", default="cuda", help="of model.py; cpu tries this script itself out")
    return parser.parse_args()


def main():
    arguments = parse()
    wanted = lambda part: not arguments.only or part in arguments.only
    results = {"machine": machine(), "identity": {}, "models": {}, "links": [], "programs": {}, "tests": {}, "reports": {}}
    results |= {"failures": {}, "skipped": []}
    arguments.results.mkdir(parents=True, exist_ok=True)
    start_s, quiet = time.monotonic(), Quiet()
    with tempfile.TemporaryDirectory() as scratch, open(arguments.results / "replay.log", "w") as log:
        try:
            bench = Bench(arguments.bin.resolve(), pathlib.Path(scratch), log, arguments.budget_s, arguments.device)
            selection = arguments.models, arguments.programs, arguments.tests, arguments.identity_runs, arguments.processes
            measure(bench, wanted, *selection, quiet, results)
        except (RuntimeError, OutOfTime, OSError) as error:
            results["failures"]["everything after that"] = str(error)[-4000:]
    evaluate(results, quiet)
    results["machine"]["took_s"] = time.monotonic() - start_s
    (arguments.results / "replay.json").write_text(json.dumps(results, indent=1) + "\n")
    (arguments.results / "replay.md").write_text(markdown(results))
    print(markdown(results))
    parts = [*results["identity"].values(), *results["models"].values(), *results["links"], *results["programs"].values()]
    met = all(b["met"] for part in parts for b in part.get("bars", []))
    failed_tests = any(counts["failed"] for counts in results["tests"].values())
    sys.exit(0 if met and not failed_tests and not results["failures"] and not results["skipped"] else 1)


if __name__ == "__main__":
    main()
