// Several host threads at once, each with its own stream, the shared default stream, or (compiled
// with --default-stream per-thread) a default stream of its own.
#include <atomic>
#include <thread>

#include "check.cuh"

constexpr int THREADS = 6, ROUNDS = 12, COUNT = 3000;

__global__ void step(int *values, int factor) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < COUNT) values[i] = values[i] * factor + i;
}

enum class Stream { Own, Default };

// What a thread works out; its errors are counted, because only the main thread prints.
struct Worker {
    std::vector<int> result;
    cudaError_t error = cudaSuccess;

    void note(cudaError_t code) {
        if (error == cudaSuccess) error = code;
    }

    void work(int number, Stream kind) {
        cudaStream_t stream = nullptr;
        int *device = nullptr, *pinned = nullptr;
        std::vector<int> start(COUNT, number);
        result.assign(COUNT, 0);
        if (kind == Stream::Own) note(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
        note(cudaMalloc((void **)&device, COUNT * sizeof(int)));
        note(cudaMallocHost((void **)&pinned, COUNT * sizeof(int)));
        if (error != cudaSuccess) return;
        note(cudaMemcpyAsync(device, start.data(), COUNT * sizeof(int), cudaMemcpyHostToDevice, stream));
        for (int round = 0; round < ROUNDS; round++) {
            step<<<(COUNT + 127) / 128, 128, 0, stream>>>(device, number + round);
            note(cudaGetLastError());
            if (round % 3 == number % 3) note(cudaStreamSynchronize(stream));
        }
        note(cudaMemcpyAsync(pinned, device, COUNT * sizeof(int), cudaMemcpyDeviceToHost, stream));
        note(cudaStreamSynchronize(stream));
        std::copy(pinned, pinned + COUNT, result.begin());
        // The last error is each thread's own.
        if (number % 2) {
            if (cudaSetDevice(4711) != cudaErrorInvalidDevice || cudaGetLastError() != cudaErrorInvalidDevice) {
                note(cudaErrorUnknown);
            }
        }
        note(cudaGetLastError());
        note(cudaFree(device));
        note(cudaFreeHost(pinned));
        if (kind == Stream::Own) note(cudaStreamDestroy(stream));
    }
};

static std::vector<int> reference(int number) {
    std::vector<int> values(COUNT, number);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < COUNT; i++) values[i] = (int)((unsigned)values[i] * (unsigned)(number + round) + (unsigned)i);
    }
    return values;
}

static void together(const char *what, Stream kind) {
    std::vector<Worker> workers(THREADS);
    std::vector<std::thread> threads;
    for (int i = 0; i < THREADS; i++) threads.emplace_back([&, i] { workers[i].work(i, kind); });
    for (std::thread &thread : threads) thread.join();
    bool right = true, clean = true;
    for (int i = 0; i < THREADS; i++) {
        if (workers[i].error != cudaSuccess) std::printf("       thread %d: %s\n", i, cudaGetErrorName(workers[i].error));
        clean &= workers[i].error == cudaSuccess;
        right &= same(workers[i].result, reference(i));
        record(workers[i].result);
    }
    check(what, right && clean);
}

// One thread records, another waits: a wait must hold up neither the recorder nor the server.
static void handover() {
    cudaStream_t first, second;
    cudaEvent_t done;
    MUST(cudaStreamCreateWithFlags(&first, cudaStreamNonBlocking));
    MUST(cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking));
    MUST(cudaEventCreateWithFlags(&done, cudaEventDisableTiming));
    Device<int> values(COUNT);
    MUST(cudaMemset(values.pointer, 0, COUNT * sizeof(int)));
    MUST(cudaDeviceSynchronize());
    std::atomic<bool> recorded{false};
    Worker giver, taker;
    std::thread give([&] {
        step<<<(COUNT + 127) / 128, 128, 0, first>>>(values.pointer, 3);
        giver.note(cudaGetLastError());
        giver.note(cudaEventRecord(done, first));
        recorded = true;
    });
    std::thread take([&] {
        while (!recorded) std::this_thread::yield();
        taker.note(cudaStreamWaitEvent(second, done, 0));
        step<<<(COUNT + 127) / 128, 128, 0, second>>>(values.pointer, 2);
        taker.note(cudaGetLastError());
        taker.note(cudaStreamSynchronize(second));
    });
    give.join();
    take.join();
    std::vector<int> want(COUNT);
    for (int i = 0; i < COUNT; i++) want[i] = 3 * i;
    check("an event recorded by one thread, awaited by another",
          giver.error == cudaSuccess && taker.error == cudaSuccess && same(values.host(), want));
    MUST(cudaStreamDestroy(first));
    MUST(cudaStreamDestroy(second));
    MUST(cudaEventDestroy(done));
}

int main() {
    // Without any call before: the threads race for initialisation.
    together("six threads, a stream each", Stream::Own);
    together("six threads on the default stream", Stream::Default);
    handover();
    return verdict();
}
