/* deft bench spmm, deft bench conv: single layers of a constant weight, as the tuner would have them run, against dense
 * libraries. */
#include "base/core/cpu.h"
#include "base/core/rng.h"
#include "base/tensor/npy.h"
#include "decide/tune/choose.h"
#include "face/cli/bench.h"
#include "face/cli/problems.h"

#include <math.h>
#include <omp.h>
#include <string.h>
#include <unistd.h>

enum { PANEL = DEFT_PANEL_LANES, OURS = 0, MOST_COPIES = 4096, LEAST_CACHE = 32 << 20, NAIVE_LOOPS = 5 };

/* One problem on the way: operands, the request that ours answers, and the kernel that does. */
typedef struct layer_run {
    deft_context *ctx;
    deft_bench_layer layer;
    bool panels;
    float *w, *x, *y; /* row-major */
    float **w_copies; /* further ones of w, where weights come from memory */
    int w_copy_count;
    float *x_panels, *y_panels; /* where ours is given panels */
    deft_tensor in[2], out;     /* of ours */
    const deft_tensor *in_list[2], *asked[2];
    deft_tensor *out_list[1], changing;
    int64_t pads[4];
    deft_attr attributes[1];
    deft_attrs attribute_list;
    deft_request request;
    struct our_state *ours;  /* [copies] */
    struct our_state *alone; /* on one thread, where ours has more; or NULL */
    void **our_states;
    int copies;
    void *scratch;
    double generate_us, estimate_us;
} layer_run;

/* A kernel with weights of its own. */
typedef struct our_state {
    layer_run *run;
    deft_kernel kernel;
} our_state;

/* ---- the layer ----------------------------------------------------------------------------------------------- */

int64_t deft_bench_columns(const deft_bench_layer *l) {
    return l->conv ? l->channels * l->kernel * l->kernel : l->k;
}

int64_t deft_bench_rows(const deft_bench_layer *l) {
    return l->conv ? l->filters : l->m;
}

int64_t deft_bench_positions(const deft_bench_layer *l) {
    return l->conv ? l->size * l->size : l->n;
}

static int64_t x_count(const deft_bench_layer *l) {
    return l->conv ? l->channels * l->size * l->size : l->k * l->n;
}

static deft_bench_layer layer_of(const deft_problem *p, bool conv, int threads) {
    return (deft_bench_layer){.conv = conv,
                              .m = p->m,
                              .k = p->k,
                              .n = p->n,
                              .size = p->size,
                              .kernel = p->kernel,
                              .channels = p->channels_in,
                              .filters = p->channels_out,
                              .threads = threads};
}

/* Weights out of a file, or zeros at random. */
static void fill_weights(layer_run *run, const deft_tensor *given, double sparsity, deft_rng *rng) {
    int64_t count = deft_bench_rows(&run->layer) * deft_bench_columns(&run->layer);
    if (given)
        memcpy(run->w, given->data, (size_t)count * sizeof *run->w);
    else
        for (int64_t i = 0; i < count; i++)
            run->w[i] = deft_rng_uniform(rng) < sparsity ? 0 : deft_rng_normal(rng);
}

/* x[k][n] to [n / 16][k][16]. */
static void fill_panels(layer_run *run) {
    const deft_bench_layer *l = &run->layer;
    for (int64_t k = 0; k < l->k; k++)
        for (int64_t n = 0; n < l->n; n++)
            run->x_panels[(n / PANEL * l->k + k) * PANEL + n % PANEL] = run->x[k * l->n + n];
}

static deft_status make_operands(layer_run *run, const deft_tensor *given, double sparsity) {
    deft_context *ctx = run->ctx;
    deft_bench_layer *l = &run->layer;
    size_t y_count = (size_t)(deft_bench_rows(l) * deft_bench_positions(l));
    deft_rng rng;
    deft_rng_init(&rng, ctx->seed, (uint64_t)(deft_bench_rows(l) * 31 + deft_bench_columns(l)));
    DEFT_TRY(deft_allocate_zeroed(ctx, (size_t)(deft_bench_rows(l) * deft_bench_columns(l)), sizeof *run->w, &run->w));
    DEFT_TRY(deft_allocate_zeroed(ctx, (size_t)x_count(l), sizeof *run->x, &run->x));
    DEFT_TRY(deft_allocate_zeroed(ctx, y_count, sizeof *run->y, &run->y));
    l->w = run->w, l->x = run->x, l->y = run->y;
    fill_weights(run, given, sparsity, &rng);
    for (int64_t i = 0; i < x_count(l); i++)
        run->x[i] = 2 * deft_rng_uniform(&rng) - 1;
    if (!run->panels) return DEFT_OK;
    DEFT_TRY(deft_allocate_zeroed(ctx, 1, deft_panel_bytes(l->n, l->k), &run->x_panels));
    DEFT_TRY(deft_allocate_zeroed(ctx, 1, deft_panel_bytes(l->n, l->m), &run->y_panels));
    fill_panels(run);
    return DEFT_OK;
}

static deft_tensor matrix(int64_t rows, int64_t columns, void *data) {
    return (deft_tensor){DEFT_F32, 2, {rows, columns}, data};
}

/* Conv; MatMul(W, X) of row-major matrices; or Gemm(X^T, W^T) between layers that keep panels. Returns the operator and
 * which input is x. */
static deft_op describe_operands(layer_run *run, int *x) {
    const deft_bench_layer *l = &run->layer;
    int64_t size = l->size, kernel = l->kernel;
    *x = 0;
    if (l->conv) {
        run->in[0] = (deft_tensor){DEFT_F32, 4, {1, l->channels, size, size}, run->x};
        run->in[1] = (deft_tensor){DEFT_F32, 4, {l->filters, l->channels, kernel, kernel}, run->w};
        run->out = (deft_tensor){DEFT_F32, 4, {1, l->filters, size, size}, run->y};
        run->pads[0] = run->pads[1] = kernel / 2;
        run->pads[2] = run->pads[3] = kernel - 1 - kernel / 2;
        run->attributes[0] = (deft_attr){.name = "pads", .type = DEFT_ATTR_INTS, .ints = run->pads, .count = 4};
        return DEFT_OP_CONV;
    }
    if (run->panels) {
        run->in[0] = matrix(l->n, l->k, run->x_panels);
        run->in[1] = matrix(l->m, l->k, run->w);
        run->out = matrix(l->n, l->m, run->y_panels);
        run->attributes[0] = (deft_attr){.name = "transB", .type = DEFT_ATTR_INT, .i = 1};
        return DEFT_OP_GEMM;
    }
    *x = 1;
    run->in[0] = matrix(l->m, l->k, run->w);
    run->in[1] = matrix(l->k, l->n, run->x);
    run->out = matrix(l->m, l->n, run->y);
    return DEFT_OP_MATMUL;
}

static void make_request(layer_run *run) {
    int x;
    deft_op op = describe_operands(run, &x);
    deft_layout layout = run->panels ? DEFT_LAYOUT_PANELS : DEFT_LAYOUT_ROWS;
    run->attribute_list = (deft_attrs){run->attributes, op != DEFT_OP_MATMUL};
    run->changing = run->in[x];
    run->changing.data = NULL;
    for (int i = 0; i < 2; i++) {
        run->in_list[i] = &run->in[i];
        run->asked[i] = i == x ? &run->changing : &run->in[i];
    }
    run->out_list[0] = &run->out;
    run->request = (deft_request){.call = {.ctx = run->ctx,
                                           .name = "layer",
                                           .op = op,
                                           .attrs = &run->attribute_list,
                                           .opset = 13,
                                           .in_count = 2,
                                           .out_count = 1,
                                           .in = run->asked,
                                           .out = run->out_list,
                                           .threads = run->ctx->threads},
                                  .activation = deft_activation_none,
                                  .in_layout = layout,
                                  .out_layout = layout,
                                  .isa = run->ctx->isa};
}

/* As many as are out of the caches when their turn comes again. */
static int copies_of(size_t bytes) {
    double cache = fmax((double)sysconf(_SC_LEVEL3_CACHE_SIZE), (double)sysconf(_SC_LEVEL2_CACHE_SIZE));
    double copies = ceil(2 * fmax(cache, LEAST_CACHE) / (double)(bytes + 1)) + 1;
    return copies < MOST_COPIES ? (int)copies : MOST_COPIES;
}

static deft_status add_ours(layer_run *run, deft_kernel_id id) {
    our_state *ours = &run->ours[run->copies];
    ours->run = run;
    DEFT_TRY(deft_kernel_prepare(run->ctx, id, &run->request, &ours->kernel));
    run->our_states[run->copies++] = ours;
    return DEFT_OK;
}

static deft_status prepare_kernels(layer_run *run, deft_tuner *tuner, bool cold) {
    deft_choice choice;
    DEFT_TRY(deft_tuner_choose(tuner, run->ctx, &run->request, &choice));
    run->request.schedule = choice.schedule;
    DEFT_TRY(deft_allocate_zeroed(run->ctx, MOST_COPIES, sizeof *run->ours, &run->ours));
    DEFT_TRY(deft_allocate_zeroed(run->ctx, MOST_COPIES, sizeof *run->our_states, &run->our_states));
    int64_t start = deft_time_ns();
    DEFT_TRY(add_ours(run, choice.kernel));
    run->generate_us = (double)(deft_time_ns() - start) / 1000;
    run->estimate_us = deft_kernels[choice.kernel].estimate_ns(&run->request) / 1000;
    const deft_kernel *kernel = &run->ours->kernel;
    for (int copies = cold ? copies_of(kernel->weight_bytes + kernel->code_bytes) : 1; run->copies < copies;)
        DEFT_TRY(add_ours(run, choice.kernel));
    return deft_allocate_zeroed(run->ctx, 1, kernel->scratch_bytes, &run->scratch);
}

/* What one thread takes, to tell what more gain. */
static deft_status prepare_alone(layer_run *run, deft_tuner *tuner) {
    deft_request request = run->request;
    deft_choice choice;
    request.call.threads = 1;
    request.schedule = 0;
    DEFT_TRY(deft_tuner_choose(tuner, run->ctx, &request, &choice));
    request.schedule = choice.schedule;
    DEFT_TRY(deft_allocate_zeroed(run->ctx, 1, sizeof *run->alone, &run->alone));
    run->alone->run = run;
    DEFT_TRY(deft_kernel_prepare(run->ctx, choice.kernel, &request, &run->alone->kernel));
    size_t bytes = run->alone->kernel.scratch_bytes;
    if (bytes <= run->ours->kernel.scratch_bytes) return DEFT_OK;
    deft_release(run->ctx, run->scratch);
    return deft_allocate_zeroed(run->ctx, 1, bytes, &run->scratch);
}

static deft_status run_ours(deft_context *ctx, void *state) {
    const our_state *ours = state;
    const layer_run *run = ours->run;
    return ours->kernel.def->run(ctx, &ours->kernel, run->in_list, run->out_list, run->scratch);
}

/* All that `vs` names, and again with each further copy of the weights. */
static deft_status make_rivals(layer_run *run, const char *vs, bool cold, deft_rivals *rivals) {
    const deft_bench_layer *l = &run->layer;
    size_t bytes = (size_t)(deft_bench_rows(l) * deft_bench_columns(l)) * sizeof *run->w;
    DEFT_TRY(deft_rivals_add_all(rivals, l, vs));
    int copies = cold ? copies_of(bytes) : 1;
    DEFT_TRY(deft_allocate_zeroed(run->ctx, (size_t)copies, sizeof *run->w_copies, &run->w_copies));
    for (int i = 1; i < copies; i++) {
        deft_bench_layer copy = *l;
        float **w = &run->w_copies[run->w_copy_count++];
        DEFT_TRY(deft_allocate(run->ctx, bytes, w));
        memcpy(*w, run->w, bytes);
        copy.w = *w;
        DEFT_TRY(deft_rivals_add_all(rivals, &copy, vs));
    }
    return DEFT_OK;
}

static void release_run(layer_run *run) {
    deft_context *ctx = run->ctx;
    for (int i = 0; i < run->copies; i++)
        deft_kernel_done(ctx, &run->ours[i].kernel);
    for (int i = 0; i < run->w_copy_count; i++)
        deft_release(ctx, run->w_copies[i]);
    if (run->alone) deft_kernel_done(ctx, &run->alone->kernel);
    deft_release(ctx, run->w_copies);
    deft_release(ctx, run->ours);
    deft_release(ctx, run->alone);
    deft_release(ctx, run->our_states);
    deft_release(ctx, run->scratch);
    float *owned[] = {run->w, run->x, run->y, run->x_panels, run->y_panels};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++)
        deft_release(ctx, owned[i]);
}

/* ---- its error ----------------------------------------------------------------------------------------------- */

/* x at tap `column` of the weight's row, as position `position` sees it. */
static double x_at(const deft_bench_layer *l, int64_t column, int64_t position) {
    if (!l->conv) return l->x[column * l->n + position];
    int64_t taps = l->kernel * l->kernel, tap = column % taps;
    int64_t y = position / l->size + tap / l->kernel - l->kernel / 2;
    int64_t x = position % l->size + tap % l->kernel - l->kernel / 2;
    bool inside = y >= 0 && y < l->size && x >= 0 && x < l->size;
    return inside ? l->x[(column / taps * l->size + y) * l->size + x] : 0;
}

static double y_at(const layer_run *run, int64_t row, int64_t position) {
    const deft_bench_layer *l = &run->layer;
    if (run->panels) return run->y_panels[(position / PANEL * l->m + row) * PANEL + position % PANEL];
    return run->y[row * deft_bench_positions(l) + position];
}

/* The largest |y - y64| / sum |w x| over all rows and some of the positions. */
static double error_of(const layer_run *run) {
    enum { POSITIONS = 128 };
    const deft_bench_layer *l = &run->layer;
    int64_t columns = deft_bench_columns(l), positions = deft_bench_positions(l), step = positions / POSITIONS + 1;
    double worst = 0;
    for (int64_t row = 0; row < deft_bench_rows(l); row++)
        for (int64_t position = row % step; position < positions; position += step) {
            double sum = 0, magnitude = 0;
            for (int64_t column = 0; column < columns; column++) {
                double weight = l->w[row * columns + column];
                if (weight == 0) continue;
                double term = weight * x_at(l, column, position);
                sum += term;
                magnitude += fabs(term);
            }
            double off = fabs(y_at(run, row, position) - sum);
            if (off > 0 || isnan(off)) worst = fmax(worst, isnan(off) ? INFINITY : off / magnitude);
        }
    return worst;
}

/* ---- whether the others compute the same -------------------------------------------------------------------- */

static double row_magnitude(const deft_bench_layer *l, int64_t row) {
    double sum = 0;
    for (int64_t k = 0; k < l->k; k++)
        sum += fabs((double)l->w[row * l->k + k]);
    return sum;
}

/* Both ours and theirs are within gamma(k + 2) sum |w x| of the exact result, and |x| <= 1. */
static deft_status check_row(const layer_run *run, const deft_contestant *one, const float *theirs, int64_t row) {
    const deft_bench_layer *l = &run->layer;
    double n = (double)l->k + 2, gamma = n * 0x1p-24 / (1 - n * 0x1p-24), bound = 2 * gamma * row_magnitude(l, row);
    for (int64_t j = 0; j < l->n; j++)
        if (!(fabs(theirs[row * l->n + j] - y_at(run, row, j)) <= bound))
            return deft_fail(run->ctx, DEFT_BUG, "%s: y[%lld][%lld] is %g, and ours %g", one->name, (long long)row,
                             (long long)j, (double)theirs[row * l->n + j], y_at(run, row, j));
    return DEFT_OK;
}

/* Runs everyone who writes the layer's y, and ours; a bench of wrong results would be worth nothing. */
static deft_status check_rivals(layer_run *run, const deft_rivals *rivals) {
    const deft_bench_layer *l = &run->layer;
    size_t bytes = (size_t)(deft_bench_rows(l) * deft_bench_positions(l)) * sizeof *run->y;
    float *theirs;
    DEFT_TRY(deft_allocate(run->ctx, bytes, &theirs));
    deft_status status = DEFT_OK;
    for (int i = 0; i < rivals->count && status == DEFT_OK; i++) {
        const deft_contestant *one = &rivals->all[i];
        if (!one->on_layer) continue;
        memset(run->y, 0xFF, bytes); /* NaN */
        DEFT_TRY_OR_FAIL(one->run(run->ctx, one->states[0]));
        memcpy(theirs, run->y, bytes);
        DEFT_TRY_OR_FAIL(run_ours(run->ctx, run->ours));
        for (int64_t row = 0; row < l->m && status == DEFT_OK; row++)
            status = check_row(run, one, theirs, row);
    }
fail:
    deft_release(run->ctx, theirs);
    return status;
}

/* ---- the report ---------------------------------------------------------------------------------------------- */

typedef struct bench_row {
    int64_t sizes[4]; /* id m k n, or id size channels_in channels_out */
    const char *weights, *dense, *kernel, *schedule, *own, *naive;
    double sparsity, dense_us, sparse_us, speedup, gflops, peak_fraction, error, generate_us, estimate_us, own_us,
        naive_us, one_thread_us, gain;
    double naive_speedup, naive_each_us[NAIVE_LOOPS];
    double dense_min_us, sparse_min_us; /* medians of a busy machine say little */
    int64_t code_bytes, weight_bytes;
} bench_row;

#define NAIVE_LOOP(INDEX, KEY)                                                                                         \
    { KEY, NULL, DEFT_FIELD_REAL, offsetof(bench_row, naive_each_us[INDEX]), 0, NULL, 0, NULL }
#define SIZE(INDEX, KEY)                                                                                               \
    { KEY, KEY, DEFT_FIELD_INT64, offsetof(bench_row, sizes[INDEX]), 0, NULL, 5, NULL }
static const deft_column size_columns[2][4] = {
    {SIZE(0, "id"), SIZE(1, "m"), SIZE(2, "k"), SIZE(3, "n")},
    {SIZE(0, "id"), SIZE(1, "size"), SIZE(2, "channels_in"), SIZE(3, "channels_out")},
};
static const deft_column columns[] = {
    {"sparsity", "zeros", DEFT_FIELD_SHARE, offsetof(bench_row, sparsity), 1, NULL, 6, NULL},
    {"dense", "dense", DEFT_FIELD_TEXT, offsetof(bench_row, dense), 0, NULL, 15, NULL},
    {"dense_us", "dense us", DEFT_FIELD_REAL, offsetof(bench_row, dense_us), 1, NULL, 9, NULL},
    {"sparse_us", "sparse us", DEFT_FIELD_REAL, offsetof(bench_row, sparse_us), 1, NULL, 9, NULL},
    {"speedup", "speed-up", DEFT_FIELD_REAL, offsetof(bench_row, speedup), 2, "x", 8, NULL},
    {"gflops", "GFLOP/s", DEFT_FIELD_REAL, offsetof(bench_row, gflops), 1, NULL, 7, NULL},
    {"peak_fraction", "of peak", DEFT_FIELD_SHARE, offsetof(bench_row, peak_fraction), 1, NULL, 7, NULL},
    {"error", NULL, DEFT_FIELD_REAL, offsetof(bench_row, error), 0, NULL, 0, NULL},
    {"generate_us", NULL, DEFT_FIELD_REAL, offsetof(bench_row, generate_us), 0, NULL, 0, NULL},
    {"estimate_us", NULL, DEFT_FIELD_REAL, offsetof(bench_row, estimate_us), 0, NULL, 0, NULL},
    {"code_bytes", NULL, DEFT_FIELD_INT64, offsetof(bench_row, code_bytes), 0, NULL, 0, NULL},
    {"weight_bytes", NULL, DEFT_FIELD_INT64, offsetof(bench_row, weight_bytes), 0, NULL, 0, NULL},
    {"kernel", "kernel", DEFT_FIELD_TEXT, offsetof(bench_row, kernel), 0, NULL, 10, NULL},
    {"schedule", "schedule", DEFT_FIELD_TEXT, offsetof(bench_row, schedule), 0, NULL, 0, NULL},
    {"dense_min_us", NULL, DEFT_FIELD_REAL, offsetof(bench_row, dense_min_us), 0, NULL, 0, NULL},
    {"sparse_min_us", NULL, DEFT_FIELD_REAL, offsetof(bench_row, sparse_min_us), 0, NULL, 0, NULL},
    {"one_thread_us", NULL, DEFT_FIELD_REAL, offsetof(bench_row, one_thread_us), 0, NULL, 0, NULL},
    {"gain", NULL, DEFT_FIELD_REAL, offsetof(bench_row, gain), 0, NULL, 0, NULL},
    {"weights", NULL, DEFT_FIELD_TEXT, offsetof(bench_row, weights), 0, NULL, 0, NULL},
    {"own_layouts", NULL, DEFT_FIELD_TEXT, offsetof(bench_row, own), 0, NULL, 0, NULL},
    {"own_layouts_us", NULL, DEFT_FIELD_REAL, offsetof(bench_row, own_us), 0, NULL, 0, NULL},
    {"naive", NULL, DEFT_FIELD_TEXT, offsetof(bench_row, naive), 0, NULL, 0, NULL},
    {"naive_us", NULL, DEFT_FIELD_REAL, offsetof(bench_row, naive_us), 0, NULL, 0, NULL},
    {"naive_speedup", NULL, DEFT_FIELD_REAL, offsetof(bench_row, naive_speedup), 0, NULL, 0, NULL},
    NAIVE_LOOP(0, "triple_loop_us"),
    NAIVE_LOOP(1, "interchanged_us"),
    NAIVE_LOOP(2, "tiled_us"),
    NAIVE_LOOP(3, "csr_us"),
    NAIVE_LOOP(4, "coo_us"),
};
enum { SIZES = 4, COLUMNS = sizeof columns / sizeof *columns };
_Static_assert((int)SIZES + (int)COLUMNS <= DEFT_REPORT_COLUMNS, "a report has room for so many columns");

typedef struct bench_summary {
    bool summary;
    int64_t problems;
    double geomean_speedup, min_speedup, geomean_peak_fraction;
} bench_summary;

static const deft_column summary_columns[] = {
    {"summary", NULL, DEFT_FIELD_BOOL, offsetof(bench_summary, summary), 0, NULL, 0, NULL},
    {"problems", "problems", DEFT_FIELD_INT64, offsetof(bench_summary, problems), 0, NULL, 0, NULL},
    {"geomean_speedup", "mean speed-up", DEFT_FIELD_REAL, offsetof(bench_summary, geomean_speedup), 2, "x", 0, NULL},
    {"min_speedup", "least", DEFT_FIELD_REAL, offsetof(bench_summary, min_speedup), 2, "x", 0, NULL},
    {"geomean_peak_fraction", "mean of peak", DEFT_FIELD_SHARE, offsetof(bench_summary, geomean_peak_fraction), 1, NULL,
     0, NULL},
};

/* A bench under way. */
typedef struct bench {
    deft_cli *cli;
    const deft_bench_options *options;
    bool conv;
    deft_fma_loop *fma; /* runs beside each problem: clocks rise and fall */
    double peak_gflops;
    deft_tuner *tuner;
    deft_npz weights;
    deft_column columns[SIZES + COLUMNS];
    deft_report report;
    deft_problem problem; /* the one that is being timed */
    const char *weights_name;
    bench_summary summary; /* logarithms and a minimum, until it is printed */
} bench;

typedef enum rival_kind { RIVAL_DENSE, RIVAL_OWN_LAYOUTS, RIVAL_NAIVE } rival_kind;

static bool is_of_kind(const deft_contestant *one, rival_kind kind) {
    if (kind == RIVAL_NAIVE) return one->baseline;
    return !one->baseline && (kind == RIVAL_DENSE || !one->in_place);
}

/* The dense side of a product works on the same row-major X and Y; of a convolution in whatever layouts it likes. */
static const char *fastest(const bench *b, const deft_contestant *all, int count, rival_kind kind, deft_timing *us) {
    const char *name = NULL;
    *us = (deft_timing){.p50 = NAN, .min = NAN};
    for (int i = OURS + 1; i < count; i++) {
        if (!is_of_kind(&all[i], kind) || (kind == RIVAL_DENSE && !b->conv && !all[i].in_place)) continue;
        if (name && all[i].us.p50 >= us->p50) continue;
        name = all[i].name;
        *us = all[i].us;
    }
    return name;
}

/* The plain loops in the order in which they were added; NaN where they were not. */
static void tell_naive(const deft_contestant *all, int count, double us[NAIVE_LOOPS]) {
    int found = 0;
    for (int i = OURS + 1; i < count && found < NAIVE_LOOPS; i++)
        if (all[i].baseline) us[found++] = all[i].us.p50;
    while (found < NAIVE_LOOPS)
        us[found++] = NAN;
}

static bench_row row_of(bench *b, const layer_run *run, const deft_contestant *all, int count) {
    const deft_problem *p = &b->problem;
    const deft_bench_layer *l = &run->layer;
    const deft_kernel *kernel = &run->ours->kernel;
    int64_t weights = deft_bench_rows(l) * deft_bench_columns(l), nonzeros = 0;
    for (int64_t i = 0; i < weights; i++)
        nonzeros += run->w[i] != 0;
    bench_row row = {
        .sizes = {p->id, b->conv ? p->size : p->m, b->conv ? p->channels_in : p->k, b->conv ? p->channels_out : p->n},
        .weights = b->weights_name,
        .kernel = kernel->def->name,
        .schedule = kernel->detail,
        .sparsity = deft_share(weights - nonzeros, weights),
        .sparse_us = all[OURS].us.p50,
        .sparse_min_us = all[OURS].us.min,
        .generate_us = run->generate_us,
        .estimate_us = run->estimate_us,
        .code_bytes = (int64_t)kernel->code_bytes,
        .weight_bytes = (int64_t)kernel->weight_bytes,
        .error = error_of(run),
    };
    deft_timing dense, own, naive;
    row.dense = fastest(b, all, count, RIVAL_DENSE, &dense);
    row.own = fastest(b, all, count, RIVAL_OWN_LAYOUTS, &own);
    row.naive = fastest(b, all, count, RIVAL_NAIVE, &naive);
    row.dense_us = dense.p50, row.dense_min_us = dense.min, row.own_us = own.p50, row.naive_us = naive.p50;
    row.speedup = row.dense_us / row.sparse_us;
    row.naive_speedup = row.naive_us / row.sparse_us;
    tell_naive(all, count, row.naive_each_us);
    row.gflops = 2e-3 * (double)nonzeros * (double)deft_bench_positions(l) / row.sparse_us;
    row.peak_fraction = row.gflops / b->peak_gflops;
    return row;
}

static deft_status report_row(bench *b, const bench_row *row) {
    bench_summary *s = &b->summary;
    s->problems++;
    s->geomean_speedup += log(row->speedup);
    s->geomean_peak_fraction += log(row->peak_fraction);
    s->min_speedup = s->problems == 1 || row->speedup < s->min_speedup ? row->speedup : s->min_speedup;
    deft_console_clear(&b->cli->console);
    return deft_report_row(&b->report, row);
}

static deft_status report_summary(bench *b) {
    bench_summary *s = &b->summary;
    s->summary = true;
    s->geomean_speedup = exp(s->geomean_speedup / (double)s->problems);
    s->geomean_peak_fraction = exp(s->geomean_peak_fraction / (double)s->problems);
    if (!b->cli->json) fputc('\n', b->cli->out);
    return deft_cli_print(b->cli, NULL, summary_columns, sizeof summary_columns / sizeof *summary_columns, s);
}

/* ---- all of them --------------------------------------------------------------------------------------------- */

static deft_status time_layer(bench *b, layer_run *run, const deft_rivals *rivals) {
    void *alone = run->alone, *fma = b->fma;
    deft_contestant all[DEFT_CONTESTANTS] = {
        {.name = "deft", .run = run_ours, .states = run->our_states, .copies = run->copies}};
    memcpy(all + 1, rivals->all, (size_t)rivals->count * sizeof *all);
    int rivalling = rivals->count + 1, count = rivalling;
    if (fma) all[count++] = (deft_contestant){.name = "peak", .run = deft_bench_fma_run, .states = &fma, .copies = 1};
    if (alone) all[count++] = (deft_contestant){.name = "one thread", .run = run_ours, .states = &alone, .copies = 1};
    DEFT_TRY(deft_bench_contest(run->ctx, all, count, b->options->seconds));
    b->peak_gflops = deft_bench_fma_gflops(b->fma, all[rivalling].us.p50);
    DEFT_TRY(run_ours(run->ctx, run->ours)); /* over what the others left in y */
    bench_row row = row_of(b, run, all, rivalling);
    row.one_thread_us = alone ? all[count - 1].us.p50 : NAN;
    row.gain = row.one_thread_us / row.sparse_us;
    return report_row(b, &row);
}

static deft_status bench_layer(bench *b, const deft_tensor *weights) {
    deft_context *ctx = b->cli->ctx;
    layer_run run = {.ctx = ctx,
                     .layer = layer_of(&b->problem, b->conv, ctx->threads),
                     .panels = strcmp(b->options->layout, "panels") == 0};
    deft_rivals rivals = {.ctx = ctx};
    deft_status status;
    DEFT_TRY_OR_FAIL(make_operands(&run, weights, b->problem.sparsity));
    make_request(&run);
    DEFT_TRY_OR_FAIL(prepare_kernels(&run, b->tuner, b->options->cold));
    if (ctx->threads > 1 && !b->options->cold) DEFT_TRY_OR_FAIL(prepare_alone(&run, b->tuner));
    DEFT_TRY_OR_FAIL(make_rivals(&run, b->options->vs, b->options->cold, &rivals));
    DEFT_TRY_OR_FAIL(check_rivals(&run, &rivals));
    DEFT_TRY_OR_FAIL(time_layer(b, &run, &rivals));
fail:
    deft_rivals_done(&rivals);
    release_run(&run);
    return status;
}

/* An array of the layer's size: [rows][columns], or a filter of four dimensions. */
static bool fits(const deft_tensor *array, const deft_bench_layer *l) {
    return array->dtype == DEFT_F32 && array->rank >= 2 && array->dims[0] == deft_bench_rows(l) &&
           deft_tensor_count(array) == deft_bench_rows(l) * deft_bench_columns(l);
}

/* With random weights, or once with each array that fits. */
static deft_status bench_problem(bench *b) {
    deft_bench_layer layer = layer_of(&b->problem, b->conv, 1);
    if (!b->options->weights) return bench_layer(b, NULL);
    for (int i = 0; i < b->weights.count; i++) {
        if (!fits(&b->weights.entries[i].tensor, &layer)) continue;
        b->weights_name = b->weights.entries[i].name;
        DEFT_TRY(bench_layer(b, &b->weights.entries[i].tensor));
    }
    return DEFT_OK;
}

static deft_status bench_problems(bench *b, const deft_problems *problems) {
    for (int i = 0; i < problems->count; i++) {
        b->problem = problems->items[i];
        DEFT_TRY(bench_problem(b));
    }
    if (b->summary.problems == 0)
        return deft_fail(b->cli->ctx, DEFT_INVALID, "--weights %s: no array in it has the size of a problem",
                         b->options->weights);
    return report_summary(b);
}

static deft_status check_options(deft_cli *cli, const deft_bench_options *options, bool conv) {
    const char *what = conv ? "conv" : "spmm";
    if (!options->problems)
        return deft_fail(cli->ctx, DEFT_INVALID, "bench %s: --problems FILE says what to measure", what);
    bool rows = strcmp(options->layout, "rows") == 0, panels = strcmp(options->layout, "panels") == 0;
    if (!rows && !panels)
        return deft_fail(cli->ctx, DEFT_INVALID, "--layout '%s' is neither rows nor panels", options->layout);
    if (strcmp(options->tune, "quick") != 0 && strcmp(options->tune, "full") != 0)
        return deft_fail(cli->ctx, DEFT_INVALID, "--tune '%s' is neither quick nor full", options->tune);
    if (panels && conv) return deft_fail(cli->ctx, DEFT_INVALID, "--layout panels is for bench spmm");
    return DEFT_OK;
}

static void init_report(bench *b) {
    memcpy(b->columns, size_columns[b->conv], sizeof size_columns[0]);
    memcpy(b->columns + SIZES, columns, sizeof columns);
    deft_cli_report(b->cli, &b->report, b->columns, SIZES + COLUMNS);
    b->report.live = true;
}

deft_status deft_bench_layers(deft_cli *cli, const deft_bench_options *options, bool conv) {
    deft_context *ctx = cli->ctx;
    bench b = {.cli = cli, .options = options, .conv = conv};
    deft_problems problems = {0};
    deft_status status;
    DEFT_TRY(check_options(cli, options, conv));
    init_report(&b);
    double sparsity = options->weights ? 0 : options->sparsity; /* given weights have their own */
    DEFT_TRY_OR_FAIL(deft_problems_read(ctx, options->problems, conv, sparsity, &problems));
    if (options->weights) DEFT_TRY_OR_FAIL(deft_npz_load(ctx, options->weights, &b.weights));
    bool full = strcmp(options->tune, "full") == 0;
    DEFT_TRY_OR_FAIL(deft_tuner_new(ctx, full ? DEFT_TUNE_FULL : DEFT_TUNE_QUICK, &b.tuner));
    DEFT_TRY_OR_FAIL(deft_bench_fma_new(ctx, &b.fma));
    status = bench_problems(&b, &problems);
fail:
    deft_bench_fma_free(ctx, b.fma);
    deft_tuner_free(b.tuner);
    deft_npz_done(&b.weights);
    deft_problems_done(ctx, &problems);
    deft_report_done(&b.report);
    return status;
}
