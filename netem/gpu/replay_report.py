"""The table form of what measure_replay.py found."""


def number(value, digits=0):
    return "-" if value is None else f"{value:.{digits}f}"


def met(result):
    """Whether all bars are met, or which are not and by how much."""
    missed = [b for b in result.get("bars", []) if not b["met"]]
    if not result.get("bars"):
        return "-"
    return "; ".join(f"NO: {b['bar']} {number(b['value'], 3)}, not {b['limit']:g}" for b in missed) or "yes"


def table(head, rows):
    """A Markdown table, or nothing where there is no row."""
    if not rows:
        return []
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return ["", *lines, *(f"| {' | '.join(row)} |" for row in rows)]


def others(cost):
    """Counters that this script does not know by name."""
    return ", ".join(f"{name} {value:.4g}" for name, value in cost["other"].items() if value) or "-"


def identity_rows(results):
    for name, r in results["identity"].items():
        yield [
            name,
            number(r["inferences"]),
            number(r["different"]),
            number(r["operators"]),
            number(r["round_trips"], 2),
            number(r["control_bytes_up"]),
            number(r["control_bytes_down"]),
            number(r["bytes_up_beyond_input"]),
            number(r["bytes_down_beyond_output"]),
            others(r),
            met(r),
        ]


def times_of(result, kinds):
    """Of each kind the time that bars are about, and behind it that of all runs."""
    pairs = [(number(result.get(f"{kind}_ms"), 2), result.get(f"{kind}_all_ms")) for kind in kinds]
    return [ms if all_ms is None else f"{ms} ({number(all_ms, 2)})" for ms, all_ms in pairs]


def undisturbed(result):
    """How much of the runs count."""
    return f"{result['undisturbed']:.0%}"


def processes(result, kind):
    """What each process of a mode took, for who wants to see how far they are apart."""
    return " ".join(number(ms, 2) for ms in result.get(f"{kind}_processes_ms", [])) or "-"


def model_rows(results):
    for name, r in results["models"].items():
        times = times_of(r, ("local", "pipeline", "replay", "graph"))
        ratios = [number(r.get("replay_to_local"), 2), number(r["replay_to_pipeline"], 3)]
        each = [processes(r, kind) for kind in ("local", "replay")]
        yield [name, "yes" if r["same_outputs"] else "NO", *times, *ratios, *each, undisturbed(r), met(r)]


def link_rows(results):
    for r in results["links"]:
        times = times_of(r, ("floor", "pipeline", "replay"))
        ratios = [number(r.get(f"{kind}_to_floor"), 3) for kind in ("pipeline", "replay")]
        up = [number(r[kind]["control_bytes_up"]) for kind in ("pipeline", "replay")]
        yield [r["link"], r["model"], "yes" if r["same_outputs"] else "NO", *times, *ratios, *up, undisturbed(r), met(r)]


def program_rows(results):
    for name, r in results["programs"].items():
        times = times_of(r, ("local", "pipeline", "replay"))
        trips = [number(r[kind]["round_trips"], 1) for kind in ("pipeline", "replay")]
        up = [number(r[kind]["control_bytes_up"]) for kind in ("pipeline", "replay")]
        ratio = number(r["replay_to_pipeline"], 3)
        each = [processes(r, kind) for kind in ("pipeline", "replay")]
        yield [name, "yes" if r["same_outputs"] else "NO", *times, ratio, *each, *trips, *up, undisturbed(r), met(r)]


def markdown(results):
    m = results["machine"]
    lines = [
        "# Record and replay, measured on a GPU",
        "",
        f"{m['gpu']}, {m['cpus']} CPU cores, PyTorch {m['torch']}, {m['date']}. Server and program on one machine, in",
        "separate processes, each on half of the cores; the program sees no GPU device file. Batch 1, fresh inputs; programs that are timed take",
        "turns, so that one is at work at a time. Times and ratios are medians of the runs during which a loop beside them was undisturbed (of several",
        "processes the median); in brackets of all runs. Made by `netem/gpu/measure_replay.py`.",
    ]
    head = ["model", "inferences", "differ", "operators", "round trips", "control up, bytes", "control down, bytes"]
    head += ["up beyond input", "down beyond output", "replay counters", "bars met"]
    lines += table(head, list(identity_rows(results)))
    head = ["model", "same outputs", "local eager, ms", "pipeline, ms", "replay, ms", "as one CUDA graph, ms", "replay / local"]
    head += ["replay / pipeline", "local, each process", "replay, each process", "undisturbed", "bars met"]
    lines += table(head, list(model_rows(results)))
    head = ["link", "model", "same outputs", "floor, ms", "pipeline, ms", "replay, ms", "pipeline / floor", "replay / floor"]
    head += ["control up, pipeline", "control up, replay", "undisturbed", "bars met"]
    lines += table(head, list(link_rows(results)))
    head = ["program", "same outputs", "local, ms", "pipeline, ms", "replay, ms", "replay / pipeline", "pipeline, each process"]
    head += ["replay, each process", "round trips, pipeline", "round trips, replay", "control up, pipeline", "control up, replay"]
    head += ["undisturbed", "bars met"]
    lines += table(head, list(program_rows(results)))
    rows = [[f"`{command}`", number(c["passed"]), number(c["failed"])] for command, c in results["tests"].items()]
    lines += table(["tests", "passed", "failed"], rows)
    if results["links"]:
        lines += ["", "Floor: max(input / rate + one CUDA-graph execution, the program's own CPU time) + one round trip + output / rate. The program's"]
        lines += ["own CPU time is that of another machine of the kind, times how much longer local eager takes on this one."]
    for what in ("failures", "skipped"):
        if results[what]:
            lines += ["", f"{what.capitalize()}: " + ", ".join(results[what])]
    return "\n".join(lines) + "\n"
