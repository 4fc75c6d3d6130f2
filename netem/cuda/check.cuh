// What every test program here shares: named checks, a seeded generator, and
// the raw outputs for a bit-for-bit comparison of two runs.
//
// A program prints one line per check and then PASS or FAIL, which is also its
// exit status. With RRTO_OUTPUT=FILE it writes what it got back from the GPU
// to FILE, in program order, so that `cmp` tells a local run from a remote one.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include <cuda_runtime.h>

static int failed_checks = 0;

/// Prints and counts one check. Not for use from several threads at once.
static inline void check(const char *what, bool ok) {
    std::printf("%-6s %s\n", ok ? "ok" : "FAILED", what);
    failed_checks += !ok;
}

/// Ends the program unless `call` succeeded: what follows would mean nothing.
#define MUST(call)                                                                                \
    do {                                                                                          \
        cudaError_t must_error = (call);                                                          \
        if (must_error != cudaSuccess) {                                                          \
            std::printf("FAILED %s:%d: %s: %s (%d)\nFAIL\n", __FILE__, __LINE__, #call,           \
                        cudaGetErrorName(must_error), (int)must_error);                           \
            std::exit(1);                                                                         \
        }                                                                                         \
    } while (0)

/// SplitMix64: the same numbers on every machine for the same seed.
struct Generator {
    uint64_t state;

    explicit Generator(uint64_t seed) : state(seed) {}

    uint64_t next() {
        uint64_t z = (state += 0x9e3779b97f4a7c15ull);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
        return z ^ (z >> 31);
    }

    /// Uniform in [-1, 1), exactly representable.
    float uniform() { return (float)((int32_t)(next() >> 40) - (1 << 23)) / (float)(1 << 23); }

    std::vector<float> floats(size_t count) {
        std::vector<float> values(count);
        for (float &value : values) value = uniform();
        return values;
    }
};

/// Device memory that is freed at the end of its scope.
template <typename T> struct Device {
    T *pointer = nullptr;
    size_t count;

    explicit Device(size_t count) : count(count) { MUST(cudaMalloc((void **)&pointer, count * sizeof(T))); }
    explicit Device(const std::vector<T> &host) : Device(host.size()) {
        MUST(cudaMemcpy(pointer, host.data(), count * sizeof(T), cudaMemcpyHostToDevice));
    }
    Device(const Device &) = delete;
    Device &operator=(const Device &) = delete;
    ~Device() { cudaFree(pointer); }

    std::vector<T> host() const {
        std::vector<T> values(count);
        MUST(cudaMemcpy(values.data(), pointer, count * sizeof(T), cudaMemcpyDeviceToHost));
        return values;
    }
};

/// Appends raw output to the file that RRTO_OUTPUT names, if it names one.
static inline void record(const void *bytes, size_t length) {
    static std::FILE *file = [] {
        const char *path = std::getenv("RRTO_OUTPUT");
        return path && *path ? std::fopen(path, "wb") : nullptr;
    }();
    if (!file) return;
    if (std::fwrite(bytes, 1, length, file) != length || std::fflush(file) != 0) {
        std::printf("FAILED to write RRTO_OUTPUT\nFAIL\n");
        std::exit(1);
    }
}

template <typename T> static void record(const std::vector<T> &values) {
    record(values.data(), values.size() * sizeof(T));
}

/// Whether all pairs differ by at most `tolerance`, relative to magnitudes above 1.
static inline bool close(const std::vector<float> &got, const std::vector<float> &want, float tolerance) {
    if (got.size() != want.size()) return false;
    for (size_t i = 0; i < got.size(); i++) {
        // Written so that a NaN is not close to anything.
        if (!(std::fabs(got[i] - want[i]) <= tolerance * std::fmax(1.0f, std::fabs(want[i])))) {
            std::printf("       [%zu] got %.9g, want %.9g\n", i, got[i], want[i]);
            return false;
        }
    }
    return true;
}

/// Whether all elements are equal; prints where they first differ.
template <typename T> static bool same(const std::vector<T> &got, const std::vector<T> &want) {
    if (got.size() != want.size()) return false;
    for (size_t i = 0; i < got.size(); i++) {
        if (!(got[i] == want[i])) {
            std::printf("       [%zu] differs: got %.17g, want %.17g\n", i, (double)got[i], (double)want[i]);
            return false;
        }
    }
    return true;
}

/// The last line and the exit status.
static inline int verdict() {
    check("no error is left behind", cudaGetLastError() == cudaSuccess);
    std::puts(failed_checks ? "FAIL" : "PASS");
    return failed_checks ? 1 : 0;
}
