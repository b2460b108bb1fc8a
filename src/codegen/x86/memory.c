#include "codegen/x86/memory.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void *map_writable(size_t bytes) {
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

deft_status deft_code_new(deft_context *ctx, const void *machine_code, size_t bytes, deft_code *code) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (bytes == 0 || bytes > SIZE_MAX - page)
        return deft_fail(ctx, DEFT_BUG, "executable memory: %zu bytes of code asked for", bytes);
    size_t mapped = (bytes + page - 1) / page * page;
    void *memory = map_writable(mapped);
    if (!memory) return deft_fail(ctx, DEFT_MEMORY, "executable memory: no %zu bytes: %s", mapped, strerror(errno));
    memcpy(memory, machine_code, bytes);
    if (mprotect(memory, mapped, PROT_READ | PROT_EXEC) != 0) {
        int error = errno;
        munmap(memory, mapped);
        return deft_fail(ctx, DEFT_DEVICE,
                         "the system refuses executable memory: %s; allow it, or choose the instruction set 'c'",
                         strerror(error));
    }
    *code = (deft_code){memory, mapped};
    return DEFT_OK;
}

void deft_code_done(deft_code *code) {
    if (code->memory) munmap(code->memory, code->bytes);
    *code = (deft_code){0};
}

bool deft_code_allowed(void) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *memory = map_writable(page);
    if (!memory) return false;
    bool allowed = mprotect(memory, page, PROT_READ | PROT_EXEC) == 0;
    munmap(memory, page);
    return allowed;
}
