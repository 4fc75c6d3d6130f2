// Atomics: a histogram through shared memory, and every kind of atomic on global memory.
#include <algorithm>

#include "check.cuh"

constexpr int BINS = 64;

__global__ void histogram(const unsigned char *values, unsigned *bins, int count) {
    __shared__ unsigned local[BINS];
    for (int bin = threadIdx.x; bin < BINS; bin += blockDim.x) local[bin] = 0;
    __syncthreads();
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
        atomicAdd(&local[values[i] % BINS], 1u);
    }
    __syncthreads();
    for (int bin = threadIdx.x; bin < BINS; bin += blockDim.x) atomicAdd(&bins[bin], local[bin]);
}

// Whole numbers, so that the order in which floats are added cannot show.
struct Totals {
    int least, most;
    unsigned bits_or, bits_and, bits_xor, wrapped;
    unsigned long long sum, most64;
    float float_sum;
    unsigned swaps;
    double double_sum;
};

__global__ void totals(const int *values, Totals *out, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    int value = values[i];
    atomicMin(&out->least, value);
    atomicMax(&out->most, value);
    atomicOr(&out->bits_or, (unsigned)value & 0x00ff00ffu);
    atomicAnd(&out->bits_and, (unsigned)value | 0xfff0fff0u);
    atomicXor(&out->bits_xor, (unsigned)value);
    atomicInc(&out->wrapped, 9);
    atomicAdd(&out->sum, (unsigned long long)(long long)value);
    atomicMax(&out->most64, (unsigned long long)(unsigned)value << 8);
    atomicAdd(&out->float_sum, (float)(value & 7));
    atomicAdd(&out->double_sum, (double)(value & 15));
    // A lock-free increment by compare-and-swap.
    unsigned seen = out->swaps, assumed;
    do {
        assumed = seen;
        seen = atomicCAS(&out->swaps, assumed, assumed + 3);
    } while (seen != assumed);
}

// Each thread takes a ticket; together the tickets must be 0..count.
__global__ void tickets(int *counter, int *taken, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) taken[i] = atomicAdd(counter, 1);
}

int main() {
    Generator generator(6);
    const int count = 60000;
    std::vector<unsigned char> bytes(count);
    std::vector<unsigned> want(BINS);
    // A product of two draws, so that some bins are crowded.
    for (unsigned char &byte : bytes) byte = (unsigned char)((generator.next() % 16) * (generator.next() % 8));
    for (unsigned char byte : bytes) want[byte % BINS]++;
    Device<unsigned char> device_bytes(bytes);
    Device<unsigned> device_bins(BINS);
    MUST(cudaMemset(device_bins.pointer, 0, BINS * sizeof(unsigned)));
    histogram<<<12, 128>>>(device_bytes.pointer, device_bins.pointer, count);
    MUST(cudaGetLastError());
    std::vector<unsigned> bins = device_bins.host();
    check("histogram through shared memory", same(bins, want));
    record(bins);

    const int numbers = 5000;
    std::vector<int> values(numbers);
    for (int &value : values) value = (int)generator.next();
    const Totals start = {INT32_MAX, INT32_MIN, 0, ~0u, 0, 0, 0, 0, 0.0f, 0, 0.0};
    Totals expected = start;
    for (int value : values) {
        expected.least = std::min(expected.least, value), expected.most = std::max(expected.most, value);
        expected.bits_or |= (unsigned)value & 0x00ff00ffu, expected.bits_and &= (unsigned)value | 0xfff0fff0u;
        expected.bits_xor ^= (unsigned)value, expected.wrapped = (expected.wrapped + 1) % 10;
        expected.sum += (unsigned long long)(long long)value;
        expected.most64 = std::max(expected.most64, (unsigned long long)(unsigned)value << 8);
        expected.float_sum += (float)(value & 7), expected.swaps += 3, expected.double_sum += (double)(value & 15);
    }
    Device<int> device_values(values);
    Device<Totals> device_totals(std::vector<Totals>{start});
    totals<<<(numbers + 63) / 64, 64>>>(device_values.pointer, device_totals.pointer, numbers);
    MUST(cudaGetLastError());
    Totals got = device_totals.host()[0];
    check("min, max", got.least == expected.least && got.most == expected.most && got.most64 == expected.most64);
    check("or, and, xor", got.bits_or == expected.bits_or && got.bits_and == expected.bits_and &&
                              got.bits_xor == expected.bits_xor);
    check("wrapping increment", got.wrapped == expected.wrapped);
    check("64-bit, float and double add", got.sum == expected.sum && got.float_sum == expected.float_sum &&
                                              got.double_sum == expected.double_sum);
    check("compare-and-swap loop", got.swaps == expected.swaps);
    // Field by field: the padding between them is not output.
    record(&got.least, 6 * sizeof(unsigned));
    record(&got.sum, 2 * sizeof(unsigned long long));
    record(&got.float_sum, sizeof(float));
    record(&got.double_sum, sizeof(double));

    const int takers = 3001;
    Device<int> counter(1), taken(takers);
    MUST(cudaMemset(counter.pointer, 0, sizeof(int)));
    tickets<<<(takers + 127) / 128, 128>>>(counter.pointer, taken.pointer, takers);
    MUST(cudaGetLastError());
    std::vector<int> order = taken.host(), sorted(takers);
    std::sort(order.begin(), order.end());
    for (int i = 0; i < takers; i++) sorted[i] = i;
    check("every ticket is taken once", same(order, sorted));
    return verdict();
}
