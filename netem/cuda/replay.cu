// What a program that repeats itself does, and every way to stop doing so: many small inferences, exactly alike but for
// their inputs, and then something else at a place where the repetition was to go on. Integers, so that what is right is
// known to the bit.
#include <cstring>
#include <functional>
#include <thread>

#include <cuda.h>
#include <dlfcn.h>

#include "check.cuh"

typedef uint32_t Word;

constexpr int MOST = 256, LAYERS = 11, THREADS = 64;

__host__ __device__ static Word mixed(Word value, Word neighbour, Word weight, int layer) {
    value = value * (2 * layer + 3) + (neighbour ^ weight);
    return value ^ (value >> (1 + layer % 7));
}

__global__ void layer_of(const Word *from, Word *to, const Word *weights, int layer, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) to[i] = mixed(from[i], from[(i + layer + 1) % count], weights[i], layer);
}

// Adds to what is there: whoever runs it twice, or without the memset before it, is found out.
__global__ void block_sums(const Word *from, Word *sums, int count) {
    __shared__ Word part[THREADS];
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    part[threadIdx.x] = i < count ? from[i] : 0;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) part[threadIdx.x] += part[threadIdx.x + half];
        __syncthreads();
    }
    if (threadIdx.x == 0) sums[blockIdx.x] += part[0];
}

__global__ void add_sums(Word *values, const Word *sums, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) values[i] += sums[i / THREADS];
}

__global__ void count_step(Word *values, Word step) { values[threadIdx.x] = values[threadIdx.x] * 3 + step; }

static int blocks_of(int count) { return (count + THREADS - 1) / THREADS; }

/// A model on a stream: weights, two buffers that layers go to and fro between, and pinned memory for what goes in and out.
struct Network {
    std::vector<Word> weights;
    Device<Word> device_weights, ping, pong, sums;
    Word *in = nullptr, *out = nullptr;
    cudaStream_t stream = nullptr;
    Generator generator;
    int layers = LAYERS, count = MOST;

    explicit Network(uint64_t seed) : device_weights(MOST), ping(MOST), pong(MOST), sums(MOST / THREADS), generator(seed) {
        for (int i = 0; i < MOST; i++) weights.push_back((Word)generator.next());
        MUST(cudaMallocHost((void **)&in, MOST * sizeof(Word)));
        MUST(cudaMallocHost((void **)&out, MOST * sizeof(Word)));
        MUST(cudaMemcpy(device_weights.pointer, weights.data(), MOST * sizeof(Word), cudaMemcpyHostToDevice));
        open_stream();
    }
    ~Network() {
        cudaStreamDestroy(stream);
        cudaFreeHost(in);
        cudaFreeHost(out);
    }

    void open_stream() { MUST(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking)); }

    void layer(int number) {
        const Word *from = number % 2 ? pong.pointer : ping.pointer;
        Word *to = number % 2 ? ping.pointer : pong.pointer;
        layer_of<<<blocks_of(count), THREADS, 0, stream>>>(from, to, device_weights.pointer, number, count);
    }

    /// Where the layers leave their result.
    Word *result() const { return layers % 2 ? pong.pointer : ping.pointer; }

    /// One inference; `midway` is called before the layer `at`, and may change how many layers there are.
    void issue(const std::vector<Word> &input, int at = -1, const std::function<void()> &midway = {}) {
        std::memcpy(in, input.data(), count * sizeof(Word));
        MUST(cudaMemcpyAsync(ping.pointer, in, count * sizeof(Word), cudaMemcpyHostToDevice, stream));
        MUST(cudaMemsetAsync(sums.pointer, 0, MOST / THREADS * sizeof(Word), stream));
        for (int number = 0; number < layers; number++) {
            if (number == at) midway();
            layer(number);
        }
        block_sums<<<blocks_of(count), THREADS, 0, stream>>>(result(), sums.pointer, count);
        add_sums<<<blocks_of(count), THREADS, 0, stream>>>(result(), sums.pointer, count);
        MUST(cudaGetLastError());
        MUST(cudaMemcpyAsync(out, result(), count * sizeof(Word), cudaMemcpyDeviceToHost, stream));
    }

    std::vector<Word> fresh() {
        std::vector<Word> values(count);
        for (Word &value : values) value = (Word)generator.next();
        return values;
    }

    std::vector<Word> reference(std::vector<Word> values) const {
        for (int number = 0; number < layers; number++) {
            std::vector<Word> next(count);
            for (int i = 0; i < count; i++) next[i] = mixed(values[i], values[(i + number + 1) % count], weights[i], number);
            values = next;
        }
        std::vector<Word> totals(blocks_of(count));
        for (int i = 0; i < count; i++) totals[i / THREADS] += values[i];
        for (int i = 0; i < count; i++) values[i] += totals[i / THREADS];
        return values;
    }

    /// Whether what came out is right for `input`; does not print unless it is wrong.
    bool is_right(const std::vector<Word> &input) const {
        return same(std::vector<Word>(out, out + count), reference(input));
    }

    /// One whole inference; gives whether it was right.
    bool infer(int at = -1, const std::function<void()> &midway = {}) {
        std::vector<Word> input = fresh();
        issue(input, at, midway);
        MUST(cudaStreamSynchronize(stream));
        record(out, count * sizeof(Word));
        return is_right(input);
    }

    /// So many inferences that a repetition is known to be one.
    bool settle(int times = 6) {
        bool right = true;
        for (int i = 0; i < times; i++) right &= infer();
        return right;
    }
};

static void steady() {
    Network network(1);
    check("the same inference 40 times", network.settle(40));
}

static void shapes() {
    Network network(2);
    bool right = network.settle();
    for (int i = 0; i < 36; i++) {
        const int counts[] = {MOST, 200, 200, 97, MOST, 64};
        network.count = counts[i % 6];
        right &= network.infer();
    }
    check("changing shapes", right);
}

static void branches() {
    Network network(3);
    bool right = network.settle();
    // The program looks at its output to decide how deep the next one goes.
    for (int i = 0; i < 30; i++) {
        network.layers = network.out[0] % 3 == 0 ? LAYERS : network.out[0] % 3 == 1 ? LAYERS - 2 : LAYERS + 1;
        right &= network.infer();
    }
    check("a branch that depends on the output", right);
    network.layers = LAYERS;
    right = network.settle();
    // Left at every place in turn, for something that is nowhere else, and taken up again.
    Device<Word> elsewhere(THREADS);
    MUST(cudaMemset(elsewhere.pointer, 0, THREADS * sizeof(Word)));
    for (int at = 0; at < LAYERS; at++) {
        right &= network.infer(at, [&] { count_step<<<1, THREADS, 0, network.stream>>>(elsewhere.pointer, at); });
        right &= network.settle(2);
    }
    std::vector<Word> want(THREADS);
    for (int at = 0; at < LAYERS; at++) {
        for (Word &value : want) value = value * 3 + at;
    }
    check("a launch between two others, at every place", right && same(elsewhere.host(), want));
    // Inferences that are broken off: the next one begins where another layer was to come.
    for (int at = 0; at <= LAYERS; at++) {
        network.layers = at;
        std::vector<Word> abandoned = network.fresh();
        MUST(cudaMemcpyAsync(network.ping.pointer, abandoned.data(), MOST * sizeof(Word), cudaMemcpyHostToDevice, network.stream));
        MUST(cudaMemsetAsync(network.sums.pointer, 0, MOST / THREADS * sizeof(Word), network.stream));
        for (int number = 0; number < at; number++) network.layer(number);
        network.layers = LAYERS;
        right &= network.settle(2);
    }
    check("an inference broken off at every place", right);
}

static void allocations() {
    Network network(4);
    bool right = network.settle();
    for (int at = 0; at < LAYERS; at += 3) {
        Word *extra = nullptr;
        std::vector<Word> kept(MOST);
        right &= network.infer(at, [&] {
            MUST(cudaMalloc((void **)&extra, MOST * sizeof(Word)));
            MUST(cudaMemcpyAsync(extra, network.device_weights.pointer, MOST * sizeof(Word), cudaMemcpyDeviceToDevice, network.stream));
        });
        MUST(cudaMemcpy(kept.data(), extra, MOST * sizeof(Word), cudaMemcpyDeviceToHost));
        right &= same(kept, network.weights);
        MUST(cudaFree(extra));
        right &= network.settle(3);
    }
    check("an allocation in the middle", right);
}

static void waiting() {
    Network network(5);
    cudaEvent_t done;
    MUST(cudaEventCreateWithFlags(&done, cudaEventDisableTiming));
    bool right = true;
    for (int i = 0; i < 32; i++) {
        std::vector<Word> input = network.fresh();
        network.issue(input);
        MUST(cudaEventRecord(done, network.stream));
        cudaError_t state = cudaSuccess;
        switch (i / 8) {
        case 0: while ((state = cudaEventQuery(done)) == cudaErrorNotReady) {} break;
        case 1: while ((state = cudaStreamQuery(network.stream)) == cudaErrorNotReady) {} break;
        case 2: state = cudaEventSynchronize(done); break;
        default: state = cudaDeviceSynchronize(); break;
        }
        MUST(state);
        right &= network.is_right(input);
        record(network.out, MOST * sizeof(Word));
    }
    (void)cudaGetLastError(); // cudaErrorNotReady is no error of ours
    MUST(cudaEventDestroy(done));
    check("events and streams polled, events and the device waited for", right);
}

static void feedback() {
    Network network(6);
    bool right = network.settle();
    std::vector<Word> expected = network.fresh();
    std::memcpy(network.out, expected.data(), MOST * sizeof(Word));
    // No wait between them: the copy in reads what the copy out before it has still to write.
    for (int i = 0; i < 12; i++) {
        MUST(cudaMemcpyAsync(network.ping.pointer, network.out, MOST * sizeof(Word), cudaMemcpyHostToDevice, network.stream));
        MUST(cudaMemsetAsync(network.sums.pointer, 0, MOST / THREADS * sizeof(Word), network.stream));
        for (int number = 0; number < LAYERS; number++) network.layer(number);
        block_sums<<<blocks_of(MOST), THREADS, 0, network.stream>>>(network.result(), network.sums.pointer, MOST);
        add_sums<<<blocks_of(MOST), THREADS, 0, network.stream>>>(network.result(), network.sums.pointer, MOST);
        MUST(cudaMemcpyAsync(network.out, network.result(), MOST * sizeof(Word), cudaMemcpyDeviceToHost, network.stream));
        expected = network.reference(expected);
    }
    MUST(cudaStreamSynchronize(network.stream));
    right &= same(std::vector<Word>(network.out, network.out + MOST), expected);
    record(network.out, MOST * sizeof(Word));
    check("each output is the next input, and nothing is waited for", right);
}

// As a training loop does it: the argument of one kernel is another each time, and nothing is waited for until the end.
static void counting() {
    Device<Word> state(THREADS);
    std::vector<Word> want(THREADS);
    cudaStream_t stream;
    MUST(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    MUST(cudaMemset(state.pointer, 0, THREADS * sizeof(Word)));
    for (Word step = 0; step < 50; step++) {
        for (int i = 0; i < 10; i++) {
            Word argument = i == 4 ? step * 7919 : i;
            count_step<<<1, THREADS, 0, stream>>>(state.pointer, argument);
            for (Word &value : want) value = value * 3 + argument;
        }
    }
    MUST(cudaStreamSynchronize(stream));
    check("a loop that waits for nothing and counts its steps", same(state.host(), want));
    record(want);
    MUST(cudaStreamDestroy(stream));
}

static void two_threads() {
    bool right[2] = {};
    Network first(7), second(8);
    Network *networks[2] = {&first, &second};
    second.layers = LAYERS + 3;
    std::vector<std::vector<Word>> outputs[2];
    std::vector<std::thread> threads;
    for (int number = 0; number < 2; number++) {
        threads.emplace_back([&, number] {
            Network &network = *networks[number];
            right[number] = true;
            for (int i = 0; i < 30; i++) {
                std::vector<Word> input = network.fresh();
                network.issue(input);
                // What MUST would print is another thread's to print: a wrong output is enough.
                right[number] &= cudaStreamSynchronize(network.stream) == cudaSuccess && network.is_right(input);
                outputs[number].emplace_back(network.out, network.out + MOST);
            }
        });
    }
    for (std::thread &thread : threads) thread.join();
    for (auto &thread_outputs : outputs) {
        for (auto &output : thread_outputs) record(output);
    }
    check("two threads, each with a network of its own", right[0] && right[1]);
}

static void two_models() {
    Network first(9), second(10);
    second.layers = LAYERS - 1;
    bool right = true;
    for (int i = 0; i < 24; i++) right &= (i * i % 5 < 2 ? first : second).infer();
    check("two networks that take turns", right);
}

// One inference over three streams that part and meet again.
static void streams() {
    Network networks[3] = {Network(11), Network(12), Network(13)};
    cudaEvent_t begun, parts[3];
    MUST(cudaEventCreateWithFlags(&begun, cudaEventDisableTiming));
    for (cudaEvent_t &part : parts) MUST(cudaEventCreateWithFlags(&part, cudaEventDisableTiming));
    cudaStream_t main_stream = networks[0].stream;
    Device<Word> total(MOST);
    Word *sum = nullptr;
    MUST(cudaMallocHost((void **)&sum, MOST * sizeof(Word)));
    bool right = true;
    for (int i = 0; i < 16; i++) {
        std::vector<Word> want(MOST, 0), inputs[3];
        MUST(cudaMemsetAsync(total.pointer, 0, MOST * sizeof(Word), main_stream));
        MUST(cudaEventRecord(begun, main_stream));
        for (int part = 0; part < 3; part++) {
            inputs[part] = networks[part].fresh();
            if (part) MUST(cudaStreamWaitEvent(networks[part].stream, begun, 0));
            networks[part].issue(inputs[part]);
            MUST(cudaEventRecord(parts[part], networks[part].stream));
        }
        for (int part = 0; part < 3; part++) {
            MUST(cudaStreamWaitEvent(main_stream, parts[part], 0));
            layer_of<<<blocks_of(MOST), THREADS, 0, main_stream>>>(networks[part].result(), total.pointer, total.pointer, part, MOST);
            std::vector<Word> from = networks[part].reference(inputs[part]);
            std::vector<Word> next(MOST);
            for (int k = 0; k < MOST; k++) next[k] = mixed(from[k], from[(k + part + 1) % MOST], want[k], part);
            want = next;
        }
        MUST(cudaMemcpyAsync(sum, total.pointer, MOST * sizeof(Word), cudaMemcpyDeviceToHost, main_stream));
        MUST(cudaStreamSynchronize(main_stream));
        right &= same(std::vector<Word>(sum, sum + MOST), want);
        record(sum, MOST * sizeof(Word));
    }
    check("three streams that part and meet", right);
    MUST(cudaEventDestroy(begun));
    for (cudaEvent_t part : parts) MUST(cudaEventDestroy(part));
    MUST(cudaFreeHost(sum));
}

static void errors() {
    Network network(14);
    bool right = network.settle(), same_errors = true;
    for (int at = 0; at < LAYERS; at += 2) {
        right &= network.infer(at, [&] {
            count_step<<<1, 4096, 0, network.stream>>>(network.ping.pointer, 1);
            same_errors &= cudaGetLastError() == cudaErrorInvalidValue;
            // No memory of ours is there.
            Word *nowhere = network.ping.pointer + ((size_t)1 << 42), word = 0;
            same_errors &= cudaMemcpy(nowhere, &word, sizeof(word), cudaMemcpyHostToDevice) == cudaErrorInvalidValue;
            same_errors &= cudaGetLastError() == cudaErrorInvalidValue;
            same_errors &= cudaStreamSynchronize(network.stream) == cudaSuccess;
        });
        right &= network.settle(2);
    }
    check("a launch and a copy that are refused in the middle", right);
    check("they are refused with the right errors", same_errors);
}

static void new_streams() {
    bool right = true;
    Network network(15);
    for (int i = 0; i < 5; i++) {
        right &= network.settle(5);
        MUST(cudaStreamDestroy(network.stream));
        network.open_stream();
    }
    check("a stream that is destroyed and made again", right);
}

// times_three: multiplies each of the first 64 words by 3.
static const char PTX[] = ".version 7.0\n.target sm_75\n.address_size 64\n"
                          ".visible .entry times_three(.param .u64 words)\n{\n"
                          "  .reg .b32 %r<3>;\n  .reg .b64 %rd<4>;\n"
                          "  ld.param.u64 %rd1, [words];\n  mov.u32 %r1, %tid.x;\n  mul.wide.u32 %rd2, %r1, 4;\n"
                          "  add.s64 %rd3, %rd1, %rd2;\n  ld.global.u32 %r2, [%rd3];\n  mul.lo.u32 %r2, %r2, 3;\n"
                          "  st.global.u32 [%rd3], %r2;\n  ret;\n}\n";

static void new_modules() {
    void *driver = dlopen("libcuda.so.1", RTLD_NOW);
    auto load = (decltype(&cuModuleLoadData))dlsym(driver, "cuModuleLoadData");
    auto unload = (decltype(&cuModuleUnload))dlsym(driver, "cuModuleUnload");
    auto find = (decltype(&cuModuleGetFunction))dlsym(driver, "cuModuleGetFunction");
    auto launch = (decltype(&cuLaunchKernel))dlsym(driver, "cuLaunchKernel");
    if (!load || !unload || !find || !launch) return check("the driver has modules", false);
    std::vector<Word> want(THREADS, 1);
    Device<Word> values(want);
    bool right = true;
    for (int round = 0; round < 4; round++) {
        CUmodule module;
        CUfunction function;
        if (load(&module, PTX) || find(&function, module, "times_three")) return check("a module loads", false);
        for (int i = 0; i < 5; i++) {
            for (int k = 0; k < 10; k++) {
                void *arguments[] = {(void *)&values.pointer};
                right &= launch(function, 1, 1, 1, THREADS, 1, 1, 0, nullptr, arguments, nullptr) == CUDA_SUCCESS;
                for (Word &value : want) value *= 3;
            }
            right &= same(values.host(), want);
        }
        right &= unload(module) == CUDA_SUCCESS;
    }
    record(want);
    check("a module that is unloaded and loaded again", right);
}

// More different inferences than anyone will remember, each often enough to be remembered.
static void many() {
    Network network(16);
    network.count = 32;
    bool right = true;
    for (int pass = 0; pass < 2; pass++) {
        for (network.layers = 6; network.layers < 76; network.layers++) right &= network.settle(4);
    }
    check("seventy different inferences", right);
}

int main() {
    steady();
    shapes();
    branches();
    allocations();
    waiting();
    feedback();
    counting();
    two_threads();
    two_models();
    streams();
    errors();
    new_streams();
    new_modules();
    many();
    // It ends in the middle of an inference that it knows, and frees nothing.
    Network &last = *new Network(17);
    bool right = last.settle();
    last.layers = LAYERS / 2;
    last.issue(last.fresh());
    check("before it ends in the middle of an inference", right);
    return verdict();
}
