#!/usr/bin/env python3
"""An ordinary PyTorch program: makes a model with random weights from a fixed seed, runs inferences (or training
steps) with fresh inputs, and prints one line of JSON about them. It knows nothing of RRTO, except that it reads the
preloaded library's counters if they are there. Run it with and without `rrto run` and compare `digests`."""

import argparse
import ctypes
import dataclasses
import hashlib
import json
import os
import statistics
import sys
import time
import typing

import torch

# Inputs that are made ahead, so that making them is not between two inferences, without keeping a thousand of them.
INPUTS_AHEAD = 100

# Leaves some dozens of the 90,000 scored boxes, how many depends on the image; random weights are sure of nothing.
FASTER_RCNN_THRESHOLD = 0.0132

# Tokens that GPT-2 is given, and that it makes of them.
PROMPT_TOKENS, NEW_TOKENS = 32, 24


@dataclasses.dataclass
class Workload:
    """What a row of MODELS makes: modules that are to be moved to the device, and what is done with them."""

    modules: list
    # Makes one input on the host: a tuple of tensors.
    fresh: typing.Callable
    # One inference or step with it; gives the tensors that came back to the host.
    run: typing.Callable
    # From the input on the device to the output there, where all work is between the two.
    forward: typing.Callable | None = None
    # What there is to compare after the last run.
    finish: typing.Callable = list
    trains: bool = False


def single(model, fresh, device, take_output=lambda output: output, **options):
    """One model, one tensor in, one out; the model is called with `options`."""

    def forward(value):
        return take_output(model(value, **options))

    return Workload([model], lambda g: (fresh(g),), lambda value: [forward(value.to(device)).cpu()], forward)


def image(generator):
    return torch.randn(1, 3, 224, 224, generator=generator)


def torchvision_model(name):
    import torchvision

    return getattr(torchvision.models, name)(weights=None).eval()


def gpt2_model():
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config()).eval()


def gpt2(device, model=None, **options):
    tokens = lambda generator: torch.randint(0, 50257, (1, 64), generator=generator)
    return single(model or gpt2_model(), tokens, device, lambda output: output.logits[:, -1], **options)


def gpt2_uncached(device, model=None):
    """Without a cache transformers computes on the device whether the tokens are of one text, and waits for that before the first
    layer (`find_packed_sequence_indices`): this program waits twice in an inference."""
    return gpt2(device, model, use_cache=False)


def gpt2_generate(device):
    """Greedy, with a KV cache: each token is a model of another shape than the one before, and is waited for."""
    model = gpt2_model()
    fixed = {"max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS, "do_sample": False, "pad_token_id": 50256}

    def run(prompt):
        prompt = prompt.to(device)
        return [model.generate(prompt, attention_mask=torch.ones_like(prompt), use_cache=True, **fixed).cpu()]

    return Workload([model], lambda g: (torch.randint(0, 50256, (1, PROMPT_TOKENS), generator=g),), run)


def faster_rcnn(device):
    """How much work it has, and of which shapes, depends on what it sees."""
    import torchvision

    options = {"weights": None, "weights_backbone": None, "box_score_thresh": FASTER_RCNN_THRESHOLD}
    model = torchvision.models.detection.fasterrcnn_mobilenet_v3_large_fpn(**options)
    # Activations of random weights vanish over so many layers, and then every image looks alike: what the layers that
    # normalise see in one random image is what they normalise by. One thread, so that sums are always the same.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.inference_mode():
        model.backbone.train()(torch.randn(1, 3, 320, 480))
    torch.set_num_threads(threads)
    model.eval()
    run = lambda value: [t.cpu() for t in model([value.to(device)])[0].values()]
    return Workload([model], lambda g: (torch.rand(3, 320, 480, generator=g),), run)


def two_models(device):
    """Two models that take turns; each output is waited for."""
    models = [torchvision_model("resnet50"), torchvision_model("mobilenet_v3_small")]
    return Workload(models, lambda g: (image(g),), lambda value: [model(value.to(device)).cpu() for model in models])


def training(device, item):
    """Forward, backward (in a thread of PyTorch's) and Adam, whose kernels' arguments count the steps. With `item` the
    program waits for the loss of each step, else for nothing until the end."""
    # What cuDNN otherwise chooses for gradients adds up in any order.
    torch.backends.cudnn.deterministic = True
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3, stride=2, padding=1),
        torch.nn.BatchNorm2d(16),
        torch.nn.ReLU(),
        torch.nn.Conv2d(16, 32, 3, stride=2, padding=1),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(32 * 8 * 8, 10),
    ).train()
    # Made once the parameters are where they stay.
    optimizers = []

    def fresh(generator):
        images = torch.randn(16, 3, 32, 32, generator=generator)
        return images, torch.randint(0, 10, (16,), generator=generator)

    def run(images, labels):
        if not optimizers:
            optimizers.append(torch.optim.Adam(model.parameters(), lr=1e-3))
        optimizers[0].zero_grad()
        loss = torch.nn.functional.cross_entropy(model(images.to(device)), labels.to(device))
        loss.backward()
        optimizers[0].step()
        return [torch.tensor(loss.item())] if item else []

    finish = lambda: [p.detach().cpu() for p in model.parameters()]
    return Workload([model], fresh, run, finish=finish, trains=True)


MODELS = {
    **{
        name: lambda device, name=name: single(torchvision_model(name), image, device)
        for name in ("resnet50", "mobilenet_v3_small", "vgg19_bn", "vit_b_16", "convnext_base")
    },
    "gpt2": gpt2,
    "gpt2_uncached": gpt2_uncached,
    "gpt2_generate": gpt2_generate,
    "faster_rcnn": faster_rcnn,
    "two_models": two_models,
    "train": lambda device: training(device, item=False),
    "train_item": lambda device: training(device, item=True),
}


def counters():
    """The preloaded library's counters, or None in a plain run. Nested ones get names with dots."""
    try:
        read = ctypes.CDLL(None).rrto_statistics
    except AttributeError:
        return None
    read.argtypes, read.restype = [ctypes.c_void_p, ctypes.c_size_t], ctypes.c_size_t
    buffer = ctypes.create_string_buffer(1 << 16)
    return dict(numbers(json.loads(buffer.value))) if read(buffer, len(buffer)) > 0 else None


def numbers(values, prefix=""):
    for name, value in values.items():
        if isinstance(value, dict):
            yield from numbers(value, f"{prefix}{name}.")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield prefix + name, value


# States, not counters.
NOT_COUNTED = ("rtt_ms", "longest_pause_ms")


def difference(before, after, divisor=1):
    if before is None or after is None:
        return None
    return {name: (after[name] - before.get(name, 0)) / divisor for name in after if name not in NOT_COUNTED}


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
    return sorted(name for name in names if name.startswith(("/dev/nvidia", "/dev/dri")))


def memory_kb(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field))


def total_bytes(tensors):
    return sum(t.numel() * t.element_size() for t in tensors)


def digest(tensors):
    sum_of_all = hashlib.sha256()
    for tensor in tensors:
        sum_of_all.update(repr((tensor.dtype, tuple(tensor.shape))).encode())
        sum_of_all.update(tensor.contiguous().numpy().tobytes())
    return sum_of_all.hexdigest()


# Some 0.2 ms.
YARDSTICK_LOOPS = 4000


def yardstick_s():
    """How long some work takes that has nothing to do with a GPU and is always the same: longer where the processor is
    not the program's alone."""
    start, total = time.perf_counter(), 0
    for number in range(YARDSTICK_LOOPS):
        total += number * number % 7
    return time.perf_counter() - start


class Runner:
    """Runs a workload with fresh inputs, always the same ones, and remembers what came out."""

    def __init__(self, workload, synchronize):
        self.workload, self.synchronize = workload, synchronize
        self.generator = torch.Generator().manual_seed(1)
        self.ahead, self.digests, self.first_s = [], [], None
        self.input_bytes = self.output_bytes = 0

    def input(self):
        if not self.ahead:
            self.ahead = [self.workload.fresh(self.generator) for _ in range(INPUTS_AHEAD)]
            self.ahead.reverse()
        return self.ahead.pop()

    def once(self):
        """One run; gives how long it took, and the longer of two yardsticks around it, in seconds."""
        value, before_s = self.input(), yardstick_s()
        start = time.perf_counter()
        outputs = self.workload.run(*value)
        elapsed_s = time.perf_counter() - start
        after_s = yardstick_s()
        self.first_s = elapsed_s if self.first_s is None else self.first_s
        self.input_bytes, self.output_bytes = total_bytes(value), total_bytes(outputs)
        self.digests.append(digest(outputs))
        return elapsed_s, max(before_s, after_s)

    def untimed(self, count):
        for _ in range(count):
            self.once()
        self.synchronize()

    def timed(self, count):
        before, start = counters(), time.perf_counter()
        runs = [self.once() for _ in range(count)]
        self.synchronize()
        elapsed_s = time.perf_counter() - start
        return {
            "latencies_ms": [run_s * 1e3 for run_s, _ in runs],
            # Beside each of them, what the processor needed for the same work at the time.
            "yardsticks_ms": [yardstick_s * 1e3 for _, yardstick_s in runs],
            # With what is between the runs; says something where the runs themselves wait for nothing.
            "mean_ms": elapsed_s * 1e3 / count,
            "per_inference": difference(before, counters(), count),
        }

    def graph_ms(self, device, count):
        """The median time of the model as one CUDA graph, from its launch until the host knows that it has ended."""
        (value,) = self.workload.fresh(torch.Generator().manual_seed(2))
        value, stream, forward = value.to(device), torch.cuda.Stream(), self.workload.forward
        with torch.cuda.stream(stream):
            for _ in range(3):
                forward(value)
        stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            forward(value)
        times_ms = []
        for _ in range(count):
            start = time.perf_counter()
            graph.replay()
            torch.cuda.synchronize()
            times_ms.append((time.perf_counter() - start) * 1e3)
        return statistics.median(times_ms)


# Runs before each turn: other programs have had the GPU since the last one.
SETTLE = 3


def take_turns(runner, device):
    """Runs as whoever is at the other end of standard input says, so that several programs can be ready at a time and
    only one be timed: a line `run COUNT` or `graph COUNT`, answered by a line of JSON, until there is no more."""
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        what, count = line.split()
        if what == "graph":
            try:
                answer = {"graph_ms": runner.graph_ms(device, int(count))}
            except RuntimeError as error:
                # A model that cannot be captured: what else was measured of it still counts.
                answer = {"graph_ms": None, "error": str(error)[:1000]}
        else:
            runner.untimed(SETTLE)
            answer = runner.timed(int(count))
        print(json.dumps(answer), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--runs", type=int, default=30, help="timed inferences, after the first ones")
    parser.add_argument("--warmup", type=int, default=3, help="how many the first ones are; at least one")
    parser.add_argument("--turns", action="store_true", help="times when standard input says so, instead of --runs")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu tries the program itself out")
    arguments = parser.parse_args()
    device = arguments.device
    synchronize = torch.cuda.synchronize if device == "cuda" else lambda: None

    torch.manual_seed(0)
    workload = MODELS[arguments.model](device)
    tensors = [t for module in workload.modules for t in [*module.parameters(), *module.buffers()]]
    report = {"model": arguments.model, "parameter_bytes": total_bytes(tensors)}

    torch.zeros(1).to(device)
    before_load = counters()
    start = time.perf_counter()
    for module in workload.modules:
        module.to(device)
    synchronize()
    report["load_s"] = time.perf_counter() - start
    report["load"] = difference(before_load, counters())

    runner = Runner(workload, synchronize)
    with torch.inference_mode(not workload.trains):
        runner.untimed(arguments.warmup)
        if arguments.turns:
            take_turns(runner, device)
        else:
            report |= runner.timed(arguments.runs)
    report |= {name: getattr(runner, name) for name in ("first_s", "input_bytes", "output_bytes")}
    report |= {"digests": runner.digests, "end_digest": digest(workload.finish()), "counters": counters()}
    print(json.dumps({**report, "gpu_files": gpu_files(), "peak_rss_kb": memory_kb("VmHWM")}))


if __name__ == "__main__":
    main()
