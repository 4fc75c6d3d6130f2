/* A process that was not written for RRTO: it closes what is not its own, forks, takes signals, and ends as it likes, with a CUDA
 * driver inside. Needs only a C compiler; link it with -rdynamic, for pthread_create below.
 *
 * Usage: stranger WHAT [ARGUMENT]; see `commands` at the end. It exits with 0 if what it asked CUDA for was done, or refused with
 * a CUDA error where that is right. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

typedef int CUresult;
typedef uint64_t CUdeviceptr;
typedef void *CUcontext;

enum { NOT_INITIALIZED = 3, DEINITIALIZED = 4, NO_DEVICE = 100, NOT_PERMITTED = 800, NOT_SUPPORTED = 801 };
enum { BYTES = 4096, THREADS = 4 };

static CUresult (*cuInit)(unsigned flags);
static CUresult (*cuDevicePrimaryCtxRetain)(CUcontext *context, int device);
static CUresult (*cuCtxSetCurrent)(CUcontext context);
static CUresult (*cuCtxSynchronize)(void);
static CUresult (*cuMemAlloc)(CUdeviceptr *address, size_t bytes);
static CUresult (*cuMemFree)(CUdeviceptr address);
static CUresult (*cuMemsetD8)(CUdeviceptr to, unsigned char value, size_t bytes);
static CUresult (*cuMemcpyHtoD)(CUdeviceptr to, const void *from, size_t bytes);
static CUresult (*cuMemcpyDtoH)(void *to, CUdeviceptr from, size_t bytes);
static CUresult (*cuGraphCreate)(void **graph, unsigned flags);

static CUcontext context;
static void *driver;

static void find(void *function, const char *name) {
    *(void **)function = dlsym(driver, name);
    if (!*(void **)function) exit(30);
}

static void find_driver(void) {
    if (!(driver = dlopen("libcuda.so.1", RTLD_NOW))) exit(31);
    find(&cuInit, "cuInit");
    find(&cuDevicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain");
    find(&cuCtxSetCurrent, "cuCtxSetCurrent");
    find(&cuCtxSynchronize, "cuCtxSynchronize");
    find(&cuMemAlloc, "cuMemAlloc_v2");
    find(&cuMemFree, "cuMemFree_v2");
    find(&cuMemsetD8, "cuMemsetD8_v2");
    find(&cuMemcpyHtoD, "cuMemcpyHtoD_v2");
    find(&cuMemcpyDtoH, "cuMemcpyDtoH_v2");
    find(&cuGraphCreate, "cuGraphCreate");
}

/* For calls without which the rest means nothing. */
#define MUST(call) \
    do { \
        CUresult must = (call); \
        if (must != 0) printf("%s: %d\n", #call, must), exit(32); \
    } while (0)

static void begin(void) {
    MUST(cuInit(0));
    MUST(cuDevicePrimaryCtxRetain(&context, 0));
    MUST(cuCtxSetCurrent(context));
}

/* Something there and back; whatever CUDA says, what came must be right if it says that it did. */
static CUresult round_trip(unsigned char value) {
    unsigned char there[BYTES], back[BYTES] = {0};
    CUdeviceptr memory;
    CUresult result = cuMemAlloc(&memory, BYTES);
    memset(there, value, BYTES);
    if (!result) result = cuMemcpyHtoD(memory, there, BYTES);
    if (!result) result = cuMemcpyDtoH(back, memory, BYTES);
    if (!result && memcmp(there, back, BYTES)) exit(33);
    if (!result) result = cuMemsetD8(memory, (unsigned char)~value, BYTES);
    if (!result) result = cuMemcpyDtoH(back, memory, BYTES);
    if (!result && (back[0] != (unsigned char)~value || back[BYTES - 1] != back[0])) exit(34);
    if (!result) result = cuMemFree(memory);
    return result;
}

static int round_trips(int count) {
    for (int i = 0; i < count; i++) MUST(round_trip((unsigned char)i));
    return 0;
}

static const char CONTENT[] = "this is the program's own";

/* Takes every free number up to 256 for a file of the program's, and writes it once. */
static void take_numbers(const char *path) {
    int first = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (first < 0 || write(first, CONTENT, sizeof(CONTENT)) != sizeof(CONTENT)) exit(35);
    for (int next = first; next >= 0 && next < 256;) next = open(path, O_RDWR);
}

/* Nobody else has written there, or moved the place where a next write would go. */
static int is_untouched(const char *path) {
    char found[2 * sizeof(CONTENT)];
    int file = open(path, O_RDONLY);
    ssize_t bytes = read(file, found, sizeof(found));
    return bytes == sizeof(CONTENT) && !memcmp(found, CONTENT, sizeof(CONTENT)) ? 0 : 36;
}

/* A daemon, which closes everything that it does not know after CUDA has begun. */
static int close_after(const char *path) {
    begin();
    round_trips(2);
    for (int descriptor = 3; descriptor < 1024; descriptor++) close(descriptor);
    take_numbers(path);
    round_trips(20);
    return is_untouched(path);
}

/* The same, before; and the standard descriptors too. */
static int close_before(const char *path) {
    for (int descriptor = 0; descriptor < 1024; descriptor++) close(descriptor);
    take_numbers(path);
    if (cuInit(0) != 0) return is_untouched(path);
    begin();
    round_trips(20);
    void *graph;
    if (cuGraphCreate(&graph, 0) != NOT_SUPPORTED) return 37;
    return is_untouched(path);
}

/* Something that the library says. */
static int unsupported(const char *unused) {
    void *graph;
    (void)unused;
    begin();
    if (cuGraphCreate(&graph, 0) != NOT_SUPPORTED) return 37;
    return round_trips(2);
}

static void *work(void *unused) {
    unsigned char back[BYTES];
    CUdeviceptr memory;
    (void)unused;
    if (cuCtxSetCurrent(context) || cuMemAlloc(&memory, BYTES)) return NULL;
    for (;;) {
        CUresult result = cuMemsetD8(memory, 1, BYTES);
        if (!result) result = cuMemcpyDtoH(back, memory, BYTES);
        if (result == DEINITIALIZED) pause();
        if (result) _exit(38);
    }
}

static void start_threads(void) {
    pthread_t thread;
    for (int i = 0; i < THREADS; i++) {
        if (pthread_create(&thread, NULL, work, NULL)) exit(39);
    }
}

/* main returns while threads are in calls. */
static int busy(const char *unused) {
    (void)unused;
    begin();
    start_threads();
    return round_trips(3);
}

/* Two threads fork, as often as the argument says, while others work. What a child asks for it is refused. */
static void *fork_often(void *times) {
    for (long i = 0; i < (long)times; i++) {
        int status;
        pid_t child = fork();
        if (child == 0) {
            CUdeviceptr memory;
            CUresult result = cuMemAlloc(&memory, 16);
            if (i % 2) exit(result == NOT_INITIALIZED ? 0 : 40);
            _exit(result == NOT_INITIALIZED ? 0 : 40);
        }
        if (child < 0 || waitpid(child, &status, 0) != child) exit(41);
        if (status != 0) exit(42);
    }
    return NULL;
}

static int forks(const char *times) {
    pthread_t forking[2];
    begin();
    start_threads();
    for (int i = 0; i < 2; i++) {
        if (pthread_create(&forking[i], NULL, fork_often, (void *)atol(times))) return 39;
    }
    round_trips(10);
    for (int i = 0; i < 2; i++) pthread_join(forking[i], NULL);
    return round_trips(2);
}

/* Children are forked while another thread is still in cuInit: each is told something, soon. */
static void *initialise(void *unused) {
    cuInit(0);
    return unused;
}

static int fork_while_starting(const char *unused) {
    pthread_t thread;
    (void)unused;
    if (pthread_create(&thread, NULL, initialise, NULL)) return 39;
    for (int i = 0; i < 20; i++) {
        int status;
        pid_t child = fork();
        if (child == 0) {
            /* A child of a process that had not begun may begin. */
            CUresult result = cuInit(0);
            _exit(result == 0 || result == NOT_INITIALIZED || result == NO_DEVICE ? 0 : 43);
        }
        if (child < 0 || waitpid(child, &status, 0) != child) return 41;
        if (status != 0) return 42;
        usleep(200);
    }
    pthread_join(thread, NULL);
    begin();
    return round_trips(2);
}

static volatile sig_atomic_t signals;

static void count_signal(int unused) {
    CUdeviceptr memory;
    (void)unused;
    signals++;
    /* What a careless handler does. It is refused where it interrupts the driver. */
    if (signals % 16 == 0 && cuMemAlloc(&memory, 16) == 0) cuMemFree(memory);
}

static void interrupt_every_us(int us, void (*handler)(int)) {
    struct sigaction action = {.sa_handler = handler};
    struct itimerval every = {{0, us}, {0, us}};
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &every, NULL);
}

/* A timer interrupts whatever is going on. */
static int storm(const char *unused) {
    (void)unused;
    begin();
    interrupt_every_us(500, count_signal);
    while (signals < 400) round_trips(1);
    interrupt_every_us(0, count_signal);
    return round_trips(2);
}

static void leave(int unused) {
    (void)unused;
    exit(0);
}

/* A handler ends the process, wherever it was. */
static int leave_from_handler(const char *after_us) {
    begin();
    interrupt_every_us(atoi(after_us), leave);
    while (1) round_trips(1);
    return 0;
}

/* No descriptor is left when CUDA begins. */
static int no_descriptors(const char *unused) {
    (void)unused;
    struct rlimit few = {64, 64};
    setrlimit(RLIMIT_NOFILE, &few);
    while (open("/dev/null", O_RDONLY) >= 0) {}
    CUresult result = cuInit(0);
    if (result != 0) return result == NO_DEVICE ? 0 : 43;
    begin();
    return round_trips(2);
}

static int has_no_threads;

/* The library's threads too. */
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument) {
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    *(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
    return has_no_threads ? EAGAIN : real(thread, attributes, start, argument);
}

/* The system gives no thread. */
static int no_threads(const char *unused) {
    (void)unused;
    has_no_threads = 1;
    for (int i = 0; i < 2; i++) {
        if (cuInit(0) != NO_DEVICE) return 43;
    }
    return 0;
}

/* No file may grow. */
static int no_files(const char *unused) {
    struct rlimit none = {0, 0};
    if (setrlimit(RLIMIT_FSIZE, &none)) return 44;
    return unsupported(unused);
}

/* What is registered before CUDA begins runs after CUDA has ended. */
static pthread_key_t key;
static int asks_at_end;

static void ask_at_end(void) {
    if (!asks_at_end) return;
    CUresult result = cuCtxSynchronize();
    if (result != 0 && result != DEINITIALIZED) _exit(45);
}

static void ask_at_threads_end(void *unused) {
    (void)unused;
    ask_at_end();
}

__attribute__((destructor)) static void ask_at_unload(void) { ask_at_end(); }

static int ask_late(const char *unused) {
    (void)unused;
    atexit(ask_at_end);
    pthread_key_create(&key, ask_at_threads_end);
    begin();
    pthread_setspecific(key, &key);
    asks_at_end = 1;
    return round_trips(2);
}

/* However the driver is called, it is one. */
static int other_name(const char *unused) {
    (void)unused;
    begin();
    void *other = dlopen("libcuda.so", RTLD_NOW);
    if (!other) return puts(dlerror()), 46;
    CUresult (*synchronize)(void);
    *(void **)&synchronize = dlsym(other, "cuCtxSynchronize");
    if (!synchronize || synchronize != cuCtxSynchronize) return 47;
    return synchronize() == 0 ? round_trips(2) : 48;
}

/* The end in the way that is named, with nothing left to do. */
static int end(const char *how) {
    begin();
    round_trips(2);
    if (!strcmp(how, "exit")) exit(0);
    if (!strcmp(how, "_exit")) _exit(0);
    if (!strcmp(how, "quick_exit")) quick_exit(0);
    if (!strcmp(how, "exec")) execl("/bin/true", "true", NULL);
    if (!strcmp(how, "kill")) raise(SIGKILL);
    if (!strcmp(how, "abort")) abort();
    if (!strcmp(how, "fork")) {
        int status;
        pid_t child = fork();
        if (child == 0) exit(0);
        return waitpid(child, &status, 0) == child && status == 0 ? round_trips(2) : 42;
    }
    return 0;
}

static const struct {
    const char *name;
    int (*run)(const char *argument);
} commands[] = {{"close-after", close_after},
                {"close-before", close_before},
                {"unsupported", unsupported},
                {"busy", busy},
                {"forks", forks},
                {"fork-while-starting", fork_while_starting},
                {"storm", storm},
                {"leave-from-handler", leave_from_handler},
                {"no-descriptors", no_descriptors},
                {"no-threads", no_threads},
                {"no-files", no_files},
                {"ask-late", ask_late},
                {"other-name", other_name},
                {"end", end}};

int main(int argc, char **argv) {
    find_driver();
    for (size_t i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (!strcmp(argv[1], commands[i].name)) return commands[i].run(argc > 2 ? argv[2] : "");
    }
    return 2;
}
