// Reductions: a shared-memory tree, warp shuffles in every direction, votes, and a scan.
#include <climits>

#include "check.cuh"

constexpr unsigned ALL = 0xffffffffu;
constexpr int BLOCK = 256;

__global__ void tree_sum(const float *in, float *out, int count) {
    __shared__ float partial[BLOCK];
    float sum = 0.0f;
    for (int i = blockIdx.x * BLOCK + threadIdx.x; i < count; i += gridDim.x * BLOCK) sum += in[i];
    partial[threadIdx.x] = sum;
    __syncthreads();
    for (int half = BLOCK / 2; half >= 32; half /= 2) {
        if (threadIdx.x < half) partial[threadIdx.x] += partial[threadIdx.x + half];
        __syncthreads();
    }
    if (threadIdx.x < 32) {
        sum = partial[threadIdx.x];
        for (int step = 16; step > 0; step /= 2) sum += __shfl_down_sync(ALL, sum, step);
        if (threadIdx.x == 0) out[blockIdx.x] = sum;
    }
}

__global__ void warp_maximum(const int *in, int *out, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    int best = i < count ? in[i] : INT_MIN;
    for (int step = 16; step > 0; step /= 2) best = max(best, __shfl_xor_sync(ALL, best, step));
    if (i % 32 == 0) out[i / 32] = best;
}

__global__ void warp_scan(const long long *in, long long *out) {
    int i = blockIdx.x * blockDim.x + threadIdx.x, lane = threadIdx.x % 32;
    long long sum = in[i];
    for (int step = 1; step < 32; step *= 2) {
        long long before = __shfl_up_sync(ALL, sum, step);
        if (lane >= step) sum += before;
    }
    out[i] = sum;
}

__global__ void votes(const int *in, unsigned *out) {
    int i = blockIdx.x * blockDim.x + threadIdx.x, lane = threadIdx.x % 32;
    unsigned odd = __ballot_sync(ALL, in[i] & 1);
    int any = __any_sync(ALL, in[i] > 900), all = __all_sync(ALL, in[i] < 990);
    int third = __shfl_sync(ALL, in[i], 3), of_eight = __shfl_sync(ALL, in[i], 5, 8);
    int odd_in_block = __syncthreads_count(in[i] & 1);
    unsigned *row = out + 8 * i;
    row[0] = odd, row[1] = any, row[2] = all, row[3] = third, row[4] = of_eight;
    row[5] = __popc(odd & ((1u << lane) - 1)), row[6] = odd_in_block, row[7] = __activemask();
}

int main() {
    Generator generator(3);
    const int count = 70001, blocks = 8;
    std::vector<float> values = generator.floats(count);
    Device<float> device_values(values), device_sums(blocks);
    tree_sum<<<blocks, BLOCK>>>(device_values.pointer, device_sums.pointer, count);
    MUST(cudaGetLastError());
    std::vector<float> sums = device_sums.host(), want_sums(blocks);
    // The same additions in the same order, so the result is the same to the bit.
    for (int block = 0; block < blocks; block++) {
        float partial[BLOCK];
        for (int thread = 0; thread < BLOCK; thread++) {
            partial[thread] = 0.0f;
            for (int i = block * BLOCK + thread; i < count; i += blocks * BLOCK) partial[thread] += values[i];
        }
        for (int half = BLOCK / 2; half > 0; half /= 2) {
            for (int thread = 0; thread < half; thread++) partial[thread] += partial[thread + half];
        }
        want_sums[block] = partial[0];
    }
    check("tree and shuffle-down sum, exactly", same(sums, want_sums));
    record(sums);

    const int warps = 40;
    std::vector<int> numbers(warps * 32 - 5);
    for (int &number : numbers) number = (int)generator.next();
    Device<int> device_numbers(numbers), device_best(warps);
    warp_maximum<<<warps / 2, 64>>>(device_numbers.pointer, device_best.pointer, (int)numbers.size());
    MUST(cudaGetLastError());
    std::vector<int> best = device_best.host(), want_best(warps, INT_MIN);
    for (size_t i = 0; i < numbers.size(); i++) want_best[i / 32] = std::max(want_best[i / 32], numbers[i]);
    check("maximum by shuffle-xor", same(best, want_best));
    record(best);

    std::vector<long long> terms(256), want_scan(256);
    for (long long &term : terms) term = (long long)generator.next() / 64;
    Device<long long> device_terms(terms), device_scan(256);
    warp_scan<<<2, 128>>>(device_terms.pointer, device_scan.pointer);
    MUST(cudaGetLastError());
    std::vector<long long> scan = device_scan.host();
    for (int i = 0; i < 256; i++) want_scan[i] = terms[i] + (i % 32 ? want_scan[i - 1] : 0);
    check("64-bit scan by shuffle-up", same(scan, want_scan));
    record(scan);

    const int voters = 192, block = 96;
    std::vector<int> opinions(voters);
    for (int &opinion : opinions) opinion = (int)(generator.next() % 1000);
    Device<int> device_opinions(opinions);
    Device<unsigned> device_votes(8 * voters);
    votes<<<voters / block, block>>>(device_opinions.pointer, device_votes.pointer);
    MUST(cudaGetLastError());
    std::vector<unsigned> got = device_votes.host(), want(8 * voters);
    for (int i = 0; i < voters; i++) {
        unsigned *row = &want[8 * i];
        int warp = i / 32 * 32;
        row[2] = 1, row[7] = ALL;
        for (int lane = 0; lane < 32; lane++) {
            int opinion = opinions[warp + lane];
            row[0] |= (unsigned)(opinion & 1) << lane;
            row[1] |= opinion > 900, row[2] &= opinion < 990;
            row[5] += warp + lane < i ? opinion & 1 : 0;
        }
        row[3] = opinions[warp + 3], row[4] = opinions[i / 8 * 8 + 5];
        for (int j = i / block * block; j < i / block * block + block; j++) row[6] += opinions[j] & 1;
    }
    check("ballot, any, all, indexed shuffles and a counting barrier", same(got, want));
    record(got);
    return verdict();
}
