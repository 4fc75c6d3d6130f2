// Matrix multiplication in shared-memory tiles, for sizes that are no multiple of the tile.
#include "check.cuh"

constexpr int TILE = 16;

__global__ void multiply(const float *a, const float *b, float *c, int rows, int columns, int inner) {
    __shared__ float tile_a[TILE][TILE];
    __shared__ float tile_b[TILE][TILE + 1];
    int row = blockIdx.y * TILE + threadIdx.y, column = blockIdx.x * TILE + threadIdx.x;
    float sum = 0.0f;
    for (int start = 0; start < inner; start += TILE) {
        int k = start + threadIdx.x;
        tile_a[threadIdx.y][threadIdx.x] = row < rows && k < inner ? a[row * inner + k] : 0.0f;
        k = start + threadIdx.y;
        tile_b[threadIdx.y][threadIdx.x] = k < inner && column < columns ? b[k * columns + column] : 0.0f;
        __syncthreads();
#pragma unroll
        for (int i = 0; i < TILE; i++) sum = fmaf(tile_a[threadIdx.y][i], tile_b[i][threadIdx.x], sum);
        __syncthreads();
    }
    if (row < rows && column < columns) c[row * columns + column] = sum;
}

// The tile's size is known at launch only: dynamic shared memory.
__global__ void multiply_dynamic(const double *a, const double *b, double *c, int size) {
    extern __shared__ double tiles[];
    int tile = blockDim.x;
    double *tile_a = tiles, *tile_b = tiles + tile * tile;
    int row = blockIdx.y * tile + threadIdx.y, column = blockIdx.x * tile + threadIdx.x;
    double sum = 0.0;
    for (int start = 0; start < size; start += tile) {
        tile_a[threadIdx.y * tile + threadIdx.x] = a[row * size + start + threadIdx.x];
        tile_b[threadIdx.y * tile + threadIdx.x] = b[(start + threadIdx.y) * size + column];
        __syncthreads();
        for (int i = 0; i < tile; i++) sum = fma(tile_a[threadIdx.y * tile + i], tile_b[i * tile + threadIdx.x], sum);
        __syncthreads();
    }
    c[row * size + column] = sum;
}

int main() {
    const int rows = 97, columns = 83, inner = 71;
    Generator generator(2);
    std::vector<float> a = generator.floats(rows * inner), b = generator.floats(inner * columns), want(rows * columns);
    Device<float> device_a(a), device_b(b), device_c(rows * columns);
    dim3 grid((columns + TILE - 1) / TILE, (rows + TILE - 1) / TILE);
    multiply<<<grid, dim3(TILE, TILE)>>>(device_a.pointer, device_b.pointer, device_c.pointer, rows, columns, inner);
    MUST(cudaGetLastError());
    std::vector<float> c = device_c.host();
    for (int row = 0; row < rows; row++) {
        for (int column = 0; column < columns; column++) {
            float sum = 0.0f;
            for (int k = 0; k < inner; k++) sum = std::fma(a[row * inner + k], b[k * columns + column], sum);
            want[row * columns + column] = sum;
        }
    }
    check("97x71 by 71x83 in tiles of 16, exactly", same(c, want));
    record(c);

    const int size = 48, tile = 12;
    std::vector<double> x(size * size), y(size * size), want_z(size * size);
    for (double &value : x) value = generator.uniform();
    for (double &value : y) value = generator.uniform();
    Device<double> device_x(x), device_y(y), device_z(size * size);
    multiply_dynamic<<<dim3(size / tile, size / tile), dim3(tile, tile), 2 * tile * tile * sizeof(double)>>>(
        device_x.pointer, device_y.pointer, device_z.pointer, size);
    MUST(cudaGetLastError());
    std::vector<double> z = device_z.host();
    for (int row = 0; row < size; row++) {
        for (int column = 0; column < size; column++) {
            double sum = 0.0;
            for (int k = 0; k < size; k++) sum = std::fma(x[row * size + k], y[k * size + column], sum);
            want_z[row * size + column] = sum;
        }
    }
    check("48x48 in double with dynamic shared memory, exactly", same(z, want_z));
    record(z);
    return verdict();
}
