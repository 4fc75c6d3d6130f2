/*
 * A libcuda.so.1 in front of the real one that records what libraries do with the tables of cuGetExportTable.
 *
 * tables.py builds it (x86-64 only), together with an assembly file that forwards every other export of the
 * real driver, and preloads it: its SONAME is what every library opens. A table is handed out as a copy whose
 * slots are thunks; a thunk notes table, slot, calling library and arguments, runs the real function, and
 * notes the result and what the arguments point to. Two tables are left where they are, because cudart hashes
 * their addresses: CUDART_INTERFACE (patched in place if TABLES_PATCH=1) and INTEGRITY_CHECK.
 *
 * Environment: TABLES_REAL (path of the real driver), TABLES_LOG (file to append lines to),
 * TABLES_REFUSE (comma-separated first eight digits of tables that are refused, or "all") and TABLES_REFUSE_AS:
 *   null  NOT_FOUND, and null for a table
 *   stub  NOT_FOUND, and a table whose slots answer NOT_SUPPORTED
 *   give  SUCCESS, and that same table
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#define SLOTS_MAX 512
#define THUNKS_MAX 16384
#define DUMP 64
#define STACK_WORDS 6

struct regs {
    uint64_t rdi, rsi, rdx, rcx, r8, r9, rax, pad;
    unsigned char xmm[8][16];
};

struct thunk {
    char table[9];
    int slot;
    void *real;
    struct seen {
        const char *library;
        uint64_t calls;
    } seen[16];
};

struct frame {
    void *back;
    int id, number, log;
    char caller[64];
    uint64_t args[6], stack[STACK_WORDS];
    unsigned char before[6][DUMP];
    ssize_t length[6];
    int (*callback)(void *, void *, void *, void *, void *, void *);
};

extern void *forward_to[];
extern const char *const forward_names[];
void thunk_common(void);
void thunk_exit(void);

static void *real_driver;
static int (*real_table)(void **, const unsigned char *);
static int (*real_address)(const char *, void **, int, uint64_t, void *);
static int (*real_address_1)(const char *, void **, int, uint64_t);
static struct thunk thunks[THUNKS_MAX];
static int thunk_count;
static unsigned char *code;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct { unsigned char uuid[16]; void *copy; } copies[256];
static int copy_count;
static int log_fd = -1;

static __thread struct frame frames[32] __attribute__((tls_model("global-dynamic")));
static __thread int depth, inside;

static void say(const char *format, ...) {
    char line[4096];
    va_list list;
    va_start(list, format);
    int length = vsnprintf(line, sizeof line - 1, format, list);
    va_end(list);
    if (length > (int)sizeof line - 2) length = sizeof line - 2;
    line[length++] = '\n';
    if (log_fd >= 0 && write(log_fd, line, length) < 0) return;
}

static const char *base(const char *path) {
    const char *slash = path ? strrchr(path, '/') : NULL;
    return slash ? slash + 1 : path ? path : "?";
}

static const char *library_of(const void *address) {
    Dl_info info;
    return dladdr(address, &info) && info.dli_fname ? base(info.dli_fname) : "?";
}

/* Reads memory that may not be there. */
static ssize_t peek(uint64_t address, void *to, size_t length) {
    if (address < 65536) return -1;
    struct iovec local = {to, length}, remote = {(void *)address, length};
    ssize_t got = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
    if (got > 0) return got;
    remote.iov_len = local.iov_len = 8;
    return process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
}

static char *hex(char *to, const unsigned char *bytes, ssize_t length) {
    char *at = to;
    for (ssize_t i = 0; i < length; i++) at += sprintf(at, i && i % 8 == 0 ? " %02x" : "%02x", bytes[i]);
    *at = 0;
    return to;
}

/* What a value may be: a place in a library, or an address of something readable. */
static void describe(char *to, size_t room, uint64_t value) {
    Dl_info info;
    unsigned char bytes[32];
    char shown[128];
    if (value >= 65536 && dladdr((void *)value, &info) && info.dli_fname)
        snprintf(to, room, "%#lx=%s+%#lx", value, base(info.dli_fname), value - (uint64_t)info.dli_fbase);
    else if (peek(value, bytes, 32) > 0)
        snprintf(to, room, "%#lx->[%s]", value, hex(shown, bytes, 32));
    else
        snprintf(to, room, "%#lx", value);
}

static void about_function(const char *what, void *function) {
    const char *name = NULL, *kernel = NULL;
    void *module = NULL;
    int (*function_name)(const char **, void *) = dlsym(real_driver, "cuFuncGetName");
    int (*kernel_name)(const char **, void *) = dlsym(real_driver, "cuKernelGetName");
    int (*function_module)(void **, void *) = dlsym(real_driver, "cuFuncGetModule");
    int a = function_name ? function_name(&name, function) : -1;
    int b = kernel_name ? kernel_name(&kernel, function) : -1;
    int c = function_module && a == 0 ? function_module(&module, function) : -1;
    say("    %s: handle %p; cuFuncGetName %d %s; cuKernelGetName %d %s; cuFuncGetModule %d %p", what, function, a,
        a == 0 && name ? name : "", b, b == 0 && kernel ? kernel : "", c, module);
}

static void about_module(void *module) {
    unsigned count = 0;
    void *functions[64] = {0};
    int (*function_count)(unsigned *, void *) = dlsym(real_driver, "cuModuleGetFunctionCount");
    int (*enumerate)(void **, unsigned, void *) = dlsym(real_driver, "cuModuleEnumerateFunctions");
    if (!function_count || !enumerate) return;
    int status = function_count(&count, module);
    say("    cuModuleGetFunctionCount(%p) = %d, %u functions", module, status, count);
    if (status != 0 || enumerate(functions, count < 64 ? count : 64, module) != 0) return;
    int (*function_name)(const char **, void *) = dlsym(real_driver, "cuFuncGetName");
    int (*get_function)(void **, void *, const char *) = dlsym(real_driver, "cuModuleGetFunction");
    for (unsigned i = 0; i < count && i < 16; i++) {
        const char *name = NULL;
        void *again = NULL;
        about_function("enumerated", functions[i]);
        if (function_name && function_name(&name, functions[i]) == 0 && name) {
            int found = get_function(&again, module, name);
            say("    cuModuleGetFunction = %d, handle %p", found, again);
        }
    }
}

/* Stands between the driver and the callback of slot 7 of 6e163fbe. */
static int recorded_callback(void *a, void *b, void *c, void *d, void *e, void *f) {
    struct frame *frame = &frames[depth - 1];
    char owner[256];
    inside++;
    describe(owner, sizeof owner, (uint64_t)c);
    say("    callback(%p, %p, %s, %p, %p, %p)", a, b, owner, d, e, f);
    about_function("second argument", b);
    inside--;
    int result = frame->callback(a, b, c, d, e, f);
    say("    callback answered %d; first argument now points to [%lx]", result, *(uint64_t *)a);
    return result;
}

static int stub(void) { return 801; }

void *record_enter(struct regs *regs, int id, void **back) {
    struct thunk *thunk = &thunks[id];
    if (inside || depth >= 32) return thunk->real;
    inside++;
    struct frame *frame = &frames[depth];
    frame->back = *back;
    frame->id = id;
    snprintf(frame->caller, sizeof frame->caller, "%s", library_of(*back));
    uint64_t calls = 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < 16; i++) {
        struct seen *seen = &thunk->seen[i];
        if (!seen->library) seen->library = strdup(frame->caller);
        if (strcmp(seen->library, frame->caller) == 0) {
            calls = ++seen->calls;
            break;
        }
    }
    pthread_mutex_unlock(&lock);
    frame->number = (int)calls;
    frame->log = calls <= 3;
    if (!frame->log) {
        if ((calls & (calls - 1)) == 0) say("COUNT %s [%d] %s %lu", thunk->table, thunk->slot, frame->caller, calls);
        inside--;
        return thunk->real;
    }
    memcpy(frame->args, regs, sizeof frame->args);
    memcpy(frame->stack, back + 1, sizeof frame->stack);
    for (int i = 0; i < 6; i++) frame->length[i] = peek(frame->args[i], frame->before[i], DUMP);
    /* Said before the call too: the call may end the program. */
    say("CALL %s [%d] %s #%d args %#lx %#lx %#lx %#lx %#lx %#lx stack %#lx %#lx %#lx %#lx", thunk->table, thunk->slot,
        frame->caller, frame->number, frame->args[0], frame->args[1], frame->args[2], frame->args[3], frame->args[4],
        frame->args[5], frame->stack[0], frame->stack[1], frame->stack[2], frame->stack[3]);
    for (int i = 0; i < 6; i++) {
        Dl_info info;
        char shown[256];
        if (frame->args[i] < 65536) continue;
        if (dladdr((void *)frame->args[i], &info) && info.dli_fname)
            say("    arg %d %s+%#lx", i, base(info.dli_fname), frame->args[i] - (uint64_t)info.dli_fbase);
        else if (frame->length[i] > 0)
            say("    arg %d [%s]", i, hex(shown, frame->before[i], frame->length[i]));
    }
    frame->callback = NULL;
    if (strcmp(thunk->table, "6e163fbe") == 0 && thunk->slot == 7 && regs->rdx >= 65536) {
        frame->callback = (void *)regs->rdx;
        about_module((void *)regs->rsi);
        regs->rdx = (uint64_t)recorded_callback;
    }
    depth++;
    *back = (void *)thunk_exit;
    inside--;
    return thunk->real;
}

void *record_exit(uint64_t result) {
    struct frame *frame = &frames[--depth];
    struct thunk *thunk = &thunks[frame->id];
    inside++;
    say("DONE %s [%d] %s #%d result %#lx", thunk->table, thunk->slot, frame->caller, frame->number, result);
    for (int i = 0; i < 6; i++) {
        unsigned char after[DUMP];
        char shown[256], first[256];
        uint64_t word;
        ssize_t length = peek(frame->args[i], after, DUMP);
        if (length < 8 || length != frame->length[i] || memcmp(after, frame->before[i], length) == 0) continue;
        memcpy(&word, after, 8);
        describe(first, sizeof first, word);
        say("    wrote arg %d [%s] first word %s", i, hex(shown, after, length), first);
        if (strcmp(thunk->table, "1734dc26") == 0 && thunk->slot == 4) {
            size_t room = malloc_usable_size((void *)word);
            unsigned char *bytes = calloc(1, room + 1);
            char *all = malloc(4 * room + 8);
            peek(word, bytes, room);
            say("    array of usable size %zu: %s", room, hex(all, bytes, room));
            free(bytes);
            free(all);
        }
    }
    inside--;
    return frame->back;
}

__asm__(
    ".text\n"
    ".globl thunk_common\n"
    "thunk_common:\n"
    "  pushq %rbp\n  movq %rsp, %rbp\n  andq $-16, %rsp\n  subq $192, %rsp\n"
    "  movq %rdi, 0(%rsp)\n  movq %rsi, 8(%rsp)\n  movq %rdx, 16(%rsp)\n  movq %rcx, 24(%rsp)\n"
    "  movq %r8, 32(%rsp)\n  movq %r9, 40(%rsp)\n  movq %rax, 48(%rsp)\n"
    "  movups %xmm0, 64(%rsp)\n  movups %xmm1, 80(%rsp)\n  movups %xmm2, 96(%rsp)\n  movups %xmm3, 112(%rsp)\n"
    "  movups %xmm4, 128(%rsp)\n  movups %xmm5, 144(%rsp)\n  movups %xmm6, 160(%rsp)\n  movups %xmm7, 176(%rsp)\n"
    "  movq %rsp, %rdi\n  movl %r11d, %esi\n  leaq 8(%rbp), %rdx\n  call record_enter@PLT\n  movq %rax, %r11\n"
    "  movq 0(%rsp), %rdi\n  movq 8(%rsp), %rsi\n  movq 16(%rsp), %rdx\n  movq 24(%rsp), %rcx\n"
    "  movq 32(%rsp), %r8\n  movq 40(%rsp), %r9\n  movq 48(%rsp), %rax\n"
    "  movups 64(%rsp), %xmm0\n  movups 80(%rsp), %xmm1\n  movups 96(%rsp), %xmm2\n  movups 112(%rsp), %xmm3\n"
    "  movups 128(%rsp), %xmm4\n  movups 144(%rsp), %xmm5\n  movups 160(%rsp), %xmm6\n  movups 176(%rsp), %xmm7\n"
    "  movq %rbp, %rsp\n  popq %rbp\n  jmp *%r11\n"
    ".globl thunk_exit\n"
    "thunk_exit:\n"
    "  subq $48, %rsp\n  movq %rax, 0(%rsp)\n  movq %rdx, 8(%rsp)\n  movups %xmm0, 16(%rsp)\n"
    "  movq %rax, %rdi\n  call record_exit@PLT\n  movq %rax, %r11\n"
    "  movq 0(%rsp), %rax\n  movq 8(%rsp), %rdx\n  movups 16(%rsp), %xmm0\n  addq $48, %rsp\n  jmp *%r11\n");

/* mov $id, %r11d ; movabs $thunk_common, %r10 ; jmp *%r10 */
static void *make_thunk(const char *table, int slot, void *real) {
    if (thunk_count == THUNKS_MAX) return real;
    int id = thunk_count++;
    snprintf(thunks[id].table, sizeof thunks[id].table, "%s", table);
    thunks[id].slot = slot;
    thunks[id].real = real;
    unsigned char *at = code + 32 * id;
    void *common = (void *)thunk_common;
    memcpy(at, "\x41\xbb", 2);
    memcpy(at + 2, &id, 4);
    memcpy(at + 6, "\x49\xba", 2);
    memcpy(at + 8, &common, 8);
    memcpy(at + 16, "\x41\xff\xe2", 3);
    return at;
}

static int is_driver_code(const void *address) {
    Dl_info info, driver;
    return dladdr(address, &info) && dladdr((void *)real_table, &driver) && info.dli_fbase == driver.dli_fbase;
}

static void patch_in_place(void **table, const char *name, size_t slots) {
    long page = sysconf(_SC_PAGESIZE);
    uintptr_t first = (uintptr_t)table & -page, last = ((uintptr_t)(table + slots) + page - 1) & -page;
    if (mprotect((void *)first, last - first, PROT_READ | PROT_WRITE) != 0) return;
    for (size_t i = 1; i < slots; i++)
        if (is_driver_code(table[i])) table[i] = make_thunk(name, (int)i, table[i]);
}

static void *copy_of(const unsigned char *uuid, const char *name, void **table) {
    for (int i = 0; i < copy_count; i++)
        if (memcmp(copies[i].uuid, uuid, 16) == 0) return copies[i].copy;
    uint64_t size = (uint64_t)table[0];
    int sized = size >= 8 && size % 8 == 0 && size / 8 <= SLOTS_MAX;
    size_t slots = sized ? size / 8 : 3;
    char nulls[512] = "", *at = nulls;
    for (size_t i = sized; i < slots; i++)
        if (!is_driver_code(table[i]) && at < nulls + 480) at += sprintf(at, " [%zu]=%p", i, table[i]);
    say("TABLE %s slots %zu%s; not code:%s", name, slots, sized ? "" : " (no size slot)", nulls);
    void **copy = table;
    int interface = strcmp(name, "6bd5fb6c") == 0, integrity = strcmp(name, "d4082055") == 0;
    const char *patch = getenv("TABLES_PATCH");
    if (interface && patch && *patch == '1') patch_in_place(table, name, slots);
    if (!interface && !integrity) {
        copy = calloc(slots + 64, 8);
        for (size_t i = 0; i < slots; i++)
            copy[i] = (i > 0 || !sized) && is_driver_code(table[i]) ? make_thunk(name, (int)i, table[i]) : table[i];
    }
    if (copy_count < 256) {
        memcpy(copies[copy_count].uuid, uuid, 16);
        copies[copy_count++].copy = copy;
    }
    return copy;
}

static void *stubs_of(const char *name) {
    static struct { char name[9]; void **slots; } made[64];
    static int count;
    for (int i = 0; i < count; i++)
        if (strcmp(made[i].name, name) == 0) return made[i].slots;
    void **slots = calloc(128, 8);
    slots[0] = (void *)(128 * 8);
    for (int i = 1; i < 128; i++) slots[i] = make_thunk(name, i, (void *)stub);
    if (count < 64) {
        strcpy(made[count].name, name);
        made[count++].slots = slots;
    }
    return slots;
}

int cuGetExportTable(void **table, const unsigned char *uuid) {
    char name[9], full[40], *at = full;
    for (int i = 0; i < 16; i++) at += sprintf(at, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", uuid[i]);
    memcpy(name, full, 8);
    name[8] = 0;
    const char *refuse = getenv("TABLES_REFUSE"), *as = getenv("TABLES_REFUSE_AS");
    int refused = refuse && strstr(refuse, name) != NULL;
    void *before = *table;
    int status = refused ? 500 : real_table(table, uuid);
    pthread_mutex_lock(&lock);
    say("ASK %s by %s: %s%d, *table was %p", full, library_of(__builtin_return_address(0)),
        refused ? "refused by us as " : "", refused ? -1 : status, before);
    if (status != 0 && !refused) say("REFUSED %s; *table is %p after", full, *table);
    if (refused) {
        *table = as && strcmp(as, "null") != 0 ? stubs_of(name) : NULL;
        if (as && strcmp(as, "give") == 0) status = 0;
    } else if (status == 0 && *table) {
        *table = copy_of(uuid, name, *table);
    }
    pthread_mutex_unlock(&lock);
    return status;
}

int cuGetProcAddress(const char *name, void **to, int version, uint64_t flags);

int cuGetProcAddress_v2(const char *name, void **to, int version, uint64_t flags, void *status) {
    int result = real_address(name, to, version, flags, status);
    if (result == 0 && to && *to && strcmp(name, "cuGetExportTable") == 0) *to = (void *)cuGetExportTable;
    if (result == 0 && to && *to && strcmp(name, "cuGetProcAddress") == 0)
        *to = version >= 12000 ? (void *)cuGetProcAddress_v2 : (void *)cuGetProcAddress;
    return result;
}

int cuGetProcAddress(const char *name, void **to, int version, uint64_t flags) {
    int result = real_address_1 ? real_address_1(name, to, version, flags) : real_address(name, to, version, flags, NULL);
    if (result == 0 && to && *to && strcmp(name, "cuGetExportTable") == 0) *to = (void *)cuGetExportTable;
    if (result == 0 && to && *to && strcmp(name, "cuGetProcAddress") == 0) *to = (void *)cuGetProcAddress;
    return result;
}

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("TABLES_REAL"), *log = getenv("TABLES_LOG");
    if (log) log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (!path || !(real_driver = dlopen(path, RTLD_NOW | RTLD_LOCAL))) {
        say("NO DRIVER %s", path ? dlerror() : "TABLES_REAL is not set");
        return;
    }
    real_table = dlsym(real_driver, "cuGetExportTable");
    real_address = dlsym(real_driver, "cuGetProcAddress_v2");
    real_address_1 = dlsym(real_driver, "cuGetProcAddress");
    for (int i = 0; forward_names[i]; i++) forward_to[i] = dlsym(real_driver, forward_names[i]);
    code = mmap(NULL, 32 * THUNKS_MAX, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

__attribute__((destructor)) static void end(void) {
    for (int id = 0; id < thunk_count; id++)
        for (int i = 0; i < 16 && thunks[id].seen[i].library; i++)
            say("TOTAL %s [%d] %s %lu", thunks[id].table, thunks[id].slot, thunks[id].seen[i].library,
                thunks[id].seen[i].calls);
}
