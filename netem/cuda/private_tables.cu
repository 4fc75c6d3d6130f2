// Tables of functions without names that CUDA's own libraries get from cuGetExportTable: where the multiprocessors
// are, which cuBLASLt asks, and the functions of a module, which cuFFT asks.
#include <algorithm>
#include <cstring>
#include <string>

#include <cuda.h>

#include "check.cuh"

static const char *const ptx = R"(
.version 7.0
.target sm_70
.address_size 64
.visible .entry plus_one(.param .u64 at) {
    .reg .u64 %rd<2>;
    .reg .u32 %r<2>;
    ld.param.u64 %rd1, [at];
    ld.global.u32 %r1, [%rd1];
    add.u32 %r1, %r1, 1;
    st.global.u32 [%rd1], %r1;
    ret;
}
.visible .entry plus_ten(.param .u64 at) {
    .reg .u64 %rd<2>;
    .reg .u32 %r<2>;
    ld.param.u64 %rd1, [at];
    ld.global.u32 %r1, [%rd1];
    add.u32 %r1, %r1, 10;
    st.global.u32 [%rd1], %r1;
    ret;
}
)";

/// A function of the driver, by its name.
template <typename F> static F driver(const char *name) {
    void *found = nullptr;
    cudaDriverEntryPointQueryResult result;
    MUST(cudaGetDriverEntryPointByVersion(name, &found, 12040, cudaEnableDefault, &result));
    if (!found) {
        std::printf("FAILED to find %s\nFAIL\n", name);
        std::exit(1);
    }
    return (F)found;
}

static auto get_function = driver<decltype(&cuModuleGetFunction)>("cuModuleGetFunction");

/// A table, or null; `slots` is how many it must have, because what is in them is known for that size only.
static void **table_of(const unsigned char (&uuid)[16], size_t slots) {
    static auto get = driver<decltype(&cuGetExportTable)>("cuGetExportTable");
    const void *table = nullptr;
    CUuuid id;
    std::memcpy(&id, uuid, sizeof id);
    if (get(&table, &id) != CUDA_SUCCESS || !table || *(size_t *)table != slots * sizeof(void *)) return nullptr;
    return (void **)table;
}

static void places() {
    void **table = table_of({0x17, 0x34, 0xdc, 0x26, 0x80, 0x0d, 0x47, 0x45, 0x87, 0x26, 0xc0, 0xf1, 0xe7, 0xdd, 0x8b, 0xca}, 17);
    check("there is a table of places", table != nullptr);
    if (!table) return;
    auto make = (CUresult (*)(uint8_t **, uint8_t **))table[4];
    auto release = (CUresult (*)(uint8_t *, uint8_t *))table[13];
    int multiprocessors = 0;
    MUST(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, 0));
    size_t pairs = (multiprocessors + 1) / 2;
    for (int round = 0; round < 3; round++) {
        uint8_t *gpcs = nullptr, *indices = nullptr;
        check("places are told", make(&gpcs, &indices) == CUDA_SUCCESS && gpcs && indices);
        if (!gpcs || !indices) return;
        std::vector<uint16_t> all;
        for (size_t at = 0; at < pairs; at++) all.push_back(gpcs[at] << 8 | indices[at]);
        record(all);
        std::sort(all.begin(), all.end());
        check("no two pairs are in one place", std::adjacent_find(all.begin(), all.end()) == all.end());
        if (round == 1) {
            // They are malloc's.
            std::free(gpcs);
            std::free(indices);
        } else {
            check("places are freed", release(gpcs, indices) == CUDA_SUCCESS);
        }
    }
}

struct Seen {
    std::vector<CUfunction> functions;
    std::vector<std::string> names;
};

static int see(void *seen, CUfunction function, const char *name) {
    ((Seen *)seen)->functions.push_back(function);
    ((Seen *)seen)->names.push_back(name);
    return 0;
}

/// Each function of a module is told once, is the one that cuModuleGetFunction gives, and runs.
static void functions_of(const char *what, CUmodule module) {
    void **table = table_of({0x6e, 0x16, 0x3f, 0xbe, 0xb9, 0x58, 0x44, 0x4d, 0x83, 0x5c, 0xe1, 0x82, 0xaf, 0xf1, 0x99, 0x1e}, 99);
    check("there is a table of functions", table != nullptr);
    if (!table) return;
    auto each = (unsigned (*)(CUcontext, CUmodule, int (*)(void *, CUfunction, const char *), void *))table[7];
    auto current = driver<decltype(&cuCtxGetCurrent)>("cuCtxGetCurrent");
    auto launch = driver<decltype(&cuLaunchKernel)>("cuLaunchKernel");
    CUcontext context = nullptr;
    current(&context);
    Seen seen;
    check(what, each(context, module, see, &seen) == 2 && seen.functions.size() == 2);
    std::vector<std::string> sorted = seen.names;
    std::sort(sorted.begin(), sorted.end());
    check("they have their names", sorted == std::vector<std::string>{"plus_one", "plus_ten"});
    Device<uint32_t> number(std::vector<uint32_t>{100});
    void *arguments[] = {&number.pointer};
    for (size_t at = 0; at < seen.functions.size(); at++) {
        CUfunction same = nullptr;
        get_function(&same, module, seen.names[at].c_str());
        check("the handle is cuModuleGetFunction's", same == seen.functions[at]);
        check("it can be launched", launch(seen.functions[at], 1, 1, 1, 1, 1, 1, 0, nullptr, arguments, nullptr) == CUDA_SUCCESS);
    }
    check("each has run", number.host()[0] == 111);
    record(number.host());
}

int main() {
    MUST(cudaFree(nullptr));
    places();

    CUmodule module = nullptr, of_library = nullptr;
    CUlibrary library = nullptr;
    auto load = driver<decltype(&cuModuleLoadData)>("cuModuleLoadData");
    auto load_library = driver<decltype(&cuLibraryLoadData)>("cuLibraryLoadData");
    auto module_of = driver<decltype(&cuLibraryGetModule)>("cuLibraryGetModule");
    check("a module is loaded", load(&module, ptx) == CUDA_SUCCESS);
    functions_of("a module has two functions", module);
    check("a library is loaded", load_library(&library, ptx, nullptr, nullptr, 0, nullptr, nullptr, 0) == CUDA_SUCCESS);
    check("it has a module", module_of(&of_library, library) == CUDA_SUCCESS);
    functions_of("a library's module has two functions", of_library);

    // The same, by names that are documented.
    auto count_of = driver<decltype(&cuModuleGetFunctionCount)>("cuModuleGetFunctionCount");
    auto enumerate = driver<decltype(&cuModuleEnumerateFunctions)>("cuModuleEnumerateFunctions");
    auto name_of = driver<decltype(&cuFuncGetName)>("cuFuncGetName");
    for (CUmodule loaded : {module, of_library}) {
        unsigned count = 0;
        CUfunction functions[2] = {};
        check("functions are counted", count_of(&count, loaded) == CUDA_SUCCESS && count == 2);
        check("functions are enumerated", enumerate(functions, 2, loaded) == CUDA_SUCCESS);
        for (CUfunction function : functions) {
            const char *name = "";
            CUfunction same = nullptr;
            check("an enumerated function has a name", name_of(&name, function) == CUDA_SUCCESS);
            get_function(&same, loaded, name);
            check("an enumerated function is cuModuleGetFunction's", same == function);
        }
    }
    return verdict();
}
