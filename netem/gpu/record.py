#!/usr/bin/env python3
"""Records the call logs of real models on a machine with an NVIDIA GPU: each program of model.py runs through RRTO in
pipeline mode, and the preload library writes the operators that it sends to the file that RRTO_RECORD names.

    record.py --bin DIR --out DIR [--only NAME ...] [--budget-s S]

Writes DIR/calls.tar with a compressed log a model (.zst if the zstd program is there, else .xz) and what each model.py
reported (.json), and beside it DIR/record.json, which says what was recorded and what was not."""

import argparse
import concurrent.futures
import json
import lzma
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile

from bench import Bench, machine, section

# Inferences after the first ones: enough for a sequence to be found and then replayed some times.
WARMUP, RUNS = 4, 10

# Generating is hundreds of operators a token, and a training step has no input that is waited for.
RUNS_OF = {"gpt2_generate": 5, "train": 12, "train_item": 12}

MODELS = [
    "resnet50",
    "mobilenet_v3_small",
    "vit_b_16",
    "convnext_base",
    "vgg19_bn",
    "gpt2",
    "gpt2_generate",
    "faster_rcnn",
    "two_models",
    "train",
    "train_item",
]

# Programs at a time: nothing here is timed.
AT_ONCE = 4


def compress(path):
    """Compresses a file beside itself and removes it. Gives the new one's path."""
    if shutil.which("zstd"):
        packed = path.with_name(path.name + ".zst")
        subprocess.run(["zstd", "-q", "-f", "-19", "-T2", path, "-o", packed], check=True, timeout=60)
    else:
        packed = path.with_name(path.name + ".xz")
        with open(path, "rb") as source, lzma.open(packed, "wb", preset=6) as to:
            shutil.copyfileobj(source, to)
    path.unlink()
    return packed


def record(bench, address, folder, name, results):
    with section(results, name):
        log = folder / f"{name}.calls"
        run = bench.model(address, "pipeline", name, RUNS_OF.get(name, RUNS), WARMUP, env={"RRTO_RECORD": str(log)})
        raw_bytes = log.stat().st_size
        packed = compress(log)
        (folder / f"{name}.json").write_text(json.dumps(run) + "\n")
        results["logs"][name] = {
            "raw_bytes": raw_bytes,
            "file": packed.name,
            "file_bytes": packed.stat().st_size,
            "warmup": WARMUP,
            "runs": RUNS_OF.get(name, RUNS),
            "per_inference": run["per_inference"],
        }
        print(name, json.dumps(results["logs"][name]), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, required=True, help="where rrto, librrto_preload.so and rrto-gpud are")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--only", nargs="*", choices=MODELS, default=MODELS)
    parser.add_argument("--budget-s", type=float, help="what has not begun by then is skipped")
    parser.add_argument("--device", default="cuda", help="of model.py; cpu tries this script itself out")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    results = {"machine": machine(), "logs": {}, "failures": {}}
    with tempfile.TemporaryDirectory() as scratch, open(arguments.out / "record.log", "w") as log:
        scratch = pathlib.Path(scratch)
        bench = Bench(arguments.bin.resolve(), scratch, log, arguments.budget_s, arguments.device)
        folder = scratch / "calls"
        folder.mkdir()
        with bench.server() as address, concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda name: record(bench, address, folder, name, results), arguments.only))
        with tarfile.open(arguments.out / "calls.tar", "w") as tar:
            for path in sorted(folder.iterdir()):
                tar.add(path, arcname=path.name)
    (arguments.out / "record.json").write_text(json.dumps(results, indent=1) + "\n")
    sys.exit(1 if results["failures"] or results.get("skipped") else 0)


if __name__ == "__main__":
    main()
