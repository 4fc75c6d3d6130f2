// 64-bit integers, bit operations, doubles, and half precision (scalar and in pairs).
#include <cuda_fp16.h>

#include "check.cuh"

constexpr int INTEGER_RESULTS = 15;

__host__ __device__ inline uint64_t rotate(uint64_t value, unsigned by) {
    return (value << (by & 63)) | (value >> ((64 - by) & 63));
}

__global__ void integers(const uint64_t *a, const uint64_t *b, uint64_t *out, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    uint64_t x = a[i], y = b[i] | 1;
    int64_t sx = (int64_t)x, sy = (int64_t)y;
    uint64_t *row = out + INTEGER_RESULTS * i;
    row[0] = x + y, row[1] = x - y, row[2] = x * y, row[3] = __umul64hi(x, y), row[4] = (uint64_t)__mul64hi(sx, sy);
    row[5] = x / y, row[6] = x % y, row[7] = (uint64_t)(sx / (sy >> 40 | 1)), row[8] = (uint64_t)(sx % (sy >> 40 | 1));
    row[9] = rotate(x, (unsigned)y), row[10] = (uint64_t)(sx >> (y & 63)), row[11] = x << (y & 63) | x >> (y & 31);
    row[12] = __popcll(x) | __clzll(x) << 8 | __ffsll(x) << 16;
    row[13] = __brevll(x), row[14] = (uint64_t)(unsigned)x * (unsigned)y + (sx < sy ? 1 : 0);
}

static void integers_reference(uint64_t x, uint64_t y, uint64_t *row) {
    y |= 1;
    int64_t sx = (int64_t)x, sy = (int64_t)y;
    row[0] = x + y, row[1] = x - y, row[2] = x * y;
    row[3] = (uint64_t)((unsigned __int128)x * y >> 64), row[4] = (uint64_t)((__int128)sx * sy >> 64);
    row[5] = x / y, row[6] = x % y, row[7] = (uint64_t)(sx / (sy >> 40 | 1)), row[8] = (uint64_t)(sx % (sy >> 40 | 1));
    row[9] = rotate(x, (unsigned)y), row[10] = (uint64_t)(sx >> (y & 63)), row[11] = x << (y & 63) | x >> (y & 31);
    row[12] = (uint64_t)(__builtin_popcountll(x) | __builtin_clzll(x) << 8 | __builtin_ffsll((long long)x) << 16);
    row[13] = 0;
    for (int bit = 0; bit < 64; bit++) row[13] |= (x >> bit & 1) << (63 - bit);
    row[14] = (uint64_t)(unsigned)x * (unsigned)y + (sx < sy ? 1 : 0);
}

constexpr int HALF_RESULTS = 8;

__global__ void halves(const __half *a, const __half *b, __half *out, float *wide, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    __half x = a[i], y = b[i];
    __half *row = out + HALF_RESULTS * i;
    row[0] = __hadd(x, y), row[1] = __hsub(x, y), row[2] = __hmul(x, y), row[3] = __hfma(x, y, x);
    row[4] = __hneg(y), row[5] = __hgt(x, y) ? x : y;
    row[6] = __float2half(__half2float(x) * 3.0f), row[7] = __int2half_rn(__half2int_rz(x));
    wide[i] = __half2float(x) + __half2float(y);
}

__global__ void pairs(const __half2 *a, const __half2 *b, __half2 *out, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) out[i] = __hfma2(a[i], b[i], __hadd2(a[i], b[i]));
}

__global__ void doubles(const double *in, double *out, long long *whole, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    double x = in[i];
    out[3 * i] = sqrt(fabs(x)) / 3.0, out[3 * i + 1] = fma(x, x, -1.0), out[3 * i + 2] = (double)(float)x;
    whole[i] = (long long)(x * 1e15);
}

// A bit pattern, so that a comparison of halves is exact and knows the sign of zero.
static uint16_t bits(__half value) { return __half_as_ushort(value); }

int main() {
    Generator generator(8);
    const int count = 700;
    std::vector<uint64_t> a(count), b(count), want(INTEGER_RESULTS * count);
    for (uint64_t &value : a) value = generator.next() | 1ull << 20;
    for (uint64_t &value : b) value = generator.next() >> (generator.next() % 48);
    Device<uint64_t> device_a(a), device_b(b), device_out(INTEGER_RESULTS * count);
    integers<<<(count + 95) / 96, 96>>>(device_a.pointer, device_b.pointer, device_out.pointer, count);
    MUST(cudaGetLastError());
    std::vector<uint64_t> out = device_out.host();
    for (int i = 0; i < count; i++) integers_reference(a[i], b[i], &want[INTEGER_RESULTS * i]);
    check("64-bit integers", same(out, want));
    record(out);

    // Of a size at which a double holds every intermediate result exactly.
    std::vector<__half> x(count), y(count);
    for (__half &value : x) value = __float2half(generator.uniform() * 8.0f);
    for (__half &value : y) value = __float2half(generator.uniform() * 8.0f);
    Device<__half> device_x(x), device_y(y), device_halves(HALF_RESULTS * count);
    Device<float> device_wide(count);
    halves<<<(count + 127) / 128, 128>>>(device_x.pointer, device_y.pointer, device_halves.pointer, device_wide.pointer,
                                         count);
    MUST(cudaGetLastError());
    std::vector<__half> got_halves = device_halves.host();
    std::vector<uint16_t> got(HALF_RESULTS * count), want_halves(HALF_RESULTS * count);
    std::vector<float> wide = device_wide.host(), want_wide(count);
    for (int i = 0; i < count; i++) {
        double u = __half2float(x[i]), v = __half2float(y[i]);
        uint16_t *row = &want_halves[HALF_RESULTS * i];
        row[0] = bits(__double2half(u + v)), row[1] = bits(__double2half(u - v)), row[2] = bits(__double2half(u * v));
        row[3] = bits(__double2half(u * v + u)), row[4] = bits(y[i]) ^ 0x8000, row[5] = bits(u > v ? x[i] : y[i]);
        row[6] = bits(__float2half((float)u * 3.0f)), row[7] = bits(__float2half((float)(int)u));
        want_wide[i] = (float)u + (float)v;
    }
    for (size_t i = 0; i < got.size(); i++) got[i] = bits(got_halves[i]);
    check("half precision, exactly", same(got, want_halves));
    check("half to float", same(wide, want_wide));
    record(got);
    record(wide);

    Device<__half2> device_pairs(count / 2);
    pairs<<<(count / 2 + 31) / 32, 32>>>((const __half2 *)device_x.pointer, (const __half2 *)device_y.pointer,
                                         device_pairs.pointer, count / 2);
    MUST(cudaGetLastError());
    std::vector<__half2> got_pairs = device_pairs.host();
    std::vector<uint16_t> pair_bits(count), want_pairs(count);
    for (int i = 0; i < count; i++) {
        double u = __half2float(x[i]), v = __half2float(y[i]);
        want_pairs[i] = bits(__double2half(u * v + __half2float(__double2half(u + v))));
        pair_bits[i] = bits(i % 2 ? __high2half(got_pairs[i / 2]) : __low2half(got_pairs[i / 2]));
    }
    check("pairs of halves, exactly", same(pair_bits, want_pairs));
    record(pair_bits);

    std::vector<double> z(count), want_doubles(3 * count);
    std::vector<long long> want_whole(count);
    for (double &value : z) value = generator.uniform() * 1000.0 + generator.uniform() * 1e-5;
    Device<double> device_z(z), device_doubles(3 * count);
    Device<long long> device_whole(count);
    doubles<<<(count + 63) / 64, 64>>>(device_z.pointer, device_doubles.pointer, device_whole.pointer, count);
    MUST(cudaGetLastError());
    std::vector<double> got_doubles = device_doubles.host();
    std::vector<long long> got_whole = device_whole.host();
    for (int i = 0; i < count; i++) {
        want_doubles[3 * i] = std::sqrt(std::fabs(z[i])) / 3.0, want_doubles[3 * i + 1] = std::fma(z[i], z[i], -1.0);
        want_doubles[3 * i + 2] = (double)(float)z[i], want_whole[i] = (long long)(z[i] * 1e15);
    }
    check("doubles, exactly", same(got_doubles, want_doubles));
    check("double to 64-bit integer", same(got_whole, want_whole));
    record(got_doubles);
    record(got_whole);
    return verdict();
}
