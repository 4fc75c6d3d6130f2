#include <cooperative_groups.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>
namespace cg = cooperative_groups;
extern "C" __global__ void vector_add(const float* a, const float* b, float* c, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) c[i] = a[i] + b[i];
}
#define T 16
extern "C" __global__ void matmul(const float* a, const float* b, float* c, int n) {
    __shared__ float sa[T][T], sb[T][T];
    int r = blockIdx.y * T + threadIdx.y, q = blockIdx.x * T + threadIdx.x;
    float s = 0;
    for (int t = 0; t < (n + T - 1) / T; t++) {
        int x = t * T + threadIdx.x, y = t * T + threadIdx.y;
        sa[threadIdx.y][threadIdx.x] = (r < n && x < n) ? a[r * n + x] : 0.f;
        sb[threadIdx.y][threadIdx.x] = (y < n && q < n) ? b[y * n + q] : 0.f;
        __syncthreads();
        for (int k = 0; k < T; k++) s += sa[threadIdx.y][k] * sb[k][threadIdx.x];
        __syncthreads();
    }
    if (r < n && q < n) c[r * n + q] = s;
}
extern "C" __global__ void reduce_sum(const float* x, float* out, int n) {
    __shared__ float w[32];
    float v = 0;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) v += x[i];
    for (int o = 16; o; o >>= 1) v += __shfl_down_sync(~0u, v, o);
    if ((threadIdx.x & 31) == 0) w[threadIdx.x >> 5] = v;
    __syncthreads();
    if (threadIdx.x < 32) {
        v = threadIdx.x < (blockDim.x + 31) / 32 ? w[threadIdx.x] : 0.f;
        for (int o = 16; o; o >>= 1) v += __shfl_xor_sync(~0u, v, o);
        if (threadIdx.x == 0) atomicAdd(out, v);
    }
}
__constant__ float filt[25] = {1, 2, 3};
extern "C" __global__ void conv2d(const float* x, float* y, int h, int w, int k) {
    int c = blockIdx.x * blockDim.x + threadIdx.x, r = blockIdx.y * blockDim.y + threadIdx.y;
    if (c >= w || r >= h) return;
    float s = 0;
    for (int i = 0; i < k; i++)
        for (int j = 0; j < k; j++) {
            int yy = r + i - k / 2, xx = c + j - k / 2;
            if (yy >= 0 && yy < h && xx >= 0 && xx < w) s = fmaf(x[yy * w + xx], filt[i * k + j], s);
        }
    y[r * w + c] = s;
}
extern "C" __global__ void relu(float* x, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) x[i] = fmaxf(x[i], 0.f);
}
extern "C" __global__ void maxpool(const float* x, float* y, int h, int w) {
    int c = blockIdx.x * blockDim.x + threadIdx.x, r = blockIdx.y * blockDim.y + threadIdx.y;
    if (c < w / 2 && r < h / 2) {
        const float* p = x + 2 * r * w + 2 * c;
        y[r * (w / 2) + c] = fmaxf(fmaxf(p[0], p[1]), fmaxf(p[w], p[w + 1]));
    }
}
extern "C" __global__ void softmax(const float* x, float* y, int n) {
    extern __shared__ float sm[];
    const float* row = x + (size_t)blockIdx.x * n;
    float m = -INFINITY;
    for (int i = threadIdx.x; i < n; i += blockDim.x) m = fmaxf(m, row[i]);
    sm[threadIdx.x] = m;
    __syncthreads();
    for (int s = blockDim.x / 2; s; s >>= 1) {
        if (threadIdx.x < s) sm[threadIdx.x] = fmaxf(sm[threadIdx.x], sm[threadIdx.x + s]);
        __syncthreads();
    }
    m = sm[0];
    __syncthreads();
    float t = 0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
        float e = expf(row[i] - m);
        y[(size_t)blockIdx.x * n + i] = e;
        t += e;
    }
    sm[threadIdx.x] = t;
    __syncthreads();
    for (int s = blockDim.x / 2; s; s >>= 1) {
        if (threadIdx.x < s) sm[threadIdx.x] += sm[threadIdx.x + s];
        __syncthreads();
    }
    t = sm[0];
    for (int i = threadIdx.x; i < n; i += blockDim.x) y[(size_t)blockIdx.x * n + i] /= t;
}
extern "C" __global__ void histogram(const uint8_t* x, unsigned* h, int n) {
    __shared__ unsigned s[256];
    for (int i = threadIdx.x; i < 256; i += blockDim.x) s[i] = 0;
    __syncthreads();
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        atomicAdd(&s[x[i]], 1u);
    __syncthreads();
    for (int i = threadIdx.x; i < 256; i += blockDim.x) atomicAdd(&h[i], s[i]);
}
__device__ __noinline__ float poly(float x, float k) { return x * x * k + 1.f; }
__device__ __noinline__ unsigned long long fib(unsigned n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
struct P {
    int a[6];
    float f;
};
__device__ __noinline__ P mk(int i, P q) {
    P p;
    for (int k = 0; k < 6; k++) p.a[k] = q.a[k] * i;
    p.f = q.f + i;
    return p;
}
extern "C" __global__ void calls(const float* x, float* y, unsigned long long* f, int* z, P q, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        y[i] = poly(x[i], 0.5f);
        f[i] = fib(i % 12);
        P p = mk(i, q);
        z[i] = p.a[i % 6] + (int)p.f;
    }
}
extern "C" __global__ void int64(const long long* a, const long long* b, long long* o, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        long long x = a[i], y = b[i];
        long long* p = o + (size_t)i * 16;
        p[0] = x + y;
        p[1] = x * y;
        p[2] = y ? x / y : 0;
        p[3] = y ? x % y : 0;
        p[4] = x >> (y & 63);
        p[5] = (unsigned long long)x >> (y & 63);
        p[6] = x << (y & 63);
        p[7] = __mul64hi(x, y);
        p[8] = __umul64hi(x, y);
        p[9] = __popcll(x);
        p[10] = __clzll(x);
        p[11] = __brevll(x);
        p[12] = __ffsll(x);
        p[13] = min(x, y);
        p[14] = (unsigned long long)x % ((unsigned long long)y | 1);
        p[15] = llabs(x) ^ (x & y) | (~x);
    }
}
extern "C" __global__ void int32(const int* a, const int* b, int* o, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        int x = a[i], y = b[i];
        int* p = o + (size_t)i * 24;
        p[0] = x / (y ? y : 1);
        p[1] = x % (y ? y : 1);
        p[2] = __mulhi(x, y);
        p[3] = __umulhi(x, y);
        p[4] = __funnelshift_l(x, y, x & 31);
        p[5] = __funnelshift_r(x, y, y);
        p[6] = __byte_perm(x, y, 0x3175);
        p[7] = __popc(x);
        p[8] = __clz(x);
        p[9] = __brev(x);
        p[10] = __ffs(x);
        p[11] = __sad(x, y, 3);
        p[12] = __vadd4(x, y);
        p[13] = __dp4a(x, y, 5);
        p[14] = x / 7;
        p[15] = (unsigned)x / 10u;
        p[16] = (short)x * (short)y;
        p[17] = (signed char)x / (signed char)(y | 1);
        p[18] = max(x, y);
        p[19] = __mul24(x, y);
        p[20] = __rhadd(x, y);
        p[21] = (x > y) + (x == y) * 2;
        p[22] = (x & 0xff00) >> 8 | ((y >> 4) & 0xf);
        p[23] = __vmaxs2(x, y);
    }
}
extern "C" __global__ void halfs(const __half* a, const __half* b, __half* o, const __nv_bfloat16* c,
                                 const __nv_bfloat16* d, __nv_bfloat16* e, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        __half x = a[i], y = b[i];
        o[i * 8] = x + y;
        o[i * 8 + 1] = x * y;
        o[i * 8 + 2] = __hfma(x, y, x);
        o[i * 8 + 3] = x / y;
        o[i * 8 + 4] = hexp(x);
        o[i * 8 + 5] = __hmax(x, y);
        o[i * 8 + 6] = hsqrt(__habs(x));
        o[i * 8 + 7] = x < y ? x : __hneg(y);
        __nv_bfloat16 u = c[i], v = d[i];
        e[i * 6] = u + v;
        e[i * 6 + 1] = u * v;
        e[i * 6 + 2] = __hfma(u, v, u);
        e[i * 6 + 3] = u / v;
        e[i * 6 + 4] = __hmax(u, v);
        e[i * 6 + 5] = u < v ? u : v;
    }
}
extern "C" __global__ void half2s(const __half2* a, const __half2* b, __half2* o, const __nv_bfloat162* c,
                                  __nv_bfloat162* e, float2* f, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        o[i] = __hfma2(a[i], b[i], __hmul2(a[i], b[i]));
        e[i] = __hadd2(c[i], c[i]);
        f[i] = __half22float2(__hsub2(a[i], b[i]));
        o[i] = __hmax2(o[i], __float2half2_rn(0.f));
        o[i] = h2exp2(o[i]);
    }
}
extern "C" __global__ void cvts(const double* a, int* o, long long* l, float* f, __half* h, unsigned char* c,
                                int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        double x = a[i];
        o[i * 4] = (int)x;
        o[i * 4 + 1] = __double2int_rn(x);
        o[i * 4 + 2] = __float2int_ru((float)x);
        o[i * 4 + 3] = (unsigned)x;
        l[i * 2] = (long long)x;
        l[i * 2 + 1] = __float2ull_rd((float)x);
        f[i * 6] = (float)x;
        f[i * 6 + 1] = __double2float_rz(x);
        f[i * 6 + 2] = floorf((float)x);
        f[i * 6 + 3] = rintf((float)x);
        f[i * 6 + 4] = (float)l[i * 2];
        f[i * 6 + 5] = __ll2float_ru(l[i * 2]);
        h[i * 2] = __double2half(x);
        h[i * 2 + 1] = __float2half_rz((float)x);
        c[i] = (unsigned char)(float)x;
    }
}
extern "C" __global__ void mathf(const float* a, float* o, double* d, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        float x = a[i];
        float* p = o + i * 24;
        p[0] = sinf(x);
        p[1] = cosf(x);
        p[2] = expf(x);
        p[3] = logf(fabsf(x) + 1e-3f);
        p[4] = tanhf(x);
        p[5] = powf(fabsf(x), 1.7f);
        p[6] = sqrtf(fabsf(x));
        p[7] = rsqrtf(fabsf(x) + 1);
        p[8] = erff(x);
        p[9] = 1.f / x;
        p[10] = __expf(x);
        p[11] = __sinf(x);
        p[12] = __logf(fabsf(x) + 1);
        p[13] = __fdividef(x, 3.f);
        p[14] = __fadd_ru(x, 1e-9f);
        p[15] = __fmul_rz(x, 1.1f);
        p[16] = __fmaf_rd(x, x, .1f);
        p[17] = __fdiv_ru(x, 3.f);
        p[18] = __fsqrt_rd(fabsf(x));
        p[19] = __saturatef(x);
        p[20] = copysignf(1.f, x);
        p[21] = fmodf(x, .3f);
        p[22] = isnan(x) ? 1.f : (isinf(x) ? 2.f : 0.f);
        p[23] = atan2f(x, 2.f);
        double y = x;
        d[i * 8] = sin(y);
        d[i * 8 + 1] = exp(y);
        d[i * 8 + 2] = log(fabs(y) + 1);
        d[i * 8 + 3] = y / 3;
        d[i * 8 + 4] = sqrt(fabs(y));
        d[i * 8 + 5] = pow(fabs(y), 1.3);
        d[i * 8 + 6] = fma(y, y, 1.);
        d[i * 8 + 7] = __dadd_rz(y, 1e-20);
    }
}
extern "C" __global__ void atomics(int* i, unsigned* u, unsigned long long* l, float* f, double* d,
                                   __half2* h, long long* s, int n) {
    int t = blockIdx.x * blockDim.x + threadIdx.x;
    if (t < n) {
        atomicAdd(i, t);
        atomicSub(i + 1, t);
        atomicMin(i + 2, -t);
        atomicMax(i + 3, t);
        atomicExch(i + 4, t);
        atomicCAS(i + 5, 0, t + 1);
        atomicAnd(u, ~(1u << (t & 31)));
        atomicOr(u + 1, 1u << (t & 31));
        atomicXor(u + 2, t);
        unsigned z = atomicInc(u + 3, 100);
        atomicAdd(u + 6, z);
        atomicDec(u + 4, 100);
        atomicMax(u + 5, (unsigned)t);
        atomicAdd(l, (unsigned long long)t);
        atomicMax(l + 1, (unsigned long long)t);
        atomicCAS(l + 2, 0ull, 5ull);
        atomicExch(l + 3, 9ull);
        atomicAdd(f, (float)(t & 7));
        atomicAdd(d, (double)t);
        atomicAdd(h, __half2half2(__float2half(1.f)));
        atomicMin(s, (long long)-t);
        __shared__ unsigned long long sh;
        if (threadIdx.x == 0) sh = 0;
        __syncthreads();
        atomicAdd(&sh, 1ull);
        __syncthreads();
        if (threadIdx.x == 0) atomicAdd(l + 4, sh);
    }
}
extern "C" __global__ void warps(unsigned* o) {
    unsigned t = threadIdx.x, l = t & 31;
    unsigned* p = o + t * 16;
    p[0] = __shfl_sync(~0u, t, l ^ 3);
    p[1] = __shfl_up_sync(~0u, t, 2, 16);
    p[2] = __shfl_down_sync(~0u, t, 3, 8);
    p[3] = __shfl_xor_sync(~0u, t, 5);
    p[4] = __ballot_sync(~0u, l % 3 == 0);
    p[5] = __any_sync(~0u, l == 99);
    p[6] = __all_sync(~0u, l < 32);
    p[7] = __match_any_sync(~0u, l / 5);
    int pr;
    p[8] = __match_all_sync(~0u, 7, &pr) + pr;
    p[9] = __activemask();
    p[10] = __reduce_add_sync(~0u, l);
    p[11] = __reduce_max_sync(~0u, l);
    if (l < 16) {
        p[12] = __shfl_sync(0xffff, t, 15 - l);
    } else {
        p[12] = __shfl_sync(0xffff0000u, t, 31 - (l - 16));
    }
    __syncwarp();
    p[13] = __reduce_xor_sync(~0u, l);
    p[14] = __syncthreads_count(l < 7);
    p[15] = __syncthreads_or(t == 1) + 2 * __syncthreads_and(t < 5);
}
extern "C" __global__ void spinlock(int* lock, int* count) {
    while (atomicCAS(lock, 0, 1) != 0);
    *(volatile int*)count = *(volatile int*)count + 1;
    __threadfence();
    atomicExch(lock, 0);
}
extern "C" __global__ void local_array(const int* x, int* o, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    int a[32];
    for (int k = 0; k < 32; k++) a[k] = x[(i + k) % n];
    for (int k = 0; k < 32; k++) {
        int j = x[k] & 31;
        int t = a[j];
        a[j] = a[k];
        a[k] = t;
    }
    int s = 0;
    for (int k = 0; k < 32; k++) s = s * 31 + a[k];
    if (i < n) o[i] = s;
}
extern "C" __global__ void switcher(const int* x, int* o, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    int v = x[i];
    switch (v & 15) {
        case 0:
            v = v * 3;
            break;
        case 1:
            v = v / 5;
            break;
        case 2:
            v ^= 77;
            break;
        case 3:
            v += x[(i + 1) % n];
            break;
        case 4:
            v = -v;
            break;
        case 5:
            v = v << 3;
            break;
        case 6:
            v = __popc(v);
            break;
        case 7:
            v = v * v;
            break;
        case 8:
            v = 1;
            break;
        case 9:
            v = v - 100;
            break;
    }
    o[i] = v;
}
extern "C" __global__ void coop(unsigned* o) {
    auto g = cg::coalesced_threads();
    auto b = cg::this_thread_block();
    auto t = cg::tiled_partition<8>(b);
    unsigned v = t.shfl_xor(threadIdx.x, 1);
    if (threadIdx.x % 3 == 0) {
        auto h = cg::coalesced_threads();
        v += h.size() * 100 + h.thread_rank();
    }
    b.sync();
    o[threadIdx.x] = v + g.size() * 10000;
}
extern "C" __global__ void vec4(const float4* a, float4* b, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        float4 v = __ldg(a + i);
        v.x *= 2;
        v.y += 1;
        v.z -= v.w;
        b[i] = v;
    }
}
__device__ int counter = 5;
__device__ int* pcounter = &counter;
__device__ const char* names[2] = {"ab", "cd"};
extern "C" __global__ void globals(int* o) {
    o[0] = atomicAdd(&counter, 1);
    o[1] = *pcounter;
    o[2] = names[1][0];
}
extern "C" __global__ void clocks(long long* o) {
    o[0] = clock64();
    unsigned long long g;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(g));
    o[1] = g;
    unsigned s;
    asm volatile("mov.u32 %0, %smid;" : "=r"(s));
    o[2] = s;
    __nanosleep(10);
    o[3] = warpSize;
}
extern "C" __global__ void grid_sync(int* x, int* o, int n) {
    auto g = cg::this_grid();
    int i = g.thread_rank();
    if (i < n) x[i] = i;
    g.sync();
    if (i < n) o[i] = x[n - 1 - i];
}
extern "C" __global__ void i128(const long long* a, const long long* b, long long* o, int n) {
    int i = threadIdx.x;
    if (i < n) {
        __int128 x = (__int128)a[i] * b[i];
        x += a[i];
        x = x * 3 - b[i];
        o[2 * i] = (long long)x;
        o[2 * i + 1] = (long long)(x >> 64);
    }
}
