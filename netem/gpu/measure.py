#!/usr/bin/env python3
"""Measures RRTO on a machine with an NVIDIA GPU: server and program on it, in separate processes, over loopback or
through rrto-netem's link. Every program runs locally and through RRTO, and must print the same digests.

    measure.py --bin DIR --results DIR [--only NAME ...]

DIR holds rrto, librrto_preload.so, rrto-gpud and rrto-netem. Programs under RRTO run in a mount namespace in which
the GPU's device files are covered, so they cannot have used them. Writes results.json and results.md."""

import argparse
import concurrent.futures
import functools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

from bench import HERE, Bench, last_json, machine, section

CUDA_PROGRAMS = HERE.parent / "cuda"
MODELS = ["resnet50", "mobilenet_v3_small", "vgg19_bn", "vit_b_16", "convnext_base", "gpt2"]


def summary(local, remote):
    """One model's comparison."""
    median = lambda run: statistics.median(run["latencies_ms"])
    per = remote["per_inference"] or {}
    return {
        "bit_identical": local["digests"] == remote["digests"],
        "gpu_files_opened": remote["gpu_files"],
        "local_ms": median(local),
        "remote_ms": median(remote),
        "ratio": median(remote) / median(local),
        "local_load_s": local["load_s"],
        "remote_load_s": remote["load_s"],
        "local_first_s": local["first_s"],
        "remote_first_s": remote["first_s"],
        "input_bytes": remote["input_bytes"],
        "output_bytes": remote["output_bytes"],
        "round_trips_per_inference": per.get("round_trips"),
        "operators_per_inference": per.get("operators"),
        "control_bytes_up_per_inference": per.get("control_bytes_up"),
        "control_bytes_down_per_inference": per.get("control_bytes_down"),
        "udp_bytes_up_beyond_input": per["udp_bytes_up"] - remote["input_bytes"] if "udp_bytes_up" in per else None,
        "load": remote["load"],
        "parameter_bytes": remote["parameter_bytes"],
        "local_peak_rss_kb": local["peak_rss_kb"],
        "remote_peak_rss_kb": remote["peak_rss_kb"],
    }


def measure_models(bench, names, results):
    with bench.server() as address:
        for name in names:
            with section(results, name):
                local = bench.model(None, None, name, 60)
                remote = bench.model(address, "pipeline", name, 60)
                results["models"][name] = summary(local, remote)
                print(name, json.dumps(results["models"][name]), flush=True)
    if "resnet50" in names:
        with section(results, "resnet50 --in-process"), bench.server("--in-process") as address:
            remote = bench.model(address, "pipeline", "resnet50", 60)
            results["in_process_resnet50_ms"] = statistics.median(remote["latencies_ms"])


def measure_links(bench, results):
    """ResNet50 behind links: the load time at 10 ms, and percall beside pipeline at 2 ms."""
    with bench.server() as address:
        cases = [
            ("rtt10_450", "pipeline", {"rtt_ms": "10", "rate_mbps": "450", "queue_kb": "1024"}),
            ("rtt2_450", "pipeline", {"rtt_ms": "2", "rate_mbps": "450", "queue_kb": "256"}),
            ("rtt2_450", "percall", {"rtt_ms": "2", "rate_mbps": "450", "queue_kb": "256"}),
            ("rtt10_90", "pipeline", {"rtt_ms": "10", "rate_mbps": "90", "queue_kb": "256"}),
        ]
        for link_name, mode, settings in cases:
            with section(results, f"{link_name} {mode}"), bench.link(address, **settings) as through:
                run = bench.model(through, mode, "resnet50", 12)
                budget_s = run["parameter_bytes"] * 8 / (float(settings["rate_mbps"]) * 1e6)
                budget_s += 30 * float(settings["rtt_ms"]) / 1e3
                results["links"].append(
                    {
                        "link": link_name,
                        "mode": mode,
                        "latency_ms": statistics.median(run["latencies_ms"]),
                        "first_s": run["first_s"],
                        "load_s": run["load_s"],
                        "load_budget_s": budget_s,
                        "load_round_trips": (run["load"] or {}).get("round_trips"),
                        "round_trips_per_inference": (run["per_inference"] or {}).get("round_trips"),
                    }
                )
                print(json.dumps(results["links"][-1]), flush=True)


def build_programs(bench):
    """Compiles the CUDA programs. Gives them by name."""
    built = bench.scratch / "programs"
    built.mkdir(exist_ok=True)
    flags = ["-O3", "-std=c++17", "-arch=native", "-cudart", "static", "-Xcompiler", "-pthread"]
    sources = sorted(CUDA_PROGRAMS.glob("*.cu"))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        command = lambda source: ["nvcc", *flags, "-o", built / source.stem, source]
        list(pool.map(lambda source: bench.run(command(source)), sources))
    return {source.stem: built / source.stem for source in sources}


def compare_program(bench, address, mode, program, arguments, results):
    """Runs one program locally and remotely; outputs must be the same to the byte, and so must be what it says."""
    name = " ".join([program.name, *arguments]) + ("" if mode == "pipeline" else f" ({mode})")
    with section(results, name):
        outputs, texts = [], []
        for kind in ("local", "remote"):
            raw = program.parent / f"{program.name}.{kind}"
            raw.unlink(missing_ok=True)
            env = {"RRTO_OUTPUT": str(raw)}
            command = [program, *arguments]
            run = bench.run if kind == "local" else functools.partial(bench.remote, address, mode)
            texts.append(run(command, env=env))
            outputs.append(raw.read_bytes() if raw.exists() else b"")
        result = {"bit_identical": outputs[0] == outputs[1], "same_text": texts[0] == texts[1], "raw_bytes": len(outputs[0])}
        if texts[0] != texts[1]:
            result["texts"] = texts
        results["programs"][name] = result
        print(name, result, flush=True)


def measure_programs(bench, results):
    """nvcc-built programs with static cudart, and CuPy. Programs whose kernels fault come before others on the same
    server, and one runs beside a model: a session's fault must not reach another session."""
    programs = build_programs(bench)
    with bench.server() as address:
        for fault in ("illegal", "trap", "misaligned", "assert"):
            compare_program(bench, address, "pipeline", programs["errors"], [fault], results)
        for program in programs.values():
            compare_program(bench, address, "pipeline", program, [], results)
        compare_program(bench, address, "percall", programs["errors"], [], results)
        compare_program(bench, address, "percall", programs["streams_events"], [], results)
        with section(results, "fault beside a model"):
            alone = bench.model(None, None, "resnet50", 300)
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                beside = pool.submit(bench.model, address, "pipeline", "resnet50", 300)
                faults = 0
                while not beside.done():
                    bench.remote(address, "pipeline", [programs["errors"], "illegal"])
                    faults += 1
                identical = beside.result()["digests"] == alone["digests"]
            results["programs"][f"resnet50 beside {faults} sessions that fault"] = {"bit_identical": identical}
        with section(results, "memory"):
            results["memory"] = added_memory(bench, address, programs["bigcopy"])
            print("memory", results["memory"], flush=True)
        with section(results, "cupy"):
            program = [sys.executable, HERE / "cupy_sort.py"]
            local = last_json(bench.run(program))
            remote = last_json(bench.remote(address, "pipeline", program))
            results["programs"]["cupy_sort"] = {"bit_identical": local == remote}
            print("cupy_sort", results["programs"]["cupy_sort"], flush=True)


# Host buffers of bigcopy: two vectors and a pinned one of 64 MiB, and a string of 3 MiB.
BIGCOPY_BUFFERS_KB = 3 * (64 << 10) + (3 << 10)


def added_memory(bench, address, program):
    """What the preload library adds to a program that copies much: its peak resident set less its own buffers. The rest
    of the process, its cudart among it, is counted as ours."""
    environment = {"RRTO_SERVER": address, "RRTO_CERTS": str(bench.certs), "RRTO_ROBOT": "robot"}
    preload = {"LD_PRELOAD": str(bench.binaries / "librrto_preload.so"), **environment}
    peak_kb = peak_rss_kb([program], preload)
    return {"peak_kb": peak_kb, "buffers_kb": BIGCOPY_BUFFERS_KB, "added_kb": peak_kb - BIGCOPY_BUFFERS_KB}


def peak_rss_kb(command, env):
    child = subprocess.Popen([str(c) for c in command], stdout=subprocess.DEVNULL, env={**os.environ, **env})
    _, _, usage = os.wait4(child.pid, 0)
    return usage.ru_maxrss


def markdown(results):
    m = results["machine"]
    lines = [
        "# Measured on a GPU",
        "",
        f"{m['gpu']}, {m['cpus']} CPU cores, PyTorch {m['torch']}, {m['date']}. Server and program on one machine, in",
        "separate processes; the program sees no GPU device file. Batch 1, medians, made by `netem/gpu/measure.py`.",
        "",
        "| model | bit-identical | local eager, ms | pipeline, ms | ratio | round trips | control up, bytes | UDP up beyond input, bytes | load, s (local) |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, r in results["models"].items():
        lines.append(
            f"| {name} | {'yes' if r['bit_identical'] else 'NO'} | {r['local_ms']:.2f} | {r['remote_ms']:.2f} | {r['ratio']:.2f} "
            f"| {number(r['round_trips_per_inference'])} | {number(r['control_bytes_up_per_inference'])} "
            f"| {number(r['udp_bytes_up_beyond_input'])} | {r['remote_load_s']:.2f} ({r['local_load_s']:.2f}) |"
        )
    if "in_process_resnet50_ms" in results:
        lines += ["", f"ResNet50 with `rrto-gpud --in-process`: {results['in_process_resnet50_ms']:.2f} ms."]
    lines += ["", "ResNet50 behind a link (`rrto-netem link`):", ""]
    lines += ["| link | mode | latency, ms | round trips | `model.cuda()`, s | bytes / rate + 30 RTT, s |", "|---|---|---|---|---|---|"]
    for r in results["links"]:
        lines.append(
            f"| {r['link']} | {r['mode']} | {r['latency_ms']:.1f} | {number(r['round_trips_per_inference'])} "
            f"| {r['load_s']:.2f} | {r['load_budget_s']:.2f} |"
        )
    lines += ["", "| program | bit-identical | same output text |", "|---|---|---|"]
    for name, r in results["programs"].items():
        lines.append(f"| {name} | {'yes' if r['bit_identical'] else 'NO'} | {'yes' if r.get('same_text', True) else 'NO'} |")
    if "memory" in results:
        lines += ["", f"The preload library adds {results['memory']['added_kb'] / 1024:.1f} MiB to a program that copies 64 MiB to and fro"]
        lines[-1] += " (peak resident set, less the program's own buffers; everything else of the process counted as ours)."
    if results["failures"]:
        lines += ["", "Failed: " + ", ".join(results["failures"])]
    return "\n".join(lines) + "\n"


def number(value):
    return "-" if value is None else f"{value:.0f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--results", type=pathlib.Path, required=True)
    parser.add_argument("--only", nargs="*", help="models, or: programs, links")
    arguments = parser.parse_args()
    wanted = lambda name: not arguments.only or name in arguments.only
    results = {"machine": machine(), "models": {}, "links": [], "programs": {}, "failures": {}}
    arguments.results.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, open(arguments.results / "log.txt", "w") as log:
        bench = Bench(arguments.bin.resolve(), pathlib.Path(scratch), log)
        if wanted("programs"):
            measure_programs(bench, results)
        measure_models(bench, [name for name in MODELS if wanted(name)], results)
        if wanted("links"):
            measure_links(bench, results)
    (arguments.results / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (arguments.results / "results.md").write_text(markdown(results))
    print(markdown(results))
    identical = [r["bit_identical"] for part in ("models", "programs") for r in results[part].values()]
    sys.exit(0 if all(identical) and not results["failures"] else 1)


if __name__ == "__main__":
    main()
