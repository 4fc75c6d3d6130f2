#!/usr/bin/env python3
"""An ordinary PyTorch program: loads a model with random weights from a fixed seed, runs inferences with fresh
inputs, and prints one line of JSON about them. It knows nothing of RRTO, except that it reads the preloaded
library's counters if they are there. Run it with and without `rrto run` and compare `digests`."""

import argparse
import ctypes
import hashlib
import json
import os
import time

import torch


def image_model(name):
    import torchvision

    model = getattr(torchvision.models, name)(weights=None).eval()
    return model, lambda generator: torch.randn(1, 3, 224, 224, generator=generator), lambda output: output


def gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config()).eval()
    return (
        model,
        lambda generator: torch.randint(0, 50257, (1, 64), generator=generator),
        lambda output: output.logits[:, -1],
    )


MODELS = {
    "resnet50": lambda: image_model("resnet50"),
    "mobilenet_v3_small": lambda: image_model("mobilenet_v3_small"),
    "vgg19_bn": lambda: image_model("vgg19_bn"),
    "vit_b_16": lambda: image_model("vit_b_16"),
    "convnext_base": lambda: image_model("convnext_base"),
    "gpt2": gpt2,
}


def counters():
    """The preloaded library's counters, or None in a plain run."""
    try:
        read = ctypes.CDLL(None).rrto_statistics
    except AttributeError:
        return None
    buffer = ctypes.create_string_buffer(4096)
    return json.loads(buffer.value) if read(buffer, len(buffer)) > 0 else None


def gpu_files():
    """Device files of a GPU that this process holds open or has mapped."""
    names = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            names.add(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            pass
    with open("/proc/self/maps") as maps:
        names.update(line.split(None, 5)[5].strip() for line in maps if len(line.split(None, 5)) == 6)
    return sorted(name for name in names if name.startswith("/dev/nvidia") or name.startswith("/dev/dri"))


def memory_kb(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--runs", type=int, default=30, help="timed inferences, after the first three")
    arguments = parser.parse_args()

    torch.manual_seed(0)
    model, make_input, take_output = MODELS[arguments.model]()
    generator = torch.Generator().manual_seed(1)
    inputs = [make_input(generator) for _ in range(arguments.runs + 3)]
    parameter_bytes = sum(t.numel() * t.element_size() for t in [*model.parameters(), *model.buffers()])

    torch.cuda.init()
    torch.zeros(1).cuda()
    before_load = counters()
    start = time.perf_counter()
    model = model.cuda()
    torch.cuda.synchronize()
    load_s = time.perf_counter() - start
    after_load = counters()

    latencies_ms, digests, first_s, steady_from = [], [], None, None
    with torch.inference_mode():
        for index, value in enumerate(inputs):
            if index == 3:
                steady_from = counters()
            start = time.perf_counter()
            output = take_output(model(value.cuda())).cpu()
            elapsed = time.perf_counter() - start
            if index == 0:
                first_s = elapsed
            if index >= 3:
                latencies_ms.append(elapsed * 1e3)
            digests.append(hashlib.sha256(output.contiguous().numpy().tobytes()).hexdigest())
    steady_to = counters()

    def difference(before, after, divisor):
        if before is None or after is None:
            return None
        return {name: (after[name] - before[name]) / divisor for name in after if name not in ("mode", "rtt_ms")}

    print(
        json.dumps(
            {
                "model": arguments.model,
                "parameter_bytes": parameter_bytes,
                "input_bytes": inputs[0].numel() * inputs[0].element_size(),
                "output_bytes": output.numel() * output.element_size(),
                "load_s": load_s,
                "first_s": first_s,
                "latencies_ms": latencies_ms,
                "digests": digests,
                "load": difference(before_load, after_load, 1),
                "per_inference": difference(steady_from, steady_to, arguments.runs),
                "gpu_files": gpu_files(),
                "peak_rss_kb": memory_kb("VmHWM"),
            }
        )
    )


if __name__ == "__main__":
    main()
