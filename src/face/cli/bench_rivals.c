/* The dense libraries that ours is timed against, each on its fastest path: on the same row-major operands, and in the
 * layouts that it likes best, without what it costs to bring operands into them. */
#include "base/core/rng.h"
#include "codegen/kernel/onednn.h"
#include "face/cli/bench.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

deft_status deft_rivals_add(deft_rivals *rivals, const deft_contestant *one, void *state,
                            void (*done)(deft_context *ctx, void *state)) {
    int at = 0;
    while (at < rivals->count && strcmp(rivals->all[at].name, one->name) != 0)
        at++;
    deft_status status;
    if (at == DEFT_RIVALS) {
        status = deft_fail(rivals->ctx, DEFT_BUG, "more than %d rivals", DEFT_RIVALS);
        goto fail;
    }
    if (at == rivals->count) {
        rivals->all[at] = *one;
        rivals->done[at] = done;
        rivals->count++;
    }
    deft_contestant *list = &rivals->all[at];
    DEFT_TRY_OR_FAIL(deft_reallocate(rivals->ctx, (size_t)(list->copies + 1) * sizeof *list->states, &list->states));
    list->states[list->copies++] = state;
    return DEFT_OK;
fail:
    done(rivals->ctx, state);
    return status;
}

void deft_rivals_done(deft_rivals *rivals) {
    for (int i = 0; i < rivals->count; i++) {
        for (int j = 0; j < rivals->all[i].copies; j++)
            rivals->done[i](rivals->ctx, rivals->all[i].states[j]);
        deft_release(rivals->ctx, rivals->all[i].states);
    }
    rivals->count = 0;
}

/* ---- oneDNN: sgemm ------------------------------------------------------------------------------------------- */

static void release_state(deft_context *ctx, void *state) {
    deft_release(ctx, state);
}

/* A copy of the layer is all the state that some need. */
static deft_status add_plain(deft_rivals *rivals, const deft_bench_layer *layer, const deft_contestant *one) {
    deft_bench_layer *state;
    DEFT_TRY(deft_allocate(rivals->ctx, sizeof *state, &state));
    *state = *layer;
    return deft_rivals_add(rivals, one, state, release_state);
}

static deft_status run_sgemm(deft_context *ctx, void *state) {
    const deft_bench_layer *l = state;
    deft_sgemm sgemm = {.m = l->m, .n = l->n, .k = l->k, .alpha = 1, .threads = l->threads};
    return deft_onednn_sgemm(ctx, &sgemm, l->w, l->x, l->y);
}

/* ---- oneDNN: primitives -------------------------------------------------------------------------------------- */

typedef struct primitive {
    deft_onednn *one;
    float *memory[DEFT_ONEDNN_OPERANDS];
    void *scratch;
} primitive;

static deft_status run_primitive(deft_context *ctx, void *state) {
    const primitive *p = state;
    const void *operands[DEFT_ONEDNN_OPERANDS];
    memcpy(operands, p->memory, sizeof operands);
    return deft_onednn_run(ctx, p->one, operands, p->scratch);
}

static void release_primitive(deft_context *ctx, void *state) {
    primitive *p = state;
    deft_onednn_free(ctx, p->one);
    for (int i = 0; i < DEFT_ONEDNN_OPERANDS; i++)
        deft_release(ctx, p->memory[i]);
    deft_release(ctx, p->scratch);
    deft_release(ctx, p);
}

/* Operands in the primitive's layouts: what they hold does not matter to its time, but denormals would. */
static deft_status fill_primitive(deft_context *ctx, const deft_onednn_problem *problem, primitive *p) {
    deft_rng rng;
    deft_rng_init(&rng, ctx->seed, 0);
    DEFT_TRY(deft_onednn_new(ctx, NULL, problem, &p->one));
    for (int i = 0; i < DEFT_ONEDNN_OPERANDS; i++) {
        if (i == DEFT_ONEDNN_W && problem->weight) continue; /* it has a copy of its own */
        size_t bytes = deft_onednn_operand_bytes(p->one, (deft_onednn_operand)i);
        DEFT_TRY(deft_allocate_zeroed(ctx, 1, bytes, &p->memory[i]));
        for (size_t j = 0; j < bytes / sizeof(float); j++)
            p->memory[i][j] = deft_rng_uniform(&rng);
    }
    return deft_allocate_zeroed(ctx, 1, deft_onednn_scratch_bytes(p->one), &p->scratch);
}

/* Adds it where oneDNN has a fast implementation. */
static deft_status add_primitive(deft_rivals *rivals, const deft_onednn_problem *problem, const char *name,
                                 bool in_place) {
    primitive *state;
    if (!deft_onednn_supports(NULL, problem)) return DEFT_OK;
    DEFT_TRY(deft_allocate_zeroed(rivals->ctx, 1, sizeof *state, &state));
    deft_status status = fill_primitive(rivals->ctx, problem, state);
    if (status != DEFT_OK) {
        release_primitive(rivals->ctx, state);
        return status;
    }
    deft_contestant one = {.name = name, .run = run_primitive, .in_place = in_place};
    return deft_rivals_add(rivals, &one, state, release_primitive);
}

static deft_status add_onednn_product(deft_rivals *rivals, const deft_bench_layer *layer) {
    deft_contestant sgemm = {.name = "onednn sgemm", .run = run_sgemm, .on_layer = true, .in_place = true};
    deft_onednn_problem problem = {.kind = DEFT_ONEDNN_MATMUL,
                                   .threads = layer->threads,
                                   .rows = layer->m,
                                   .columns = layer->n,
                                   .inner = layer->k,
                                   .weight_row_stride = layer->n,
                                   .weight_column_stride = 1,
                                   .plain = true};
    DEFT_TRY(add_plain(rivals, layer, &sgemm));
    DEFT_TRY(add_primitive(rivals, &problem, "onednn matmul", true));
    problem.plain = false;
    problem.own_layouts = true;
    DEFT_TRY(add_primitive(rivals, &problem, "onednn matmul, own layouts", false));
    if (layer->n > 1) return DEFT_OK;
    problem = (deft_onednn_problem){.kind = DEFT_ONEDNN_MATMUL,
                                    .threads = layer->threads,
                                    .rows = 1,
                                    .columns = layer->m,
                                    .inner = layer->k,
                                    .weight = layer->w,
                                    .weight_row_stride = 1,
                                    .weight_column_stride = layer->k,
                                    .plain = true};
    return add_primitive(rivals, &problem, "onednn matmul, packed", true);
}

static deft_status add_onednn_convolution(deft_rivals *rivals, const deft_bench_layer *layer) {
    int64_t pad = layer->kernel / 2, size = layer->size, kernel = layer->kernel;
    deft_onednn_problem problem = {.kind = DEFT_ONEDNN_CONV,
                                   .threads = layer->threads,
                                   .activation = deft_activation_none,
                                   .weight = layer->w,
                                   .own_layouts = true,
                                   .window = {.batch = 1,
                                              .channels = layer->channels,
                                              .filters = layer->filters,
                                              .groups = 1,
                                              .in = {size, size},
                                              .out = {size, size},
                                              .kernel = {kernel, kernel},
                                              .stride = {1, 1},
                                              .dilation = {1, 1},
                                              .pad_begin = {pad, pad},
                                              .pad_end = {pad, pad}}};
    DEFT_TRY(add_primitive(rivals, &problem, "onednn direct", false));
    problem.winograd = true;
    DEFT_TRY(add_primitive(rivals, &problem, "onednn winograd", false));
    problem.winograd = false;
    problem.own_layouts = false;
    problem.plain = true;
    return add_primitive(rivals, &problem, "onednn nchw", true);
}

/* ---- OpenBLAS, where it is installed ------------------------------------------------------------------------- */

typedef void (*cblas_sgemm_fn)(int order, int trans_a, int trans_b, int m, int n, int k, float alpha, const float *a,
                               int lda, const float *b, int ldb, float beta, float *c, int ldc);
typedef void (*cblas_sgemv_fn)(int order, int trans, int m, int n, float alpha, const float *a, int lda, const float *x,
                               int x_step, float beta, float *y, int y_step);
enum { ROW_MAJOR = 101, NO_TRANSPOSE = 111 };

typedef struct openblas {
    deft_bench_layer layer;
    cblas_sgemm_fn sgemm;
    cblas_sgemv_fn sgemv;
} openblas;

static deft_status run_openblas(deft_context *ctx, void *state) {
    (void)ctx;
    const openblas *o = state;
    const deft_bench_layer *l = &o->layer;
    int m = (int)l->m, n = (int)l->n, k = (int)l->k;
    o->sgemm(ROW_MAJOR, NO_TRANSPOSE, NO_TRANSPOSE, m, n, k, 1, l->w, k, l->x, n, 0, l->y, n);
    return DEFT_OK;
}

static deft_status run_openblas_vector(deft_context *ctx, void *state) {
    (void)ctx;
    const openblas *o = state;
    const deft_bench_layer *l = &o->layer;
    o->sgemv(ROW_MAJOR, NO_TRANSPOSE, (int)l->m, (int)l->k, 1, l->w, (int)l->k, l->x, 1, 0, l->y, 1);
    return DEFT_OK;
}

/* Its threads spin after a call for 2^26 cycles otherwise, 20 ms on the cores of whoever is timed next; this is longer
 * than the time between two of its own calls. */
static const char spin_log2_cycles[] = "17";

/* The library stays loaded: its threads do not outlive it well. It takes the best instruction set of the CPU unless
 * told otherwise before it is loaded. */
static deft_status load_openblas(deft_context *ctx, const deft_bench_layer *layer, openblas *loaded) {
    if (ctx->isa == DEFT_ISA_AVX2) setenv("OPENBLAS_CORETYPE", "Haswell", 0);
    setenv("OPENBLAS_THREAD_TIMEOUT", spin_log2_cycles, 0);
    void *library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    void (*set_threads)(int) = NULL;
    if (!library) return deft_fail(ctx, DEFT_UNSUPPORTED, "--vs openblas: %s", dlerror());
    *loaded = (openblas){.layer = *layer};
    void *symbols[] = {dlsym(library, "cblas_sgemm"), dlsym(library, "cblas_sgemv"),
                       dlsym(library, "openblas_set_num_threads")};
    memcpy(&loaded->sgemm, &symbols[0], sizeof loaded->sgemm);
    memcpy(&loaded->sgemv, &symbols[1], sizeof loaded->sgemv);
    memcpy(&set_threads, &symbols[2], sizeof set_threads);
    if (!loaded->sgemm || !loaded->sgemv || !set_threads)
        return deft_fail(ctx, DEFT_UNSUPPORTED, "--vs openblas: the library has no cblas_sgemm");
    set_threads(layer->threads);
    return DEFT_OK;
}

static deft_status add_openblas(deft_rivals *rivals, const deft_bench_layer *layer) {
    static const deft_contestant calls[] = {
        {.name = "openblas sgemm", .run = run_openblas, .on_layer = true, .in_place = true},
        {.name = "openblas sgemv", .run = run_openblas_vector, .on_layer = true, .in_place = true},
    };
    openblas loaded;
    DEFT_TRY(load_openblas(rivals->ctx, layer, &loaded));
    for (int i = 0; i < (layer->n == 1 ? 2 : 1); i++) {
        openblas *state;
        DEFT_TRY(deft_allocate(rivals->ctx, sizeof *state, &state));
        *state = loaded;
        DEFT_TRY(deft_rivals_add(rivals, &calls[i], state, release_state));
    }
    return DEFT_OK;
}

/* ---- by name ------------------------------------------------------------------------------------------------- */

static deft_status add_named(deft_rivals *rivals, const deft_bench_layer *layer, const char *name, size_t length) {
    bool product = !layer->conv;
    if (length == 6 && strncmp(name, "onednn", length) == 0)
        return (product ? add_onednn_product : add_onednn_convolution)(rivals, layer);
    if (product && length == 8 && strncmp(name, "openblas", length) == 0) return add_openblas(rivals, layer);
    if (product && length == 5 && strncmp(name, "naive", length) == 0) return deft_rivals_add_naive(rivals, layer);
    return deft_fail(rivals->ctx, DEFT_INVALID, "--vs: '%.*s' is none of %s", (int)length, name,
                     product ? "onednn, openblas and naive" : "onednn (for convolutions there is no other)");
}

deft_status deft_rivals_add_all(deft_rivals *rivals, const deft_bench_layer *layer, const char *vs) {
    for (const char *name = vs; *name; name += *name == ',') {
        size_t length = strcspn(name, ",");
        DEFT_TRY(add_named(rivals, layer, name, length));
        name += length;
    }
    return DEFT_OK;
}
