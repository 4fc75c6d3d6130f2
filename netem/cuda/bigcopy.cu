// 64 MB there and back, pageable and pinned, whole and in pieces.
#include <cstring>

#include "check.cuh"

constexpr size_t BYTES = 64u << 20;

int main() {
    Generator generator(10);
    std::vector<uint64_t> sent(BYTES / 8), received(BYTES / 8);
    for (uint64_t &word : sent) word = generator.next();

    char *device = nullptr, *copy = nullptr, *pinned = nullptr;
    MUST(cudaMalloc((void **)&device, BYTES));
    MUST(cudaMemcpy(device, sent.data(), BYTES, cudaMemcpyHostToDevice));
    MUST(cudaMemcpy(received.data(), device, BYTES, cudaMemcpyDeviceToHost));
    check("64 MB, pageable", sent == received);
    record(received.data(), 4096);

    MUST(cudaMalloc((void **)&copy, BYTES));
    MUST(cudaMallocHost((void **)&pinned, BYTES));
    cudaStream_t stream;
    MUST(cudaStreamCreate(&stream));
    MUST(cudaMemcpyAsync(copy, device, BYTES, cudaMemcpyDeviceToDevice, stream));
    MUST(cudaMemcpyAsync(pinned, copy, BYTES, cudaMemcpyDeviceToHost, stream));
    MUST(cudaStreamSynchronize(stream));
    check("64 MB, device to device, then pinned", std::memcmp(pinned, sent.data(), BYTES) == 0);

    // Unequal pieces, last one first, at odd offsets.
    std::memset(pinned, 0, BYTES);
    size_t end = BYTES, piece = 1;
    while (end > 0) {
        size_t length = std::min(end, piece);
        end -= length, piece = piece * 5 + 3;
        MUST(cudaMemcpyAsync(pinned + end, device + end, length, cudaMemcpyDeviceToHost, stream));
    }
    MUST(cudaStreamSynchronize(stream));
    check("64 MB in pieces of 1 byte to 40 MB", std::memcmp(pinned, sent.data(), BYTES) == 0);

    // The program may reuse a pageable source as soon as the call returns.
    std::vector<char> source(3 << 20, 'a');
    MUST(cudaMemcpyAsync(copy, source.data(), source.size(), cudaMemcpyHostToDevice, stream));
    std::memset(source.data(), 'b', source.size());
    MUST(cudaMemcpyAsync(copy + source.size(), source.data(), source.size(), cudaMemcpyHostToDevice, stream));
    std::memset(source.data(), 'c', source.size());
    MUST(cudaStreamSynchronize(stream));
    MUST(cudaMemcpy(received.data(), copy, 2 * source.size(), cudaMemcpyDeviceToHost));
    const char *bytes = (const char *)received.data();
    bool kept = true;
    for (size_t i = 0; i < 2 * source.size(); i++) kept &= bytes[i] == (i < source.size() ? 'a' : 'b');
    check("a pageable source is free again at once", kept);

    MUST(cudaStreamDestroy(stream));
    MUST(cudaFreeHost(pinned));
    MUST(cudaFree(copy));
    MUST(cudaFree(device));
    return verdict();
}
