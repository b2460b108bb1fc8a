#include "hostile.h"

#include "base/core/cpu.h"
#include "exec/run/program.h"
#include "ir/model/file.h"
#include "ir/model/onnx.h"
#include "mutate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Loading may take this times the file's bytes, and a little more; the rest this in all; what is planned is run where
 * it is small. */
enum { LOAD_FACTOR = 64, LOAD_FREE_BYTES = 4 << 20, MAX_BYTES = 512 << 20, RUN_WORK = 1 << 27 };

/* ---- memory -------------------------------------------------------------------------------------------------- */

typedef struct meter {
    size_t live, peak;
} meter;

static void *allocate(void *user, size_t bytes) {
    meter *m = user;
    void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!memory) return NULL;
    m->live += bytes;
    if (m->live > m->peak) m->peak = m->live;
    return memory;
}

static void release(void *user, void *memory, size_t bytes) {
    ((meter *)user)->live -= bytes;
    free(memory);
}

/* ---- a model in use ------------------------------------------------------------------------------------------ */

typedef struct use {
    deft_context *ctx;
    meter meter;
    deft_rng rng;
    volatile hostile_stage *stage;
    char *note; /* HOSTILE_NOTE bytes */
} use;

static bool fail(use *u, const char *what) {
    snprintf(u->note, HOSTILE_NOTE, "%s: %.200s", what, deft_context_message(u->ctx));
    return false;
}

/* A failure must be one that a file can cause, and say something. */
static bool is_honest(use *u, deft_status status) {
    bool known = status == DEFT_OK || status == DEFT_INVALID || status == DEFT_UNSUPPORTED || status == DEFT_MEMORY;
    bool good = known && (status == DEFT_OK || deft_context_message(u->ctx)[0]);
    if (status != DEFT_OK) fail(u, deft_status_name(status));
    return good;
}

static void fill(use *u, deft_tensor *tensor) {
    uint8_t *bytes = tensor->data;
    size_t size = deft_dtype_bytes(tensor->dtype);
    for (int64_t i = 0; i < deft_tensor_count(tensor); i++) {
        int64_t number = mutate_number(&u->rng);
        float real = mutate_real(&u->rng);
        double wide = (double)real;
        if (tensor->dtype == DEFT_BOOL) number &= 1;
        const void *value = tensor->dtype == DEFT_F32   ? (void *)&real
                            : tensor->dtype == DEFT_F64 ? (void *)&wide
                                                        : (void *)&number;
        memcpy(bytes + (size_t)i * size, value, size);
    }
}

static bool run(use *u, deft_program *program) {
    for (int i = 0; i < deft_program_input_count(program); i++)
        fill(u, deft_program_input(program, i));
    deft_status status = deft_program_run(program);
    /* Reads all that came out. */
    for (int i = 0; status == DEFT_OK && i < deft_program_output_count(program); i++) {
        const deft_tensor *out = deft_program_output(program, i);
        if (!deft_tensor_equal(out, out)) return fail(u, "an output is not equal to itself");
    }
    return is_honest(u, status);
}

/* By the first stage: what later ones do depends on values. */
static bool is_small(const deft_program *program) {
    const deft_plan *plan = deft_executor_plan(deft_program_executor(program));
    int64_t work = 0;
    for (int i = 0; i < plan->graph->node_count && work <= RUN_WORK; i++) {
        int64_t more = deft_node_work(plan->graph, &plan->graph->nodes[i]);
        work = more <= RUN_WORK ? work + more : more;
    }
    return work <= RUN_WORK;
}

static bool plan_and_run(use *u, deft_graph *graph) {
    static const int64_t batches[] = {1, 2, 3, 32, 64}; /* what pictures and sound have too few of is refused */
    deft_program *program;
    deft_plan_options options = {.batch = batches[deft_rng_below(&u->rng, 5)]};
    *u->stage = HOSTILE_PLAN;
    deft_status status = deft_program_new(graph, &options, &program);
    if (status != DEFT_OK) return is_honest(u, status);
    bool good = true;
    if (is_small(program)) {
        *u->stage = HOSTILE_RUN;
        good = run(u, program);
        if (good) *u->stage = HOSTILE_DONE;
    }
    deft_program_free(program);
    return good;
}

/* What was read can be written. */
static bool write_and_dump(use *u, const deft_graph *graph) {
    void *data;
    size_t bytes;
    *u->stage = HOSTILE_WRITE;
    deft_status status = deft_onnx_serialize(graph, &data, &bytes);
    if (status == DEFT_OK) deft_release(u->ctx, data);
    FILE *nowhere = fopen("/dev/null", "w");
    if (nowhere) {
        deft_graph_dump(graph, nowhere);
        fclose(nowhere);
    }
    return is_honest(u, status);
}

static bool load_and_use(use *u, const uint8_t *data, size_t bytes) {
    deft_model_file file = {0};
    *u->stage = HOSTILE_LOAD;
    deft_status status = deft_model_file_parse(u->ctx, data, bytes, &file);
    if (u->meter.peak > LOAD_FACTOR * bytes + LOAD_FREE_BYTES) {
        snprintf(u->note, HOSTILE_NOTE, "loading %zu bytes took %zu bytes of memory", bytes, u->meter.peak);
        return false;
    }
    if (status != DEFT_OK) return is_honest(u, status);
    bool good = write_and_dump(u, file.graph) && plan_and_run(u, file.graph);
    deft_release(u->ctx, file.frontier);
    deft_graph_free(file.graph);
    return good;
}

bool hostile_use(const uint8_t *data, size_t bytes, uint64_t seed, volatile hostile_stage *stage,
                 char note[HOSTILE_NOTE]) {
    static const deft_isa isas[] = {DEFT_ISA_BEST, DEFT_ISA_C, DEFT_ISA_AVX2, DEFT_ISA_AVX512};
    use u = {.stage = stage, .note = note};
    deft_rng_init(&u.rng, seed, 1);
    deft_isa isa = isas[deft_rng_below(&u.rng, 4)];
    deft_context_options options = {.cache_directory = "",
                                    .threads = 1,
                                    .max_memory_bytes = MAX_BYTES,
                                    .isa = isa == DEFT_ISA_BEST || deft_cpu_has(isa) ? isa : DEFT_ISA_BEST,
                                    .allocator = {allocate, release, &u.meter}};
    if (deft_context_new(&options, &u.ctx) != DEFT_OK) return false;
    bool good = load_and_use(&u, data, bytes);
    if (good && atomic_load(&u.ctx->live_bytes) != 0) good = fail(&u, "memory leaked");
    deft_context_free(u.ctx);
    return good;
}
