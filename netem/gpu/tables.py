"""Which private tables of the driver do CUDA's libraries ask for, and which slots do they call?

    python3 tables.py OUT [SECONDS]

Builds the recorder of tables.c beside itself and runs the small programs below under it, in parallel, each with
a limit. Writes OUT/tables.txt (what was seen, per table, and how each program ended), OUT/tables-calls.txt (the
first calls of each slot with their arguments) and OUT/tables-refused.txt (how the programs end if a table is
refused, in three ways). Needs x86-64, gcc, an NVIDIA driver, and whatever library a program is about: a program
whose library is missing says so and is counted as skipped.
"""

import collections
import concurrent.futures
import ctypes
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
PROGRAMS = {}
#: Programs whose libraries the refusals are tried with.
SHORT = ["half", "lt", "cublas", "fft", "conv", "sdpa", "nvrtc", "cupy", "triton", "nvml", "rnn", "solver"]


def program(function):
    PROGRAMS[function.__name__] = function
    return function


class Skip(Exception):
    pass


def library(*names):
    """Opens the first library that there is: by name, in the toolkit, in the wheels."""
    import glob

    wheels = [path + "/nvidia/" for path in sys.path if os.path.isdir(path + "/nvidia")]
    for name in names:
        found = []
        for root in wheels:
            found += glob.glob(f"{root}**/{name}*", recursive=True)
        found += glob.glob(f"/usr/local/cuda*/lib64/{name}*") + glob.glob(f"/usr/local/cuda*/targets/*/lib/{name}*")
        for path in [*found, name]:
            try:
                return ctypes.CDLL(path)
            except OSError:
                continue
    raise Skip(f"no {names[0]}")


def check(status, what):
    if status != 0:
        print(f"{what}: {status}", flush=True)
    return status


def attempt(what, call):
    """Runs one case of a program; the others go on if it fails."""
    try:
        call()
        sys.stdout.write(f"ok {what}\n")
    except Skip:
        raise
    except Exception as error:
        sys.stdout.write(f"failed {what}: {type(error).__name__} {str(error).strip().splitlines()[:1]}\n")
    sys.stdout.flush()


def torch_ready():
    import torch

    torch.manual_seed(1)
    torch.zeros(1, device="cuda")
    return torch


# Programs


@program
def table_1734dc26():
    """The two arrays of 1734dc26, of every device, with and without a context; and its other answers."""
    driver = ctypes.CDLL("libcuda.so.1")
    libc = ctypes.CDLL(None)
    libc.malloc_usable_size.restype = ctypes.c_size_t
    libc.malloc_usable_size.argtypes = [ctypes.c_void_p]
    check(driver.cuInit(0), "cuInit")
    count, version = ctypes.c_int(), ctypes.c_int()
    driver.cuDeviceGetCount(ctypes.byref(count))
    driver.cuDriverGetVersion(ctypes.byref(version))
    print("driver version", version.value, "devices", count.value)
    uuid = bytes.fromhex("1734dc26800d4745 8726c0f1e7dd8bca".replace(" ", ""))
    table = ctypes.POINTER(ctypes.c_void_p)()
    print("cuGetExportTable:", driver.cuGetExportTable(ctypes.byref(table), uuid))
    if not table:
        return
    print("size slot", table[0])
    get = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(table[4])
    free = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(table[13])

    def ask(why):
        cluster, index = ctypes.c_void_p(), ctypes.c_void_p()
        print(why, "[4]:", get(ctypes.byref(cluster), ctypes.byref(index)), flush=True)
        for array, name in ((cluster, "cluster"), (index, "index")):
            if array.value:
                room = libc.malloc_usable_size(array)
                print(name, "usable", room, ctypes.string_at(array, room).hex(), flush=True)
        if cluster.value and index.value:
            print("[13]:", free(cluster, index), flush=True)

    for device in range(count.value):
        name, sms = ctypes.create_string_buffer(100), ctypes.c_int()
        driver.cuDeviceGetName(name, 100, device)
        driver.cuDeviceGetAttribute(ctypes.byref(sms), 16, device)
        context = ctypes.c_void_p()
        print("device", device, name.value.decode(), "multiprocessors", sms.value)
        check(driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device), "retain")
        check(driver.cuCtxSetCurrent(context), "set current")
        ask("with a context")
    check(driver.cuCtxSetCurrent(None), "set current")
    ask("without a context")


@program
def half():
    torch = torch_ready()
    for dtype in (torch.float16, torch.bfloat16):
        for n in (16, 100, 256, 1024):
            a = torch.randn(n, n, device="cuda", dtype=dtype)
            attempt(f"{dtype} {n}", lambda: (a @ a).sum().item())
        linear = torch.nn.Linear(256, 512).cuda().to(dtype)
        attempt(f"linear {dtype}", lambda: linear(torch.randn(64, 256, device="cuda", dtype=dtype)).sum().backward())


LT_TYPES = {"f16": 2, "bf16": 14, "f32": 0, "e4m3": 28, "e5m2": 29, "i8": 3, "i32": 10, "f64": 1}
EPILOGUES = {
    "default": 1, "relu": 2, "relu_aux": 130, "bias": 4, "relu_bias": 6, "relu_aux_bias": 134, "drelu": 136,
    "drelu_bgrad": 152, "gelu": 32, "gelu_aux": 160, "gelu_bias": 36, "gelu_aux_bias": 164, "dgelu": 192,
    "dgelu_bgrad": 208, "bgrada": 256, "bgradb": 512,
}


def lt_case(lt, handle, torch, a_type, b_type, c_type, compute, scale, epilogue, n=256):
    void, size = ctypes.c_void_p, ctypes.sizeof
    ref = ctypes.byref
    description = void()
    check(lt.cublasLtMatmulDescCreate(ref(description), compute, scale), "desc")

    def set_attribute(attribute, value):
        check(lt.cublasLtMatmulDescSetAttribute(description, attribute, ref(value), ctypes.c_size_t(size(value))), f"attr {attribute}")

    set_attribute(3, ctypes.c_int32(1))
    set_attribute(4, ctypes.c_int32(0))
    set_attribute(7, ctypes.c_uint32(epilogue))
    memory = [torch.zeros(n * n * 8, dtype=torch.uint8, device="cuda") for _ in range(6)]
    if epilogue & (4 | 16 | 256 | 512):
        set_attribute(8, ctypes.c_uint64(memory[4].data_ptr()))
    if epilogue & 128:
        set_attribute(11, ctypes.c_uint64(memory[5].data_ptr()))
        set_attribute(12, ctypes.c_int64(n))
    if a_type in (28, 29):
        one = torch.ones(4, device="cuda")
        set_attribute(17, ctypes.c_uint64(one.data_ptr()))
        set_attribute(18, ctypes.c_uint64(one.data_ptr()))
    layouts = []
    for of in (a_type, b_type, c_type):
        layout = void()
        lt.cublasLtMatrixLayoutCreate(ref(layout), of, ctypes.c_uint64(n), ctypes.c_uint64(n), ctypes.c_int64(n))
        layouts.append(layout)
    preference, room = void(), ctypes.c_size_t(32 << 20)
    lt.cublasLtMatmulPreferenceCreate(ref(preference))
    lt.cublasLtMatmulPreferenceSetAttribute(preference, 1, ref(room), ctypes.c_size_t(8))
    found, results = ctypes.c_int(), ctypes.create_string_buffer(96 * 8)
    status = lt.cublasLtMatmulAlgoGetHeuristic(
        handle, description, layouts[0], layouts[1], layouts[2], layouts[2], preference, 8, results, ref(found))
    if status != 0 or found.value == 0:
        raise RuntimeError(f"heuristic {status}, {found.value} found")
    scalar = ctypes.c_double if scale == 1 else ctypes.c_int32 if scale == 10 else ctypes.c_float
    alpha, beta = scalar(1), scalar(0)
    workspace = torch.empty(32 << 20, dtype=torch.uint8, device="cuda")
    statuses = [
        lt.cublasLtMatmul(
            handle, description, ref(alpha), void(memory[0].data_ptr()), layouts[0], void(memory[1].data_ptr()), layouts[1], ref(beta),
            void(memory[2].data_ptr()), layouts[2], void(memory[2].data_ptr()), layouts[2], ctypes.byref(results, 96 * at),
            void(workspace.data_ptr()), ctypes.c_size_t(32 << 20), None)
        for at in range(found.value)
    ]
    torch.cuda.synchronize()
    if any(statuses):
        raise RuntimeError(f"matmul {statuses}")


def lt_setup():
    torch = torch_ready()
    lt = library("libcublasLt.so")
    handle = ctypes.c_void_p()
    check(lt.cublasLtCreate(ctypes.byref(handle)), "create")
    return torch, lt, handle


@program
def lt():
    torch, library_, handle = lt_setup()
    cases = [("f16", "f16", "f16", 68, 0), ("f16", "f16", "f16", 64, 2), ("bf16", "bf16", "bf16", 68, 0), ("f16", "f16", "f32", 68, 0),
             ("e4m3", "e4m3", "bf16", 68, 0), ("e4m3", "e5m2", "bf16", 68, 0), ("e5m2", "e4m3", "f16", 68, 0), ("e4m3", "e4m3", "e4m3", 68, 0),
             ("i8", "i8", "i32", 72, 10), ("i8", "i8", "i8", 72, 0), ("f32", "f32", "f32", 68, 0), ("f32", "f32", "f32", 77, 0),
             ("f64", "f64", "f64", 70, 1)]
    for a, b, c, compute, scale in cases:
        for n in (64, 256, 1024):
            attempt(f"{a} {b} {c} {compute} {n}", lambda: lt_case(library_, handle, torch, LT_TYPES[a], LT_TYPES[b], LT_TYPES[c], compute, scale, 1, n))


@program
def lt_epilogues():
    torch, library_, handle = lt_setup()
    for name, epilogue in EPILOGUES.items():
        for of in ("f16", "bf16", "f32"):
            attempt(f"{name} {of}", lambda: lt_case(library_, handle, torch, *[LT_TYPES[of]] * 3, 68, 0, epilogue))
        attempt(f"{name} e4m3", lambda: lt_case(library_, handle, torch, 28, 28, 14, 68, 0, epilogue))


@program
def cublas():
    torch = torch_ready()
    for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.complex64):
        a = torch.randn(8, 96, 96, device="cuda", dtype=dtype)
        attempt(f"bmm {dtype}", lambda: torch.bmm(a, a).sum().item())
        attempt(f"baddbmm {dtype}", lambda: torch.baddbmm(a, a, a).sum().item())
        attempt(f"addmm {dtype}", lambda: torch.addmm(a[0], a[1], a[2]).sum().item())
        attempt(f"mv {dtype}", lambda: torch.mv(a[0], a[1, 0]).sum().item())
        attempt(f"dot {dtype}", lambda: torch.dot(a[0, 0], a[1, 0]).item())
    i8 = torch.ones(64, 64, device="cuda", dtype=torch.int8)
    attempt("int8", lambda: torch._int_mm(i8, i8.t()).sum().item())
    e4m3 = torch.ones(64, 64, device="cuda").to(torch.float8_e4m3fn)
    one = torch.ones(1, device="cuda")
    attempt("scaled_mm", lambda: torch._scaled_mm(e4m3, e4m3.t(), scale_a=one, scale_b=one, out_dtype=torch.bfloat16).sum().item())
    a = torch.randn(4, 64, 64, device="cuda")
    attempt("triangular", lambda: torch.linalg.solve_triangular(a.tril(), a, upper=False).sum().item())
    attempt("lu batched", lambda: torch.linalg.lu_factor(a)[0].sum().item())
    library_, handle = library("libcublas.so"), ctypes.c_void_p()
    check(library_.cublasCreate_v2(ctypes.byref(handle)), "cublasCreate")
    half_ = torch.randn(64, 64, device="cuda", dtype=torch.float16)
    alpha, beta = ctypes.c_float(1), ctypes.c_float(0)
    at = ctypes.c_void_p(half_.data_ptr())
    check(library_.cublasGemmEx(handle, 0, 0, 64, 64, 64, ctypes.byref(alpha), at, 2, 64, at, 2, 64, ctypes.byref(beta), at, 2, 64, 68, -1), "GemmEx")
    many = torch.tensor([half_.data_ptr()] * 4, device="cuda")
    out = torch.randn(4, 64, 64, device="cuda", dtype=torch.float16)
    outs = torch.tensor([part.data_ptr() for part in out], device="cuda")
    at, to = ctypes.c_void_p(many.data_ptr()), ctypes.c_void_p(outs.data_ptr())
    check(library_.cublasGemmBatchedEx(handle, 0, 0, 64, 64, 64, ctypes.byref(alpha), at, 2, 64, at, 2, 64, ctypes.byref(beta), to, 2, 64, 4, 68, -1), "GemmBatchedEx")
    at, to = ctypes.c_void_p(half_.data_ptr()), ctypes.c_void_p(out.data_ptr())
    zero, step = ctypes.c_longlong(0), ctypes.c_longlong(4096)
    check(library_.cublasGemmStridedBatchedEx(handle, 0, 0, 64, 64, 64, ctypes.byref(alpha), at, 2, 64, zero, at, 2, 64, zero, ctypes.byref(beta), to, 2, 64, step, 4, 68, -1), "GemmStridedBatchedEx")
    torch.cuda.synchronize()


@program
def streams():
    """What cuBLAS asks of streams, and the numbers that the driver gives them."""
    torch = torch_ready()
    driver = ctypes.CDLL("libcuda.so.1")
    a = torch.randn(4, 64, 64, device="cuda")
    for _ in range(2):
        for stream in (torch.cuda.default_stream(), torch.cuda.Stream(), torch.cuda.Stream()):
            number = ctypes.c_ulonglong()
            driver.cuStreamGetId(ctypes.c_void_p(stream.cuda_stream), ctypes.byref(number))
            print("stream", hex(stream.cuda_stream), "cuStreamGetId", number.value)
            with torch.cuda.stream(stream):
                attempt("triangular", lambda: torch.linalg.solve_triangular(a.tril(), a, upper=False).sum().item())
                attempt("lu", lambda: torch.linalg.lu_factor(a)[0].sum().item())


@program
def conv():
    torch = torch_ready()
    for benchmark in (False, True):
        torch.backends.cudnn.benchmark = benchmark
        for dtype in (torch.float16, torch.bfloat16, torch.float32):
            for memory in (torch.contiguous_format, torch.channels_last):
                def case():
                    layer = torch.nn.Conv2d(16, 32, 3, padding=1).cuda().to(dtype).to(memory_format=memory)
                    x = torch.randn(2, 16, 32, 32, device="cuda", dtype=dtype, requires_grad=True)
                    layer(x.to(memory_format=memory)).sum().backward()
                attempt(f"conv2d {dtype} {memory} benchmark {benchmark}", case)
    x = torch.randn(2, 8, 8, 16, 16, device="cuda", dtype=torch.float16)
    attempt("conv3d", lambda: torch.nn.Conv3d(8, 8, 3).cuda().half()(x).sum().backward())
    attempt("transposed", lambda: torch.nn.ConvTranspose2d(8, 8, 3).cuda().half()(x[:, :, 0]).sum().backward())
    attempt("depthwise", lambda: torch.nn.Conv2d(8, 8, 3, groups=8).cuda().half()(x[:, :, 0]).sum().backward())


@program
def sdpa():
    torch = torch_ready()
    from torch.nn.attention import SDPBackend, sdpa_kernel

    for backend in (SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH):
        for dtype in (torch.float16, torch.bfloat16):
            def case():
                q = torch.randn(2, 4, 128, 64, device="cuda", dtype=dtype, requires_grad=True)
                with sdpa_kernel(backend):
                    torch.nn.functional.scaled_dot_product_attention(q, q, q, is_causal=True).sum().backward()
            attempt(f"{backend} {dtype}", case)


@program
def norm():
    torch = torch_ready()
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        x = torch.randn(8, 16, 32, 32, device="cuda", dtype=dtype, requires_grad=True)
        attempt(f"layer {dtype}", lambda: torch.nn.LayerNorm(32).cuda().to(dtype)(x).sum().backward())
        attempt(f"batch {dtype}", lambda: torch.nn.BatchNorm2d(16).cuda().to(dtype)(x).sum().backward())
        attempt(f"batch nhwc {dtype}", lambda: torch.nn.BatchNorm2d(16).cuda().to(dtype)(x.to(memory_format=torch.channels_last)).sum().backward())
        attempt(f"instance {dtype}", lambda: torch.nn.InstanceNorm2d(16, affine=True).cuda().to(dtype)(x).sum().backward())
        attempt(f"group {dtype}", lambda: torch.nn.GroupNorm(4, 16).cuda().to(dtype)(x).sum().backward())
        attempt(f"pool {dtype}", lambda: torch.nn.MaxPool2d(2)(x).sum().backward())
        attempt(f"softmax {dtype}", lambda: torch.softmax(x, 1).sum().backward())


@program
def rnn():
    torch = torch_ready()
    for kind in (torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN):
        for dtype in (torch.float16, torch.float32):
            attempt(f"{kind.__name__} {dtype}", lambda: kind(32, 64, 2).cuda().to(dtype)(torch.randn(5, 3, 32, device="cuda", dtype=dtype))[0].sum().backward())
    attempt("ctc", lambda: torch.nn.CTCLoss()(torch.randn(50, 4, 20, device="cuda").log_softmax(2), torch.randint(1, 20, (4, 10)).int(), torch.full((4,), 50).int(), torch.full((4,), 10).int()).item())


@program
def sparse():
    torch = torch_ready()
    for dtype in (torch.float32, torch.float16, torch.float64):
        a = torch.eye(64, device="cuda", dtype=dtype)
        csr = a.to_sparse_csr()
        attempt(f"spmm {dtype}", lambda: (csr @ a).sum().item())
        attempt(f"spmv {dtype}", lambda: (csr @ a[0]).sum().item())
        attempt(f"spgemm {dtype}", lambda: (csr @ csr).to_dense().sum().item())
        attempt(f"coo {dtype}", lambda: torch.sparse.mm(a.to_sparse(), a).sum().item())
        attempt(f"sddmm {dtype}", lambda: torch.sparse.sampled_addmm(csr, a, a).to_dense().sum().item())
        attempt(f"solve {dtype}", lambda: torch.triangular_solve(a, csr).solution.sum().item())
    pattern = torch.tensor([0, 0, 1, 1], device="cuda", dtype=torch.float16).tile((128, 32))
    attempt("cusparseLt", lambda: torch.mm(torch.sparse.to_sparse_semi_structured(pattern), torch.ones(128, 128, device="cuda", dtype=torch.float16)).sum().item())


@program
def solver():
    torch = torch_ready()
    for dtype in (torch.float32, torch.float64, torch.complex64):
        a = torch.randn(2, 40, 40, device="cuda", dtype=dtype)
        spd = a @ a.mH + 40 * torch.eye(40, device="cuda", dtype=dtype)
        for name in ("qr", "svd", "eigh", "cholesky", "inv", "det", "slogdet", "lu", "eigvalsh", "pinv", "eig"):
            attempt(f"{name} {dtype}", lambda: getattr(torch.linalg, name)(spd))
            attempt(f"{name} single {dtype}", lambda: getattr(torch.linalg, name)(spd[0]))
        attempt(f"svd gesvd {dtype}", lambda: torch.linalg.svd(spd[0], driver="gesvd"))
        attempt(f"lstsq {dtype}", lambda: torch.linalg.lstsq(spd, spd))
        attempt(f"ldl {dtype}", lambda: torch.linalg.ldl_factor(spd))
    torch.cuda.synchronize()


@program
def fft():
    torch = torch_ready()
    for n in (8, 64, 100, 127, 1000, 1 << 16):
        x = torch.randn(3, n, device="cuda")
        attempt(f"rfft {n}", lambda: torch.fft.irfft(torch.fft.rfft(x)).sum().item())
        attempt(f"fft {n}", lambda: torch.fft.ifft(torch.fft.fft(x + 0j)).abs().sum().item())
        attempt(f"double {n}", lambda: torch.fft.fft(x.double()).abs().sum().item())
    x = torch.randn(2, 16, 32, 64, device="cuda")
    attempt("fft2", lambda: torch.fft.ifft2(torch.fft.fft2(x)).abs().sum().item())
    attempt("fftn", lambda: torch.fft.irfftn(torch.fft.rfftn(x)).sum().item())
    attempt("half", lambda: torch.fft.fft(x.half()).abs().sum().item())
    attempt("half 2", lambda: torch.fft.rfft2(x.half()).abs().sum().item())
    attempt("stft", lambda: torch.stft(x.reshape(1, -1), 512, return_complex=True, window=torch.hann_window(512, device="cuda")).abs().sum().item())
    attempt("backward", lambda: torch.fft.rfft(x.requires_grad_()).abs().sum().backward())


@program
def fft_library():
    """cuFFT itself: plans of every kind, bfloat16, more than 2^31, unified callbacks."""
    torch = torch_ready()
    cufft = library("libcufft.so")
    memory = torch.zeros(1 << 22, dtype=torch.uint8, device="cuda")
    at = ctypes.c_void_p(memory.data_ptr())
    for kind, name in ((0x29, "c2c"), (0x2a, "r2c"), (0x2c, "c2r"), (0x69, "z2z"), (0x6a, "d2z"), (0x6c, "z2d")):
        plan = ctypes.c_int()
        attempt(f"plan1d {name}", lambda: print(cufft.cufftPlan1d(ctypes.byref(plan), 256, kind, 4)))
        if name == "c2c":
            print("exec", cufft.cufftExecC2C(plan, at, at, -1))
        attempt(f"plan2d {name}", lambda: print(cufft.cufftPlan2d(ctypes.byref(plan), 32, 32, kind)))
        attempt(f"plan3d {name}", lambda: print(cufft.cufftPlan3d(ctypes.byref(plan), 8, 16, 8, kind)))
        sizes = (ctypes.c_int * 2)(16, 16)
        attempt(f"many {name}", lambda: print(cufft.cufftPlanMany(ctypes.byref(plan), 2, sizes, None, 1, 256, None, 1, 256, kind, 3)))
    for of, name in ((6, "half"), (15, "bfloat16")):
        plan, size, room = ctypes.c_int(), (ctypes.c_longlong * 1)(64), ctypes.c_size_t()
        cufft.cufftCreate(ctypes.byref(plan))
        print("xt", name, cufft.cufftXtMakePlanMany(plan, 1, size, None, ctypes.c_longlong(1), ctypes.c_longlong(64), of, None,
              ctypes.c_longlong(1), ctypes.c_longlong(64), of, ctypes.c_longlong(2), ctypes.byref(room), of))
        print("exec", cufft.cufftXtExec(plan, at, at, -1))
        cufft.cufftDestroy(plan)
    torch.cuda.synchronize()


@program
def fft_callbacks():
    try:
        import cupy
    except ImportError:
        raise Skip("no CuPy") from None
    code = r"""
    __device__ cufftComplex %s(void *in, %s offset, void *info, void *shared) { return ((cufftComplex *)in)[offset]; }
    __device__ %s
    """
    legacy = code % ("load", "size_t", "cufftCallbackLoadC d_loadCallbackPtr = load;")
    jit = code % ("cufftJITCallbackLoadComplex", "unsigned long long", "")
    x = cupy.ones((4, 64), dtype=cupy.complex64)

    def case(**more):
        with cupy.fft.config.set_cufft_callbacks(**more):
            cupy.fft.fft(x)
    attempt("jit", lambda: case(cb_load=jit.replace("__device__ \n", ""), cb_ver="jit"))
    attempt("legacy", lambda: case(cb_load=legacy, cb_ver="legacy"))


@program
def fft_static():
    """Load callbacks of the static cuFFT, if the toolkit has it."""
    import glob
    import shutil

    static = glob.glob("/usr/local/cuda*/lib64/libcufft_static.a") + glob.glob("/usr/local/cuda*/targets/*/lib/libcufft_static.a")
    nvcc = shutil.which("nvcc") or (glob.glob("/usr/local/cuda*/bin/nvcc") + [None])[0]
    if not static or not nvcc:
        raise Skip("no libcufft_static.a or nvcc")
    source = r"""
    #include <cufftXt.h>
    #include <cstdio>
    __device__ cufftComplex load(void *in, size_t at, void *, void *) { cufftComplex c = ((cufftComplex *)in)[at]; c.x *= 2; return c; }
    __device__ cufftCallbackLoadC load_pointer = load;
    int main() {
        cufftComplex *data; cufftHandle plan; cufftCallbackLoadC host;
        cudaMalloc(&data, 64 * sizeof *data);
        printf("plan %d\n", cufftPlan1d(&plan, 64, CUFFT_C2C, 1));
        printf("symbol %d\n", cudaMemcpyFromSymbol(&host, load_pointer, sizeof host));
        printf("set %d\n", cufftXtSetCallback(plan, (void **)&host, CUFFT_CB_LD_COMPLEX, nullptr));
        printf("exec %d\n", cufftExecC2C(plan, data, data, CUFFT_FORWARD));
        printf("sync %d\n", cudaDeviceSynchronize());
    }"""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder)
        (path / "a.cu").write_text(source)
        clean = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
        built = subprocess.run([nvcc, "-rdc=true", "-arch=sm_90", "a.cu", static[0], "-lculibos", "-o", "a"], cwd=folder, env=clean, capture_output=True, text=True)
        if built.returncode != 0:
            raise Skip(built.stderr.strip()[-200:])
        print(subprocess.run([path / "a"], capture_output=True, text=True, timeout=30).stdout)


@program
def rand():
    torch = torch_ready()
    curand = library("libcurand.so")
    memory = torch.zeros(4096, device="cuda")
    for kind in (100, 101, 121, 141, 142, 161, 200, 201, 203):
        generator = ctypes.c_void_p()
        check(curand.curandCreateGenerator(ctypes.byref(generator), kind), f"create {kind}")
        check(curand.curandGenerateUniform(generator, ctypes.c_void_p(memory.data_ptr()), ctypes.c_size_t(4096)), f"uniform {kind}")
        curand.curandGenerateNormal(generator, ctypes.c_void_p(memory.data_ptr()), ctypes.c_size_t(4096), ctypes.c_float(0), ctypes.c_float(1))
        curand.curandDestroyGenerator(generator)
    torch.cuda.synchronize()


class NppContext(ctypes.Structure):
    _fields_ = [("stream", ctypes.c_void_p), ("device", ctypes.c_int), ("sms", ctypes.c_int), ("threads_sm", ctypes.c_int),
                ("threads_block", ctypes.c_int), ("shared", ctypes.c_size_t), ("major", ctypes.c_int), ("minor", ctypes.c_int),
                ("flags", ctypes.c_uint), ("reserved", ctypes.c_int)]


class NppSize(ctypes.Structure):
    _fields_ = [("width", ctypes.c_int), ("height", ctypes.c_int)]


@program
def npp():
    torch = torch_ready()
    library("libnppc.so")
    idei, signals, filters = library("libnppidei.so"), library("libnpps.so"), library("libnppif.so")
    memory = torch.zeros(1 << 16, dtype=torch.uint8, device="cuda")
    at = ctypes.c_void_p(memory.data_ptr())
    context = NppContext(None, 0, 132, 2048, 1024, 49152, 9, 0, 0, 0)
    print("set", idei.nppiSet_8u_C1R_Ctx(ctypes.c_uint8(7), at, 128, NppSize(64, 64), context))
    print("zero", signals.nppsZero_8u_Ctx(at, ctypes.c_size_t(1024), context))
    inside, elsewhere = ctypes.c_void_p(memory.data_ptr() + 4096), ctypes.c_void_p(memory.data_ptr() + 32768)
    print("filter", filters.nppiFilterBox_8u_C1R_Ctx(inside, 128, elsewhere, 128, NppSize(16, 16), NppSize(3, 3), NppSize(1, 1), context))
    torch.cuda.synchronize()


class JpegImage(ctypes.Structure):
    _fields_ = [("channel", ctypes.c_void_p * 4), ("pitch", ctypes.c_size_t * 4)]


@program
def jpeg():
    torch = torch_ready()
    nvjpeg = library("libnvjpeg.so")
    void, ref = ctypes.c_void_p, ctypes.byref
    handle, state, encoder, parameters = void(), void(), void(), void()
    check(nvjpeg.nvjpegCreateSimple(ref(handle)), "create")
    check(nvjpeg.nvjpegJpegStateCreate(handle, ref(state)), "state")
    check(nvjpeg.nvjpegEncoderStateCreate(handle, ref(encoder), None), "encoder")
    check(nvjpeg.nvjpegEncoderParamsCreate(handle, ref(parameters), None), "parameters")
    check(nvjpeg.nvjpegEncoderParamsSetSamplingFactors(parameters, 0, None), "sampling")
    pixels = torch.zeros(64 * 64 * 3, dtype=torch.uint8, device="cuda")
    image = JpegImage()
    image.channel[0], image.pitch[0] = pixels.data_ptr(), 64 * 3
    check(nvjpeg.nvjpegEncodeImage(handle, encoder, parameters, ref(image), 5, 64, 64, None), "encode")
    length = ctypes.c_size_t()
    check(nvjpeg.nvjpegEncodeRetrieveBitstream(handle, encoder, None, ref(length), None), "length")
    bytes_ = ctypes.create_string_buffer(length.value)
    check(nvjpeg.nvjpegEncodeRetrieveBitstream(handle, encoder, bytes_, ref(length), None), "bitstream")
    print("decode", nvjpeg.nvjpegDecode(handle, state, bytes_, length, 5, ref(image), None))
    for backend in (1, 2, 3, 4):
        other = void()
        print("backend", backend, nvjpeg.nvjpegCreateEx(backend, None, None, 0, ref(other)))
    torch.cuda.synchronize()


@program
def nccl():
    torch = torch_ready()
    os.environ.update(NCCL_SOCKET_IFNAME="lo", NCCL_IB_DISABLE="1")
    with tempfile.TemporaryDirectory() as folder:
        torch.distributed.init_process_group("nccl", init_method=f"file://{folder}/store", rank=0, world_size=1, device_id=torch.device("cuda:0"))
        x = torch.ones(4096, device="cuda")
        torch.distributed.all_reduce(x)
        torch.distributed.broadcast(x.half(), 0)
        torch.distributed.all_gather_into_tensor(torch.empty(4096, device="cuda"), x)
        torch.cuda.synchronize()
        torch.distributed.destroy_process_group()


@program
def nvrtc():
    torch = torch_ready()
    attempt("jiterator", lambda: torch.cuda.jiterator._create_jit_fn("template <typename T> T f(T x) { return x * x; }")(torch.ones(8, device="cuda")))
    compiler = library("libnvrtc.so")
    made, source = ctypes.c_void_p(), b'extern "C" __global__ void k(float *x) { x[threadIdx.x] += 1; }'
    check(compiler.nvrtcCreateProgram(ctypes.byref(made), source, b"k.cu", 0, None, None), "create")
    check(compiler.nvrtcCompileProgram(made, 1, (ctypes.c_char_p * 1)(b"--gpu-architecture=sm_90")), "compile")
    linker = library("libnvJitLink.so")
    ptx = b".version 8.0\n.target sm_90\n.address_size 64\n.visible .entry k() { ret; }\n\0"
    for version in ("13_0", "12_9", "12_8"):
        if hasattr(linker, f"__nvJitLinkCreate_{version}"):
            handle = ctypes.c_void_p()
            options = (ctypes.c_char_p * 1)(b"-arch=sm_90")
            print("link create", getattr(linker, f"__nvJitLinkCreate_{version}")(ctypes.byref(handle), 1, options))
            print("add", getattr(linker, f"__nvJitLinkAddData_{version}")(handle, 2, ptx, ctypes.c_size_t(len(ptx)), b"k"))
            print("complete", getattr(linker, f"__nvJitLinkComplete_{version}")(handle))
            break
    driver = ctypes.CDLL("libcuda.so.1")
    state, module = ctypes.c_void_p(), ctypes.c_void_p()
    print("cuLinkCreate", driver.cuLinkCreate_v2(0, None, None, ctypes.byref(state)))
    print("cuModuleLoadData", driver.cuModuleLoadData(ctypes.byref(module), ptx))


@program
def cupy():
    try:
        import cupy
        import cupyx.scipy.sparse
    except ImportError:
        raise Skip("no CuPy") from None
    x = cupy.ones((64, 64), dtype=cupy.float32)
    attempt("matmul", lambda: float((x @ x).sum()))
    attempt("half", lambda: float((x.astype(cupy.float16) @ x.astype(cupy.float16)).sum()))
    attempt("fft", lambda: float(cupy.abs(cupy.fft.fft(x)).sum()))
    attempt("fftn", lambda: float(cupy.abs(cupy.fft.fftn(x)).sum()))
    attempt("half fft", lambda: cupy.fft.fft(x.astype(cupy.float16)))
    attempt("raw", lambda: cupy.RawKernel('extern "C" __global__ void k(float *x) { x[threadIdx.x] += 1; }', "k")((1,), (64,), (x,)))
    attempt("random", lambda: cupy.random.rand(100).sum())
    attempt("solve", lambda: cupy.linalg.solve(cupy.eye(8), cupy.ones(8)))
    attempt("svd", lambda: cupy.linalg.svd(x))
    attempt("eigh", lambda: cupy.linalg.eigh(x))
    matrix = cupyx.scipy.sparse.random(100, 100, 0.1, format="csr", dtype=cupy.float32)
    attempt("sparse", lambda: (matrix @ matrix).sum())
    attempt("sort", lambda: cupy.sort(cupy.random.rand(1000)))


@program
def jax():
    try:
        os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
        import jax
        import jax.numpy as jnp
    except ImportError:
        raise Skip("no JAX") from None
    for dtype in (jnp.float32, jnp.bfloat16, jnp.float16):
        x = jnp.ones((256, 256), dtype)
        attempt(f"matmul {dtype}", lambda: jax.jit(lambda a: (a @ a).sum())(x).block_until_ready())
    attempt("fft", lambda: jax.jit(jnp.fft.fft)(jnp.ones((4, 64))).block_until_ready())
    attempt("svd", lambda: jnp.linalg.svd(jnp.eye(16)))
    attempt("conv", lambda: jax.lax.conv(jnp.ones((1, 3, 16, 16)), jnp.ones((4, 3, 3, 3)), (1, 1), "SAME").block_until_ready())


@program
def onnx():
    try:
        import onnxruntime
        from onnx import TensorProto, helper
    except ImportError:
        raise Skip("no onnxruntime or onnx") from None
    import numpy

    onnxruntime.preload_dlls() if hasattr(onnxruntime, "preload_dlls") else None
    for of, dtype in ((TensorProto.FLOAT, numpy.float32), (TensorProto.FLOAT16, numpy.float16)):
        value = helper.make_tensor_value_info
        graph = helper.make_graph([helper.make_node("MatMul", ["a", "a"], ["b"])], "g", [value("a", of, [64, 64])], [value("b", of, [64, 64])])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CUDAExecutionProvider"])
        print(session.get_providers())
        attempt(f"matmul {dtype}", lambda: session.run(None, {"a": numpy.ones((64, 64), dtype)}))


@program
def triton():
    torch = torch_ready()
    try:
        import triton
    except ImportError:
        raise Skip("no Triton") from None
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TRITON_CACHE_DIR"] = folder
        path = pathlib.Path(folder) / "kernel.py"
        path.write_text("import triton\nimport triton.language as tl\n@triton.jit\ndef add(x, n: tl.constexpr):\n"
                        "    at = tl.arange(0, n)\n    tl.store(x + at, tl.load(x + at) + 1)\n")
        sys.path.insert(0, folder)
        import kernel

        kernel.add[(1,)](torch.ones(64, device="cuda"), 64)
        torch.cuda.synchronize()


@program
def compile():
    torch = torch_ready()
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(TORCHINDUCTOR_CACHE_DIR=folder, TRITON_CACHE_DIR=folder, TORCHINDUCTOR_COMPILE_THREADS="1")
        x = torch.randn(64, 64, device="cuda", dtype=torch.float16)
        torch.compile(lambda a: torch.relu(a @ a).softmax(0))(x).sum().item()


@program
def audio():
    torch = torch_ready()
    try:
        import torchaudio
    except ImportError:
        raise Skip("no torchaudio") from None
    attempt("mel", lambda: torchaudio.transforms.MelSpectrogram().cuda()(torch.randn(1, 16000, device="cuda")).sum().item())
    attempt("resample", lambda: torchaudio.transforms.Resample(16000, 8000).cuda()(torch.randn(1, 16000, device="cuda")).sum().item())


@program
def profiler():
    torch = torch_ready()
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        (torch.ones(64, 64, device="cuda") @ torch.ones(64, 64, device="cuda")).sum().item()
    print(len(seen.key_averages()))


@program
def graphs():
    torch = torch_ready()
    x = torch.randn(64, 64, device="cuda", dtype=torch.float16)
    x @ x
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = torch.relu(x @ x)
    graph.replay()
    print(y.sum().item(), torch.cuda.memory_stats()["num_alloc_retries"])


@program
def nvml():
    management = library("libnvidia-ml.so.1")
    print("init", management.nvmlInit_v2())
    device, name, memory = ctypes.c_void_p(), ctypes.create_string_buffer(96), (ctypes.c_ulonglong * 3)()
    print("device", management.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device)))
    print("name", management.nvmlDeviceGetName(device, name, 96), name.value, management.nvmlDeviceGetMemoryInfo(device, memory))
    driver = ctypes.CDLL("libcuda.so.1")
    print("cuInit", driver.cuInit(0))


@program
def video():
    decoder = library("libnvcuvid.so.1")
    driver = ctypes.CDLL("libcuda.so.1")
    driver.cuInit(0)
    context, made = ctypes.c_void_p(), ctypes.c_void_p()
    driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0)
    driver.cuCtxSetCurrent(context)
    print("lock", decoder.cuvidCtxLockCreate(ctypes.byref(made), context))
    capabilities = ctypes.create_string_buffer(256)
    ctypes.memmove(capabilities, (ctypes.c_int * 3)(4, 1, 0), 12)
    print("capabilities", decoder.cuvidGetDecoderCaps(capabilities))


# Running them


def real_driver():
    """The path of the libcuda.so.1 that a program opens here; TABLES_REAL may name another."""
    if "TABLES_REAL" in os.environ:
        return os.environ["TABLES_REAL"]
    code = "import ctypes; ctypes.CDLL('libcuda.so.1'); print(*[line.split()[-1] for line in open('/proc/self/maps') if 'libcuda.so' in line])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split()
    if not found:
        sys.exit("there is no libcuda.so.1 here")
    return os.path.realpath(found[0])


def build(driver, folder):
    own = {"cuGetExportTable", "cuGetProcAddress", "cuGetProcAddress_v2"}
    listed = subprocess.run(["nm", "-D", "--defined-only", driver], capture_output=True, text=True, check=True).stdout
    names = [line.split()[-1].split("@")[0] for line in listed.splitlines() if re.search(r" [TtWi] ", line)]
    names = sorted({name for name in names if name not in own and not name.startswith("_")})
    lines = [".text"]
    for at, name in enumerate(names):
        lines += [f".globl {name}", f".type {name}, @function", f"{name}:", "  leaq forward_table(%rip), %r11", f"  jmp *{8 * at}(%r11)"]
    lines += [".bss", ".globl forward_to", ".hidden forward_to", "forward_table:", "forward_to:", f"  .zero {8 * len(names) + 8}", ".section .data.rel.ro,\"aw\"",
              ".globl forward_names", ".hidden forward_names", "forward_names:"]
    lines += [f"  .quad name_{at}" for at in range(len(names))] + ["  .quad 0", ".section .rodata"]
    lines += [f"name_{at}: .asciz \"{name}\"" for at, name in enumerate(names)] + [".section .note.GNU-stack,\"\",@progbits", ""]
    (folder / "forward.S").write_text("\n".join(lines))
    out = folder / "libcuda.so.1"
    subprocess.run(["gcc", "-O1", "-g", "-fPIC", "-shared", "-w", "-Wl,-soname,libcuda.so.1", "-o", out, HERE / "tables.c", folder / "forward.S", "-ldl", "-lpthread"], check=True)
    return out


def run_one(name, folder, environment, seconds, tag=""):
    log, said = folder / f"{tag}{name}.log", folder / f"{tag}{name}.out"
    began = time.monotonic()
    with said.open("w") as out:
        child = subprocess.Popen([sys.executable, __file__, "--program", name], stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
                                 env={**os.environ, **environment, "TABLES_LOG": str(log), "OMP_NUM_THREADS": "2"})
        try:
            status = child.wait(max(1, seconds))
        except subprocess.TimeoutExpired:
            status = "out of time"
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        child.wait()
    return name, status, log, said, time.monotonic() - began


def lines_of(path):
    return path.read_text(errors="replace").splitlines() if path.exists() else []


def summary(results):
    """Per table: who asked, how many slots, and per slot who called how often."""
    asked, shape, calls, libraries = collections.defaultdict(set), {}, collections.defaultdict(int), collections.defaultdict(set)
    answers = collections.defaultdict(collections.Counter)
    for name, _, log, _, _ in results:
        for line in lines_of(log):
            if match := re.match(r"ASK (\S+) by (\S+): (\S+),", line):
                asked[match[1]].add(f"{match[2]} ({match[3]})")
            elif match := re.match(r"TABLE (\S+) (.*)", line):
                shape[match[1]] = match[2]
            elif match := re.match(r"(?:TOTAL|COUNT|CALL) (\S+) \[(\d+)\] (\S+) #?(\d+)", line):
                key = (match[1], int(match[2]), match[3])
                calls[key] = max(calls[key], int(match[4]))
                libraries[key].add(name)
            elif match := re.match(r"DONE (\S+) \[(\d+)\] (\S+) #\d+ result (\S+)", line):
                answers[(match[1], int(match[2]), match[3])][match[4]] += 1
    lines = []
    for uuid in sorted(asked):
        lines.append(f"{uuid}  {shape.get(uuid[:8], 'not given')}")
        lines.append("  asked by " + ", ".join(sorted(asked[uuid])))
        for key in sorted(key for key in calls if key[0] == uuid[:8]):
            some = " ".join(f"{value} ({count})" for value, count in answers[key].most_common(4))
            lines.append(f"  [{key[1]}] {key[2]}: at most {calls[key]} in a program; results (times, of those logged) {some}; in {', '.join(sorted(libraries[key]))}")
    return lines


def calls_text(results):
    """The first calls of each slot by each library, the same in different programs only once."""
    seen, lines = set(), []
    for name, _, log, _, _ in results:
        keep = False
        for line in lines_of(log):
            if match := re.match(r"(CALL|DONE) (\S+ \[\d+\] \S+) #(\d+)", line):
                key = (name if match[2].startswith(("1734dc26", "6e163fbe")) else "", match[1], match[2], match[3])
                keep = key not in seen
                seen.add(key)
            elif not line.startswith(" "):
                keep = line.startswith(("TABLE", "NO DRIVER")) and line not in seen
                seen.add(line)
            if keep:
                lines.append(f"{name}: {line}")
    return lines


def main(out, seconds):
    began = time.monotonic()
    left = lambda: seconds - (time.monotonic() - began)
    out.mkdir(parents=True, exist_ok=True)
    folder = pathlib.Path(tempfile.mkdtemp())
    driver = real_driver()
    shim = build(driver, folder)
    environment = {"LD_PRELOAD": str(shim), "TABLES_REAL": driver, "TABLES_PATCH": "0"}
    workers = max(2, os.cpu_count() or 2)
    first, refused = out / "tables.txt", out / "tables-refused.txt"
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        # Slow ones first; the limit leaves time for the refusals.
        slow = ["conv", "lt_epilogues", "compile", "lt", "sdpa", "solver", "fft_static", "jax", "onnx", "nccl"]
        order = slow + [name for name in PROGRAMS if name not in slow]
        until = 0.55 * seconds
        runs = [pool.submit(lambda name: run_one(name, folder, environment, until - (time.monotonic() - began)), name) for name in order]
        patched = pool.submit(run_one, "half", folder, {**environment, "TABLES_PATCH": "1"}, until / 2, "patched-")
        results = [run.result() for run in runs]
        trial = patched.result()
        lines = [f"driver {driver}", f"python {sys.version.split()[0]}", ""] + summary(results) + ["", "With CUDART_INTERFACE patched in place: " + str(trial[1])]
        lines += [line for line in summary([trial]) if "[" in line][:40] + [""]
        for name, status, _, said, took in results:
            text = lines_of(said)
            lines.append(f"== {name}: {status}, {took:.0f} s")
            lines += ["   " + line[:400] for line in (text if name in ("table_1734dc26", "streams") else [line for line in text if not line.startswith("ok ")][-14:])]
        first.write_text("\n".join(lines) + "\n")
        (out / "tables-calls.txt").write_text("\n".join(calls_text(results))[:1_500_000] + "\n")

        tables = sorted({match[1] for result in results for line in lines_of(result[2]) if (match := re.match(r"ASK (\S{8})-\S+ by \S+: 0,", line))})
        basic = {"6bd5fb6c", "a094798c", "42d85a81", "c693336e", "263e8860", "d4082055"}
        asked_in = {result[0]: "\n".join(lines_of(result[2])) for result in results}
        cases = []
        for table in tables:
            users = [name for name in SHORT if re.search(rf"CALL {table} ", asked_in.get(name, ""))] or [name for name in SHORT if f"ASK {table}" in asked_in.get(name, "")]
            for name in users[: 1 if table in basic else 3]:
                cases += [(table, name, way) for way in ("null", "stub", "give")]
        until = seconds - 4

        def refuse(case):
            table, name, way = case
            if until - (time.monotonic() - began) < 3:
                return (*case, "no time", [], [])
            limit = min(40, until - (time.monotonic() - began))
            result = run_one(name, folder, {**environment, "TABLES_REFUSE": table, "TABLES_REFUSE_AS": way}, limit, f"{table}-{way}-")
            calls = collections.Counter(match[1] + " " + match[2] for line in lines_of(result[2]) if (match := re.match(rf"CALL {table} (\[\d+\]) (\S+)", line)))
            return (*case, result[1], [f"{key} x{count}" for key, count in calls.items()], [line for line in lines_of(result[3]) if not line.startswith("ok ")][:3])

        cases.sort(key=lambda case: (case[0] in basic, case[2] == "give"))
        lines = []
        for table, name, way, status, calls, said in pool.map(refuse, cases):
            lines.append(f"{table} refused as {way}: {name} ends with {status}; stubs called: {', '.join(calls) or 'none'}")
            lines += ["    " + line[:200] for line in said]
        refused.write_text("\n".join(lines) + "\n")
    print(f"{len(results)} programs, {len(cases)} refusals, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--program":
        try:
            PROGRAMS[sys.argv[2]]()
            print("ok end")
        except Skip as skip:
            print("skipped:", skip)
    elif len(sys.argv) in (2, 3):
        main(pathlib.Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) == 3 else 140)
    else:
        sys.exit(__doc__)
