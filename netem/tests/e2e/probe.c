/* A CUDA driver-API program that does what well-behaved programs do not, one thing a run. Needs only a C compiler.
 *
 * Usage: probe WHAT [ARGUMENT]; see `commands` at the end. It prints what each call returned, for the test to judge, and
 * exits with 0 unless it could not get as far as it wanted. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef int CUresult;
typedef int CUdevice;
typedef uint64_t CUdeviceptr;
typedef void *CUcontext, *CUmodule, *CUfunction, *CUstream;

#define DRIVER_FUNCTIONS(X)                                                                                     \
    X(cuInit, (unsigned flags))                                                                                 \
    X(cuDeviceGetCount, (int *count))                                                                           \
    X(cuDevicePrimaryCtxRetain, (CUcontext * context, CUdevice device))                                         \
    X(cuCtxSetCurrent, (CUcontext context))                                                                     \
    X(cuCtxSynchronize, (void))                                                                                 \
    X(cuModuleLoadData, (CUmodule * module, const void *image))                                                 \
    X(cuModuleGetFunction, (CUfunction * function, CUmodule module, const char *name))                          \
    X(cuMemAlloc_v2, (CUdeviceptr * address, size_t bytes))                                                     \
    X(cuMemFree_v2, (CUdeviceptr address))                                                                      \
    X(cuMemsetD32_v2, (CUdeviceptr to, unsigned value, size_t count))                                           \
    X(cuMemcpyDtoH_v2, (void *to, CUdeviceptr from, size_t bytes))                                              \
    X(cuMemcpyHtoDAsync_v2, (CUdeviceptr to, const void *from, size_t bytes, CUstream stream))                  \
    X(cuMemcpyDtoHAsync_v2, (void *to, CUdeviceptr from, size_t bytes, CUstream stream))                        \
    X(cuLaunchKernel, (CUfunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,    \
                       unsigned bz, unsigned shared, CUstream stream, void **arguments, void **extra))

#define DECLARE(name, parameters) static CUresult(*name) parameters;
DRIVER_FUNCTIONS(DECLARE)

/* increment: adds 1 to each of 64 words. poke: writes to the address that it is given. */
static const char PTX[] = ".version 7.0\n.target sm_75\n.address_size 64\n"
                          ".visible .entry increment(.param .u64 words)\n{\n"
                          "  .reg .b32 %r<3>;\n  .reg .b64 %rd<4>;\n"
                          "  ld.param.u64 %rd1, [words];\n  mov.u32 %r1, %tid.x;\n  mul.wide.u32 %rd2, %r1, 4;\n"
                          "  add.s64 %rd3, %rd1, %rd2;\n  ld.global.u32 %r2, [%rd3];\n  add.u32 %r2, %r2, 1;\n"
                          "  st.global.u32 [%rd3], %r2;\n  ret;\n}\n"
                          ".visible .entry poke(.param .u64 address)\n{\n"
                          "  .reg .b32 %r<2>;\n  .reg .b64 %rd<2>;\n"
                          "  ld.param.u64 %rd1, [address];\n  mov.u32 %r1, 1;\n  st.global.u32 [%rd1], %r1;\n  ret;\n}\n";

enum { WORDS = 64, LAUNCHES = 300 };

static CUmodule module;
static CUfunction increment, poke;
static CUdeviceptr words;

/* For calls without which the rest means nothing. */
static void must(CUresult result, const char *call) {
    if (result == 0) return;
    printf("%s %d\n", call, result);
    exit(3);
}
#define MUST(call) must((call), #call)

static CUresult launch(CUfunction function, CUdeviceptr argument) {
    void *arguments[] = {&argument};
    return cuLaunchKernel(function, 1, 1, 1, WORDS, 1, 1, 0, NULL, arguments, NULL);
}

static void set_up(void) {
    CUcontext context;
    MUST(cuInit(0));
    MUST(cuDevicePrimaryCtxRetain(&context, 0));
    MUST(cuCtxSetCurrent(context));
    MUST(cuModuleLoadData(&module, PTX));
    MUST(cuModuleGetFunction(&increment, module, "increment"));
    MUST(cuModuleGetFunction(&poke, module, "poke"));
    MUST(cuMemAlloc_v2(&words, WORDS * sizeof(uint32_t)));
    MUST(cuMemsetD32_v2(words, 0, WORDS));
}

static int init(const char *unused) {
    int count = -1;
    (void)unused;
    printf("cuInit %d\n", cuInit(0));
    printf("cuInit %d\n", cuInit(0));
    printf("cuDeviceGetCount %d\n", cuDeviceGetCount(&count));
    return 0;
}

/* Works until something fails, then shows whether it goes on failing. */
static int loop(const char *unused) {
    CUresult result = 0;
    (void)unused;
    set_up();
    for (long round = 0; result == 0; round++) {
        for (int i = 0; i < LAUNCHES && result == 0; i++) result = launch(increment, words);
        if (result == 0) result = cuCtxSynchronize();
        if (round == 0) printf("working\n"), fflush(stdout);
    }
    printf("failed %d\n", result);
    printf("cuCtxSynchronize %d\n", cuCtxSynchronize());
    printf("cuMemAlloc %d\n", cuMemAlloc_v2(&words, 16));
    return 0;
}

/* As many increments as the argument says, and what they add up to. */
static int work(const char *rounds) {
    uint32_t got[WORDS];
    set_up();
    for (int round = 0; round < atoi(rounds); round++) MUST(launch(increment, words));
    MUST(cuMemcpyDtoH_v2(got, words, sizeof(got)));
    printf("sum %u\n", got[0]);
    for (int i = 1; i < WORDS; i++) {
        if (got[i] != got[0]) return 1;
    }
    return 0;
}

static int fault(const char *unused) {
    (void)unused;
    set_up();
    printf("launch %d\n", launch(poke, 16));
    printf("cuCtxSynchronize %d\n", cuCtxSynchronize());
    printf("cuMemFree %d\n", cuMemFree_v2(words));
    return 0;
}

/* A child of a process that uses CUDA may not; CUDA says so with an error. The parent does not notice. */
static int forked(const char *unused) {
    uint32_t got[WORDS];
    int status;
    (void)unused;
    set_up();
    MUST(launch(increment, words));
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        CUdeviceptr memory = 0;
        printf("child %s\n", cuMemAlloc_v2(&memory, 16) == 0 ? "allocated" : "refused");
        fflush(stdout);
        exit(0);
    }
    if (child < 0 || waitpid(child, &status, 0) != child) return 1;
    printf("child's status %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
    MUST(cuMemcpyDtoH_v2(got, words, sizeof(got)));
    printf("parent got %u\n", got[0]);
    return 0;
}

static void *leave_from_thread(void *unused) {
    (void)unused;
    exit(0);
}

/* Ends the process in the way that is named. */
static int end_now(const char *how) {
    pthread_t thread;
    if (!strcmp(how, "return")) return 0;
    if (!strcmp(how, "exit")) exit(0);
    if (!strcmp(how, "_exit")) _exit(0);
    if (!strcmp(how, "quick_exit")) quick_exit(0);
    if (!strcmp(how, "thread") && pthread_create(&thread, NULL, leave_from_thread, NULL) == 0) pause();
    return 1;
}

/* Ends the process, in the way that the argument names, with work outstanding. */
static int leave(const char *how) {
    enum { BYTES = 1 << 20 };
    static char there[BYTES], back[BYTES];
    CUdeviceptr memory;
    set_up();
    MUST(cuMemAlloc_v2(&memory, BYTES));
    for (int round = 0; round < 20; round++) {
        MUST(cuMemcpyHtoDAsync_v2(memory, there, BYTES, NULL));
        MUST(launch(increment, words));
        MUST(cuMemcpyDtoHAsync_v2(back, memory, BYTES, NULL));
    }
    return end_now(how);
}

/* The first `launches` launches of an inference: words go in, and each launch adds 1 to them. */
static void begin_inference(uint32_t number, int launches) {
    uint32_t in[WORDS];
    for (int i = 0; i < WORDS; i++) in[i] = number * 7919 + (uint32_t)i;
    MUST(cuMemcpyHtoDAsync_v2(words, in, sizeof(in), NULL));
    for (int i = 0; i < launches; i++) MUST(launch(increment, words));
}

/* A whole inference; its output must be right. */
static void infer(uint32_t number) {
    uint32_t out[WORDS];
    begin_inference(number, LAUNCHES);
    MUST(cuMemcpyDtoH_v2(out, words, sizeof(out)));
    for (uint32_t i = 0; i < WORDS; i++) {
        if (out[i] == number * 7919 + i + LAUNCHES) continue;
        printf("inference %u: word %u is %u\n", number, i, out[i]);
        exit(4);
    }
}

static void infer_often(void) {
    set_up();
    for (uint32_t number = 0; number < 10; number++) infer(number);
}

/* As many inferences as the argument says, exactly alike but for their inputs. */
static int infer_times(const char *times) {
    set_up();
    for (int number = 0; number < atoi(times); number++) infer((uint32_t)number);
    return 0;
}

/* An inference for each line that is read, and a line when its output was right. */
static int infer_asked(const char *unused) {
    char line[16];
    (void)unused;
    set_up();
    for (uint32_t number = 0; fgets(line, sizeof(line), stdin); number++) {
        infer(number);
        printf("inference %u\n", number), fflush(stdout);
    }
    return 0;
}

/* An inference like many before it, until a kernel in it faults. */
static int infer_fault(const char *unused) {
    (void)unused;
    infer_often();
    begin_inference(11, LAUNCHES / 2);
    printf("launch %d\n", launch(poke, 16));
    printf("cuCtxSynchronize %d\n", cuCtxSynchronize());
    printf("cuMemFree %d\n", cuMemFree_v2(words));
    return 0;
}

/* An inference like many before it, until the program ends in the way that the argument names. */
static int infer_leave(const char *how) {
    infer_often();
    begin_inference(11, LAUNCHES / 2);
    return end_now(how);
}

static int load(const char *path) {
    static char text[1 << 16];
    FILE *file = fopen(path, "rb");
    if (!file || fread(text, 1, sizeof(text) - 1, file) == 0) return 1;
    fclose(file);
    set_up();
    CUmodule other;
    printf("cuModuleLoadData %d\n", cuModuleLoadData(&other, text));
    printf("cuCtxSynchronize %d\n", cuCtxSynchronize());
    return 0;
}

static const struct {
    const char *name;
    int (*run)(const char *argument);
} commands[] = {{"init", init},
                {"loop", loop},
                {"work", work},
                {"fault", fault},
                {"fork", forked},
                {"leave", leave},
                {"load", load},
                {"infer", infer_times},
                {"infer-asked", infer_asked},
                {"infer-fault", infer_fault},
                {"infer-leave", infer_leave}};

int main(int argc, char **argv) {
    void *library = dlopen("libcuda.so.1", RTLD_NOW);
    if (!library) {
        printf("no CUDA driver: %s\n", dlerror());
        return 3;
    }
#define RESOLVE(name, parameters)                     \
    *(void **)&name = dlsym(library, #name);          \
    if (!name) {                                      \
        printf("the CUDA driver lacks %s\n", #name);  \
        return 3;                                     \
    }
    DRIVER_FUNCTIONS(RESOLVE)
    for (size_t i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (!strcmp(argv[1], commands[i].name)) return commands[i].run(argc > 2 ? argv[2] : "");
    }
    fprintf(stderr, "usage: probe WHAT [ARGUMENT]\n");
    return 2;
}
