#!/usr/bin/env python3
"""Ordinary GPU programs of many kinds: `programs.py NAME` runs one and prints a line `DIGEST what sha256` for everything that it has computed, then
`END`. They know nothing of RRTO; compare_programs.py runs each locally and through RRTO and compares the lines.

A kind is a function of PROGRAMS, and what it yields are pairs of a name and a tensor. Weights and inputs come from fixed seeds, and what is an
inference is repeated often enough to be found and replayed. `--device cpu` tries a program itself out where it has a meaning without a GPU."""

import argparse
import hashlib
import sys
import threading

import numpy
import torch
import torch.nn.functional as F

# After so many runs of an inference, a repetition has been found, verified and replayed.
REPEATS = 12

PROGRAMS = {}
DEVICE = "cuda"


def program(function):
    PROGRAMS[function.__name__] = function
    return function


def normal(*shape, seed=0, dtype=torch.float32):
    """Random numbers that are the same everywhere: made on the host."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE, dtype)


def digest(value):
    """Of a tensor's shape and bytes. A type that numpy does not know is compared as the bytes that it is."""
    value = value.detach().cpu()
    value = torch.view_as_real(value) if value.is_complex() else value
    hashed = hashlib.sha256(f"{tuple(value.shape)} {value.dtype}".encode())
    hashed.update(value.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return hashed.hexdigest()[:24]


def repeated(infer, fresh):
    """The outputs of an inference with fresh inputs."""
    with torch.inference_mode():
        for seed in range(REPEATS):
            yield f"run {seed}", infer(fresh(seed))


# Half precision: products


@program
def products():
    """Matrix products in every narrow type, of shapes that take different kernels."""
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        for m, n, k in ((64, 64, 64), (1, 4096, 1024), (512, 768, 3072), (333, 77, 129)):
            a, b = normal(m, k, seed=m, dtype=dtype), normal(k, n, seed=n, dtype=dtype)
            yield f"{dtype} {m}x{n}x{k}", a @ b
        yield f"{dtype} batched", torch.bmm(normal(16, 128, 64, dtype=dtype), normal(16, 64, 96, seed=1, dtype=dtype))


@program
def epilogues():
    """Products with bias and activation in one kernel, forward and backward."""
    for dtype in (torch.float16, torch.bfloat16):
        x, w, bias = normal(256, 512, dtype=dtype), normal(512, 1024, seed=1, dtype=dtype), normal(1024, seed=2, dtype=dtype)
        yield f"{dtype} bias", torch.addmm(bias, x, w)
        yield f"{dtype} relu", torch._addmm_activation(bias, x, w, use_gelu=False)
        yield f"{dtype} gelu", torch._addmm_activation(bias, x, w, use_gelu=True)
        layer = torch.nn.Sequential(torch.nn.Linear(512, 1024), torch.nn.GELU(), torch.nn.Linear(1024, 256)).to(DEVICE, dtype)
        with torch.no_grad():
            for at, parameter in enumerate(layer.parameters()):
                parameter.copy_(normal(*parameter.shape, seed=at + 3, dtype=dtype) / 32)
        layer(x).float().square().mean().backward()
        for at, parameter in enumerate(layer.parameters()):
            yield f"{dtype} gradient {at}", parameter.grad


@program
def eight_bits():
    """Products of 8-bit floats and integers."""
    one = torch.ones((), device=DEVICE)
    for dtype, out in ((torch.float8_e4m3fn, torch.bfloat16), (torch.float8_e4m3fn, torch.float16), (torch.float8_e5m2, torch.bfloat16)):
        a = normal(64, 512).to(dtype)
        b = normal(256, 512, seed=1).to(torch.float8_e4m3fn).t()
        yield f"{dtype} to {out}", torch._scaled_mm(a, b, scale_a=one, scale_b=one, out_dtype=out)
    integers = lambda rows, columns, seed: (normal(rows, columns, seed=seed) * 20).to(torch.int8)
    yield "int8", torch._int_mm(integers(64, 128, 0), integers(128, 64, 1))


# Attention, convolution, normalisation


@program
def attention():
    """Every implementation that PyTorch has, in both half types, forward and backward."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.MATH):
        for dtype in (torch.float16, torch.bfloat16):
            q, k, v = (normal(2, 8, 160, 64, seed=seed, dtype=dtype).requires_grad_() for seed in range(3))
            try:
                with sdpa_kernel(backend):
                    y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            except RuntimeError:
                # Not offered for this GPU: so it is, with RRTO too.
                yield f"{backend.name} {dtype} refused", torch.zeros(1)
                continue
            y.float().square().sum().backward()
            yield f"{backend.name} {dtype}", y
            yield f"{backend.name} {dtype} value's gradient", v.grad


@program
def convolutions():
    """Half-precision convolutions of every kind, in both layouts, with gradients."""
    torch.backends.cudnn.deterministic = True
    kinds = {
        "plain": (torch.nn.Conv2d(32, 64, 3, padding=1), (4, 32, 56, 56)),
        "strided": (torch.nn.Conv2d(3, 64, 7, stride=2, padding=3), (2, 3, 128, 128)),
        "depthwise": (torch.nn.Conv2d(96, 96, 5, padding=2, groups=96), (2, 96, 28, 28)),
        "dilated": (torch.nn.Conv2d(16, 16, 3, dilation=2), (2, 16, 40, 40)),
        "transposed": (torch.nn.ConvTranspose2d(32, 16, 2, stride=2), (2, 32, 20, 20)),
        "volume": (torch.nn.Conv3d(8, 16, 3, padding=1), (1, 8, 12, 24, 24)),
        "signal": (torch.nn.Conv1d(16, 32, 9), (2, 16, 800)),
    }
    for name, (layer, shape) in kinds.items():
        for dtype in (torch.float16, torch.bfloat16):
            layer = layer.to(DEVICE, dtype)
            with torch.no_grad():
                layer.weight.copy_(normal(*layer.weight.shape, seed=7, dtype=dtype) / 16)
                layer.bias.zero_()
            layer.zero_grad()
            for layout in (torch.contiguous_format, torch.channels_last) if len(shape) == 4 else (torch.contiguous_format,):
                y = layer(normal(*shape, dtype=dtype).to(memory_format=layout))
                y.float().square().mean().backward()
                yield f"{name} {dtype} {layout}", y
                yield f"{name} {dtype} {layout} gradient", layer.weight.grad


@program
def normalisation():
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        x = normal(8, 64, 32, 32, dtype=dtype)
        yield f"{dtype} batch", F.batch_norm(x, None, None, training=True)
        yield f"{dtype} group", F.group_norm(x, 8)
        yield f"{dtype} layer", F.layer_norm(x, (32, 32))
        yield f"{dtype} instance", F.instance_norm(x)
        yield f"{dtype} rms", F.rms_norm(x, (32,))
        yield f"{dtype} softmax", F.softmax(x, dim=1)


# Models


@program
def vision_transformer():
    import torchvision

    torch.manual_seed(0)
    model = torchvision.models.vit_b_16(weights=None).eval().to(DEVICE).half()
    yield from repeated(model, lambda seed: normal(1, 3, 224, 224, seed=seed, dtype=torch.float16))


@program
def residual_network():
    """Half precision, channels last, as robots' perception is deployed."""
    import torchvision

    torch.manual_seed(0)
    model = torchvision.models.resnet50(weights=None).eval().to(DEVICE, torch.bfloat16).to(memory_format=torch.channels_last)
    image = lambda seed: normal(1, 3, 224, 224, seed=seed, dtype=torch.bfloat16).to(memory_format=torch.channels_last)
    yield from repeated(model, image)


@program
def language_model():
    """Llama in bf16: a forward pass repeated, then text with a cache."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 4}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=1000, **sizes)).to(DEVICE, torch.bfloat16).eval()
    tokens = lambda seed: torch.randint(0, 1000, (1, 32), generator=torch.Generator().manual_seed(seed)).to(DEVICE)
    yield from repeated(lambda value: model(value, use_cache=False).logits[:, -1], tokens)
    for seed in range(3):
        yield f"text {seed}", model.generate(tokens(seed), max_new_tokens=16, min_new_tokens=16, do_sample=False, pad_token_id=0)


@program
def sentence_encoder():
    """BERT in fp16 with texts of different lengths, masked."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 4, "num_attention_heads": 4}
    model = BertModel(BertConfig(**sizes)).to(DEVICE).half().eval()
    with torch.inference_mode():
        for seed in range(REPEATS):
            words = 8 + 5 * (seed % 4)
            ids = torch.randint(0, 30000, (2, words), generator=torch.Generator().manual_seed(seed)).to(DEVICE)
            mask = torch.ones_like(ids)
            mask[1, words // 2 :] = 0
            yield f"text {seed}", model(ids, attention_mask=mask).pooler_output


class Denoiser(torch.nn.Module):
    """A small U-Net with attention in the middle, as policies by diffusion have it."""

    def __init__(self, channels=64):
        super().__init__()
        self.enter = torch.nn.Conv2d(4, channels, 3, padding=1)
        self.down = torch.nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1)
        self.norm = torch.nn.GroupNorm(8, 2 * channels)
        self.time = torch.nn.Embedding(64, 2 * channels)
        self.middle = torch.nn.TransformerEncoderLayer(2 * channels, 4, 4 * channels, dropout=0.0, batch_first=True)
        self.up = torch.nn.ConvTranspose2d(2 * channels, channels, 2, stride=2)
        self.leave = torch.nn.Conv2d(2 * channels, 4, 3, padding=1)

    def forward(self, x, step):
        skip = F.silu(self.enter(x))
        h = F.silu(self.norm(self.down(skip))) + self.time(step)[:, :, None, None]
        h = self.middle(h.flatten(2).transpose(1, 2)).transpose(1, 2).view_as(h)
        return self.leave(torch.cat([skip, F.silu(self.up(h))], dim=1))


@program
def diffusion():
    torch.manual_seed(0)
    model = Denoiser().to(DEVICE).half().eval()

    def denoise(x):
        for step in range(15, -1, -1):
            x = x - 0.1 * model(x, torch.full((len(x),), step, device=DEVICE))
        return x

    yield from repeated(denoise, lambda seed: normal(1, 4, 32, 32, seed=seed, dtype=torch.float16))


@program
def recurrent():
    """LSTM and GRU, whose backward pass runs in a thread of PyTorch's that has called no CUDA before."""
    for kind in (torch.nn.LSTM, torch.nn.GRU):
        for dtype in (torch.float32, torch.float16):
            torch.manual_seed(0)
            layer = kind(32, 64, num_layers=2, bidirectional=True, batch_first=True).to(DEVICE, dtype)
            x = normal(4, 40, 32, dtype=dtype).requires_grad_()
            y, _ = layer(x)
            y.float().square().mean().backward()
            yield f"{kind.__name__} {dtype}", y
            yield f"{kind.__name__} {dtype} gradient", x.grad


@program
def mixture_of_experts():
    """Routing by top-k, sorting and scattering: shapes depend on the data, and each is asked for."""
    torch.manual_seed(0)
    experts = [torch.nn.Linear(128, 128).to(DEVICE, torch.bfloat16) for _ in range(8)]
    router = torch.nn.Linear(128, 8).to(DEVICE)

    def infer(x):
        weights, chosen = router(x.float()).softmax(-1).topk(2)
        y = torch.zeros_like(x)
        for at, expert in enumerate(experts):
            rows, slot = (chosen == at).nonzero(as_tuple=True)
            y.index_put_((rows,), expert(x[rows]) * weights[rows, slot, None].to(x.dtype), accumulate=False)
        return y

    yield from repeated(infer, lambda seed: normal(96, 128, seed=seed, dtype=torch.bfloat16))


@program
def graph_network():
    """Message passing on a graph by gathering and scattering, with sparse products."""
    source, target = torch.randint(0, 500, (2, 4000), generator=torch.Generator().manual_seed(3)).to(DEVICE)
    edges = torch.sparse_coo_tensor(torch.stack([target, source]), torch.ones(4000, device=DEVICE), (500, 500)).coalesce().to_sparse_csr()
    weight = normal(64, 64) / 8

    def infer(x):
        for _ in range(3):
            x = torch.relu((edges @ x) @ weight)
            x = x / (1 + x.norm(dim=1, keepdim=True))
        return x

    yield from repeated(infer, lambda seed: normal(500, 64, seed=seed))
    yield "segments", torch.segment_reduce(normal(4000), "max", lengths=torch.full((500,), 8, device=DEVICE))


@program
def training_in_half():
    """Automatic mixed precision with a scaler, whose steps depend on what the GPU says."""
    torch.backends.cudnn.deterministic = True
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3, stride=2), torch.nn.BatchNorm2d(16), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(16 * 15 * 15, 10)
    ).to(DEVICE)
    optimiser, scaler = torch.optim.AdamW(model.parameters()), torch.amp.GradScaler(DEVICE)
    for step in range(8):
        with torch.autocast(DEVICE, torch.float16):
            loss = F.cross_entropy(model(normal(16, 3, 32, 32, seed=step)), torch.arange(16, device=DEVICE) % 10)
        optimiser.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimiser)
        scaler.update()
        yield f"loss {step}", loss


# Transforms, sparse and dense algebra


@program
def transforms():
    """cuFFT: every kind and dimension, prime and odd lengths, half precision."""
    yield "1-D", torch.fft.fft(normal(64, 1000))
    yield "prime", torch.fft.fft(normal(3, 1009))
    yield "real", torch.fft.rfft(normal(8, 4096))
    yield "there and back", torch.fft.irfft(torch.fft.rfft(normal(5, 999)), n=999)
    yield "2-D", torch.fft.fft2(normal(4, 96, 128))
    yield "real 2-D", torch.fft.rfft2(normal(4, 120, 90))
    yield "3-D", torch.fft.fftn(normal(32, 24, 40))
    yield "double", torch.fft.fft(normal(16, 512).double())
    yield "half", torch.fft.fft(normal(16, 512, dtype=torch.float16))
    yield "transposed", torch.fft.fft(normal(64, 48), dim=0)
    window = torch.hann_window(400, device=DEVICE)
    spectrum = torch.stft(normal(2, 16000), 400, 160, window=window, return_complex=True)
    yield "spectrogram", spectrum
    yield "signal", torch.istft(spectrum, 400, 160, window=window)
    filtered = lambda x: torch.fft.irfft(torch.fft.rfft(x, n=2048) * torch.fft.rfft(normal(64, seed=9), n=2048), n=2048)
    yield from repeated(filtered, lambda seed: normal(4, 1500, seed=seed))


@program
def dense_algebra():
    """cuSOLVER, and cuBLAS's triangular solves."""
    a = normal(96, 96)
    spd = a @ a.T + 96 * torch.eye(96, device=DEVICE)
    yield "cholesky", torch.linalg.cholesky(spd)
    yield "solve", torch.linalg.solve(spd, normal(96, 8, seed=1))
    yield "qr", torch.linalg.qr(a)[1].abs()
    yield "eigenvalues", torch.linalg.eigvalsh(spd)
    yield "singular values", torch.linalg.svdvals(a)
    yield "lu", torch.linalg.lu_factor(a)[0]
    yield "batched inverse", torch.linalg.inv(spd[None].repeat(10, 1, 1) + torch.arange(10, device=DEVICE)[:, None, None])
    yield "triangular", torch.linalg.solve_triangular(torch.linalg.cholesky(spd), normal(96, 4), upper=False)
    yield "least squares", torch.linalg.lstsq(normal(200, 20), normal(200, 3, seed=1)).solution


@program
def sparse():
    """Sparse embeddings with their gradients, and cuSPARSE."""
    torch.manual_seed(0)
    bag = torch.nn.EmbeddingBag(1000, 32, sparse=True, mode="sum").to(DEVICE)
    optimiser = torch.optim.SparseAdam(list(bag.parameters()))
    for step in range(4):
        words = torch.randint(0, 1000, (60,), generator=torch.Generator().manual_seed(step)).to(DEVICE)
        loss = bag(words, torch.arange(0, 60, 6, device=DEVICE)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        yield f"loss {step}", loss
    matrix = torch.relu(normal(200, 300) - 1).to_sparse_csr()
    yield "times dense", matrix @ normal(300, 40)
    yield "times sparse", (matrix @ torch.relu(normal(300, 100, seed=2) - 1).to_sparse_csr()).to_dense()


@program
def gaussian_process():
    """Exact regression: kernels, a Cholesky factor and its gradient, as robots' models of dynamics have."""
    x, y = normal(128, 3), normal(128, seed=1)
    scale = torch.ones(3, device=DEVICE, requires_grad=True)
    for step in range(4):
        distance = torch.cdist(x / scale, x / scale, compute_mode="donot_use_mm_for_euclid_dist")
        factor = torch.linalg.cholesky(torch.exp(-0.5 * distance.square()) + 0.1 * torch.eye(128, device=DEVICE))
        solved = torch.cholesky_solve(y[:, None], factor)
        loss = (y @ solved[:, 0]) / 2 + factor.diagonal().log().sum()
        (gradient,) = torch.autograd.grad(loss, scale)
        with torch.no_grad():
            scale -= 0.001 * gradient
        yield f"step {step}", loss
        yield f"gradient {step}", gradient


# Threads, processes, memory


class Numbers(torch.utils.data.Dataset):
    def __len__(self):
        return 48

    def __getitem__(self, at):
        return torch.full((3, 32, 32), float(at)), at


@program
def data_loader():
    """Workers that are forked, and a thread that pins memory without ever having had a context."""
    loader = torch.utils.data.DataLoader(Numbers(), 8, num_workers=2, pin_memory=True, persistent_workers=True)
    for epoch in range(2):
        total = torch.zeros((), device=DEVICE, dtype=torch.float64)
        for image, label in loader:
            total += (image.to(DEVICE, non_blocking=True).mean((1, 2, 3)).double() * label.to(DEVICE, non_blocking=True)).sum()
        yield f"epoch {epoch}", total


@program
def threads():
    """Four threads with a model and a stream each, in half precision; the first call of CUDA is in one of them."""
    results = {}

    def work(at):
        torch.manual_seed(at)
        model = torch.nn.Sequential(torch.nn.Linear(256, 512), torch.nn.ReLU(), torch.nn.Linear(512, 256)).to(DEVICE).half()
        stream = torch.cuda.Stream() if DEVICE == "cuda" else None
        with torch.cuda.stream(stream), torch.inference_mode():
            x = normal(32, 256, seed=at, dtype=torch.float16)
            for _ in range(40):
                x = model(x)
            results[at] = x.cpu()

    # One after the other for the seeds, which all threads share; the work overlaps by its end.
    workers = [threading.Thread(target=work, args=(at,)) for at in range(4)]
    for worker in workers:
        worker.start()
        worker.join(0.2)
    for worker in workers:
        worker.join()
    for at in sorted(results):
        yield f"thread {at}", results[at]


@program
def pinned_memory():
    """Copies to and from pinned memory on two streams, and what NumPy sees in it."""
    side = torch.cuda.Stream()
    pinned = [torch.empty(1 << 20, pin_memory=True) for _ in range(2)]
    values = torch.arange(1 << 20, dtype=torch.float32, device=DEVICE)
    for step in range(6):
        target = pinned[step % 2]
        with torch.cuda.stream(side):
            side.wait_stream(torch.cuda.current_stream())
            target.copy_(values * step, non_blocking=True)
        side.synchronize()
        yield f"sum {step}", torch.tensor(float(numpy.sum(target.numpy(), dtype=numpy.float64)))
        values = target.to(DEVICE, non_blocking=True) / max(step, 1) + 1


@program
def many_small_models():
    """Sixteen shapes in turn: many sequences beside each other."""
    weight = normal(64, 64, dtype=torch.bfloat16) / 8
    with torch.inference_mode():
        for turn in range(REPEATS):
            for rows in range(1, 17):
                x = normal(rows, 64, seed=turn, dtype=torch.bfloat16)
                for _ in range(4):
                    x = F.gelu(x @ weight)
                yield f"turn {turn}, {rows} rows", x


def main():
    global DEVICE
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", choices=PROGRAMS)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    arguments = parser.parse_args()
    DEVICE = arguments.device
    for what, value in PROGRAMS[arguments.program]():
        print("DIGEST", what, digest(value))
    print("END", flush=True)


if __name__ == "__main__":
    sys.exit(main())
