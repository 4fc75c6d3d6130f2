// Module globals: initialised and zeroed __device__ variables, __constant__ memory, addresses of symbols.
#include "check.cuh"

__device__ int initialised[4] = {3, 1, 4, 1};
__device__ unsigned long long zeroed;
__device__ float table[64];
__constant__ float coefficients[5] = {0.5f, -1.0f, 0.25f, 2.0f, -0.125f};
__device__ int *elsewhere;

__global__ void polynomial(const float *in, float *out, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    float sum = 0.0f;
    for (int power = 4; power >= 0; power--) sum = fmaf(sum, in[i], coefficients[power]);
    out[i] = sum;
    table[i % 64] = 1.0f;
    atomicAdd(&zeroed, 1ull);
}

__global__ void follow() {
    if (threadIdx.x < 4) elsewhere[threadIdx.x] = initialised[threadIdx.x] * 10;
}

static std::vector<float> polynomial_reference(const std::vector<float> &in, const float *coefficient) {
    std::vector<float> out(in.size());
    for (size_t i = 0; i < in.size(); i++) {
        for (int power = 4; power >= 0; power--) out[i] = std::fma(out[i], in[i], coefficient[power]);
    }
    return out;
}

int main() {
    Generator generator(9);
    const int count = 130;
    std::vector<float> in = generator.floats(count);
    Device<float> device_in(in), device_out(count);

    std::vector<int> first(4);
    MUST(cudaMemcpyFromSymbol(first.data(), initialised, sizeof(initialised)));
    check("an initialised variable has its value", same(first, std::vector<int>{3, 1, 4, 1}));
    unsigned long long counter = 1;
    MUST(cudaMemcpyFromSymbol(&counter, zeroed, sizeof(counter)));
    check("a variable without initialiser is zero", counter == 0);

    const float initial[5] = {0.5f, -1.0f, 0.25f, 2.0f, -0.125f}, changed[5] = {1.0f, 2.0f, -3.0f, 0.5f, 0.0625f};
    polynomial<<<2, 65>>>(device_in.pointer, device_out.pointer, count);
    MUST(cudaGetLastError());
    std::vector<float> out = device_out.host();
    check("constants as compiled", same(out, polynomial_reference(in, initial)));
    record(out);
    MUST(cudaMemcpyToSymbol(coefficients, changed, sizeof(changed)));
    polynomial<<<2, 65>>>(device_in.pointer, device_out.pointer, count);
    MUST(cudaGetLastError());
    out = device_out.host();
    check("constants as written", same(out, polynomial_reference(in, changed)));
    record(out);

    MUST(cudaMemcpyFromSymbol(&counter, zeroed, sizeof(counter)));
    check("a kernel changes a variable", counter == 2 * count);
    std::vector<float> ones(64);
    MUST(cudaMemcpyFromSymbol(ones.data(), table, sizeof(table)));
    check("a kernel fills an array", same(ones, std::vector<float>(64, 1.0f)));

    void *address = nullptr;
    size_t size = 0;
    MUST(cudaGetSymbolAddress(&address, table));
    MUST(cudaGetSymbolSize(&size, table));
    check("size of a symbol", size == sizeof(table));
    MUST(cudaMemset((char *)address + 16, 0, 16));
    MUST(cudaMemcpyFromSymbol(ones.data(), table, 48, 0));
    bool holed = true;
    for (int i = 0; i < 12; i++) holed &= ones[i] == (i >= 4 && i < 8 ? 0.0f : 1.0f);
    check("an address of a symbol is ordinary memory", holed);

    Device<int> target(4);
    MUST(cudaMemcpyToSymbol(elsewhere, &target.pointer, sizeof(target.pointer)));
    int two = 2;
    MUST(cudaMemcpyToSymbol(initialised, &two, sizeof(two), sizeof(int)));
    follow<<<1, 32>>>();
    MUST(cudaGetLastError());
    std::vector<int> followed = target.host();
    check("a pointer in a symbol, and a copy to an offset", same(followed, std::vector<int>{30, 20, 40, 10}));
    record(followed);
    return verdict();
}
