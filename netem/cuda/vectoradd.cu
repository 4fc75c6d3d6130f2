// Vector addition: the smallest whole program - allocate, copy in, launch, copy out.
#include "check.cuh"

__global__ void add(const float *a, const float *b, float *sum, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) sum[i] = a[i] + b[i];
}

__global__ void scale_and_add(float scale, const float4 *x, float4 *y, int count) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
        float4 from = x[i], to = y[i];
        to.x += scale * from.x, to.y += scale * from.y, to.z += scale * from.z, to.w += scale * from.w;
        y[i] = to;
    }
}

int main() {
    const int count = 100003; // odd, so that the last block is partly idle
    Generator generator(1);
    std::vector<float> a = generator.floats(count), b = generator.floats(count), want(count);

    Device<float> device_a(a), device_b(b), device_sum(count);
    add<<<(count + 255) / 256, 256>>>(device_a.pointer, device_b.pointer, device_sum.pointer, count);
    MUST(cudaGetLastError());
    std::vector<float> sum = device_sum.host();
    for (int i = 0; i < count; i++) want[i] = a[i] + b[i];
    check("a + b, exactly", same(sum, want));
    record(sum);

    // Vector loads, a grid-stride loop and a fused multiply-add.
    const int vectors = count / 4;
    scale_and_add<<<7, 96>>>(0.75f, (const float4 *)device_a.pointer, (float4 *)device_b.pointer, vectors);
    MUST(cudaGetLastError());
    std::vector<float> scaled = device_b.host();
    for (int i = 0; i < count; i++) want[i] = i < 4 * vectors ? std::fma(0.75f, a[i], b[i]) : b[i];
    check("b += 0.75 a, exactly, fused", same(scaled, want));
    record(scaled);

    MUST(cudaMemset(device_sum.pointer, 0xff, count * sizeof(float)));
    MUST(cudaMemset(device_sum.pointer, 0, 16));
    std::vector<float> cleared = device_sum.host();
    bool zero_then_ones = true;
    for (int i = 0; i < count; i++) zero_then_ones &= i < 4 ? cleared[i] == 0.0f : std::isnan(cleared[i]);
    check("memset fills exactly its range", zero_then_ones);
    return verdict();
}
