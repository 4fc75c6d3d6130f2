// Streams and events: order within a stream, waits across streams, timing, and hazards on host memory.
#include <cstring>

#include "check.cuh"

constexpr int COUNT = 20000;

__global__ void fill(int *values, int value) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < COUNT) values[i] = value + i;
}

__global__ void add(const int *from, int *to) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < COUNT) to[i] += from[i];
}

__global__ void affine(int *values, int factor, int offset) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < COUNT) values[i] = values[i] * factor + offset;
}

constexpr int BLOCKS = (COUNT + 255) / 256;

static int *pinned_ints() {
    int *values = nullptr;
    MUST(cudaMallocHost((void **)&values, COUNT * sizeof(int)));
    return values;
}

static std::vector<int> copied(const int *values) { return std::vector<int>(values, values + COUNT); }

// Three streams fill, a fourth waits for all of them and adds up.
static void across_streams() {
    cudaStream_t streams[4];
    cudaEvent_t filled[3];
    Device<int> parts[3] = {Device<int>(COUNT), Device<int>(COUNT), Device<int>(COUNT)}, total(COUNT);
    for (int i = 0; i < 4; i++) MUST(cudaStreamCreateWithFlags(&streams[i], i % 2 ? cudaStreamNonBlocking : 0));
    for (cudaEvent_t &event : filled) MUST(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    MUST(cudaMemsetAsync(total.pointer, 0, COUNT * sizeof(int), streams[3]));
    for (int i = 0; i < 3; i++) {
        fill<<<BLOCKS, 256, 0, streams[i]>>>(parts[i].pointer, 1000 * i);
        affine<<<BLOCKS, 256, 0, streams[i]>>>(parts[i].pointer, i + 2, -7);
        MUST(cudaEventRecord(filled[i], streams[i]));
        MUST(cudaStreamWaitEvent(streams[3], filled[i], 0));
        add<<<BLOCKS, 256, 0, streams[3]>>>(parts[i].pointer, total.pointer);
    }
    int *sums = pinned_ints();
    MUST(cudaMemcpyAsync(sums, total.pointer, COUNT * sizeof(int), cudaMemcpyDeviceToHost, streams[3]));
    MUST(cudaStreamSynchronize(streams[3]));
    std::vector<int> want(COUNT);
    for (int i = 0; i < COUNT; i++) {
        for (int part = 0; part < 3; part++) want[i] += (1000 * part + i) * (part + 2) - 7;
    }
    check("a stream waits for three others", same(copied(sums), want));
    record(copied(sums));
    for (cudaEvent_t event : filled) check("an awaited event is complete", cudaEventQuery(event) == cudaSuccess);
    for (cudaStream_t stream : streams) MUST(cudaStreamDestroy(stream));
    for (cudaEvent_t event : filled) MUST(cudaEventDestroy(event));
    MUST(cudaFreeHost(sums));
}

static void timing() {
    cudaEvent_t before, after;
    MUST(cudaEventCreate(&before));
    MUST(cudaEventCreate(&after));
    check("an event never recorded counts as complete", cudaEventQuery(before) == cudaSuccess);
    Device<int> values(COUNT);
    MUST(cudaEventRecord(before));
    fill<<<BLOCKS, 256>>>(values.pointer, 1);
    MUST(cudaEventRecord(after));
    MUST(cudaEventSynchronize(after));
    float elapsed_ms = -1.0f, backwards_ms = 1.0f;
    MUST(cudaEventElapsedTime(&elapsed_ms, before, after));
    MUST(cudaEventElapsedTime(&backwards_ms, after, before));
    check("elapsed time is finite and not negative", elapsed_ms >= 0.0f && elapsed_ms < 60000.0f);
    check("elapsed time backwards is its negative", backwards_ms == -elapsed_ms);
    MUST(cudaEventDestroy(before));
    MUST(cudaEventDestroy(after));
}

// The copy to the device reads host memory that the copy from the device, before it on the
// same stream and not waited for, has still to write.
static void out_and_back_in() {
    cudaStream_t stream;
    MUST(cudaStreamCreate(&stream));
    Device<int> from(COUNT), to(COUNT);
    int *buffer = pinned_ints(), *result = pinned_ints();
    for (int round = 0; round < 4; round++) {
        std::memset(buffer, 0x55, COUNT * sizeof(int));
        fill<<<BLOCKS, 256, 0, stream>>>(from.pointer, round * 100);
        MUST(cudaMemcpyAsync(buffer, from.pointer, COUNT * sizeof(int), cudaMemcpyDeviceToHost, stream));
        MUST(cudaMemcpyAsync(to.pointer, buffer, COUNT * sizeof(int), cudaMemcpyHostToDevice, stream));
        affine<<<BLOCKS, 256, 0, stream>>>(to.pointer, 2, 1);
        MUST(cudaMemcpyAsync(result, to.pointer, COUNT * sizeof(int), cudaMemcpyDeviceToHost, stream));
        MUST(cudaStreamSynchronize(stream));
        std::vector<int> want(COUNT);
        for (int i = 0; i < COUNT; i++) want[i] = 2 * (round * 100 + i) + 1;
        check("copy out, then in from the same buffer, no wait between", same(copied(result), want));
    }
    record(copied(result));

    // Part of the buffer only: the rest is the program's.
    for (int i = 0; i < COUNT; i++) buffer[i] = -i;
    MUST(cudaMemcpyAsync(buffer + 100, from.pointer, 50 * sizeof(int), cudaMemcpyDeviceToHost, stream));
    MUST(cudaMemcpyAsync(to.pointer, buffer, COUNT * sizeof(int), cudaMemcpyHostToDevice, stream));
    MUST(cudaStreamSynchronize(stream));
    std::vector<int> want(COUNT);
    for (int i = 0; i < COUNT; i++) want[i] = i >= 100 && i < 150 ? 300 + i - 100 : -i;
    check("the same with overlapping parts", same(to.host(), want));

    // Two copies into one place: the later one wins.
    Device<int> other(COUNT);
    affine<<<BLOCKS, 256, 0, stream>>>(to.pointer, 0, 5);
    affine<<<BLOCKS, 256, 0, stream>>>(other.pointer, 0, 6);
    MUST(cudaMemcpyAsync(buffer, to.pointer, COUNT * sizeof(int), cudaMemcpyDeviceToHost, stream));
    MUST(cudaMemcpyAsync(buffer, other.pointer, COUNT * sizeof(int), cudaMemcpyDeviceToHost, stream));
    MUST(cudaStreamSynchronize(stream));
    check("the later of two copies out wins", same(copied(buffer), std::vector<int>(COUNT, 6)));
    MUST(cudaFreeHost(buffer));
    MUST(cudaFreeHost(result));
    MUST(cudaStreamDestroy(stream));
}

// What a program may look at after each kind of waiting.
static void ways_of_waiting() {
    cudaStream_t stream;
    cudaEvent_t event;
    MUST(cudaStreamCreate(&stream));
    MUST(cudaEventCreateWithFlags(&event, cudaEventDisableTiming | cudaEventBlockingSync));
    Device<int> values(COUNT);
    int *out = pinned_ints();
    std::vector<int> want(COUNT);
    const char *names[4] = {"after cudaDeviceSynchronize", "after cudaEventSynchronize", "after polling cudaStreamQuery",
                            "after polling cudaEventQuery"};
    for (int way = 0; way < 4; way++) {
        fill<<<BLOCKS, 256, 0, stream>>>(values.pointer, way);
        MUST(cudaMemcpyAsync(out, values.pointer, COUNT * sizeof(int), cudaMemcpyDeviceToHost, stream));
        MUST(cudaEventRecord(event, stream));
        cudaError_t state = cudaSuccess;
        switch (way) {
        case 0: MUST(cudaDeviceSynchronize()); break;
        case 1: MUST(cudaEventSynchronize(event)); break;
        case 2: while ((state = cudaStreamQuery(stream)) == cudaErrorNotReady) {} break;
        default: while ((state = cudaEventQuery(event)) == cudaErrorNotReady) {} break;
        }
        MUST(state);
        for (int i = 0; i < COUNT; i++) want[i] = way + i;
        check(names[way], same(copied(out), want));
    }
    (void)cudaGetLastError(); // cudaErrorNotReady is no error of ours
    MUST(cudaEventDestroy(event));
    MUST(cudaStreamDestroy(stream));
    MUST(cudaFreeHost(out));
}

int main() {
    int least = 0, greatest = 0;
    MUST(cudaDeviceGetStreamPriorityRange(&least, &greatest));
    check("stream priorities are a range", least >= greatest);
    across_streams();
    timing();
    out_and_back_in();
    ways_of_waiting();
    return verdict();
}
