/* What this machine can do at most: multiply-adds in registers, and bytes read and written in each level of its caches,
 * by loops that do nothing else. */
#include "base/core/cpu.h"
#include "codegen/x86/emit.h"
#include "codegen/x86/memory.h"
#include "face/cli/bench.h"

#include <math.h>
#include <omp.h>
#include <string.h>

typedef void (*loop_code)(float *memory, int64_t steps);

/* Sums that are added to in turn: enough to hide the latency of any multiply-add. */
enum { SUMS = 15, UNROLLED = 8, MOVES = 16, TRIES = 40 };
static const double try_ns = 2e5;

typedef struct peak_loop {
    deft_code code;
    deft_vector_width width;
    double per_step; /* operations or bytes of a step, in one thread */
    size_t bytes;    /* of the memory that it goes through, in one thread; 0: none */
    int64_t steps;   /* once through the memory */
} peak_loop;

static int lanes_of(deft_vector_width width) {
    return 4 << (int)width;
}

static deft_status finish(deft_emitter *e, size_t begin, deft_code *code) {
    deft_emit_general_constant(e, DEFT_SUB, DEFT_RSI, 1);
    deft_emit_jump(e, DEFT_JNZ, begin);
    deft_emit_vzeroupper(e);
    deft_emit_ret(e);
    deft_status status = e->status;
    if (status == DEFT_OK) status = deft_code_new(e->ctx, e->bytes, e->count, code);
    deft_emitter_done(e);
    return status;
}

static deft_status make_fma_loop(deft_context *ctx, peak_loop *loop) {
    deft_emitter e;
    deft_emitter_init(&e, ctx);
    for (int i = 0; i <= SUMS; i++)
        deft_emit_vector(&e, DEFT_VXORPS, loop->width, i, i, deft_in_register(i));
    size_t begin = e.count;
    for (int i = 0; i < SUMS * UNROLLED; i++)
        deft_emit_vector(&e, DEFT_VFMADD231PS, loop->width, i % SUMS, SUMS, deft_in_register(SUMS));
    loop->per_step = 2.0 * SUMS * UNROLLED * lanes_of(loop->width);
    return finish(&e, begin, &loop->code);
}

static deft_status make_move_loop(deft_context *ctx, deft_vector_op op, size_t bytes, peak_loop *loop) {
    deft_emitter e;
    deft_emitter_init(&e, ctx);
    int vector_bytes = 4 * lanes_of(loop->width);
    size_t begin = e.count;
    for (int i = 0; i < MOVES; i++)
        deft_emit_vector(&e, op, loop->width, i % 8, 0, deft_in_memory(DEFT_RDI, i * vector_bytes));
    deft_emit_general_constant(&e, DEFT_ADD, DEFT_RDI, MOVES * vector_bytes);
    loop->per_step = (double)MOVES * vector_bytes;
    loop->bytes = bytes;
    loop->steps = (int64_t)bytes / (MOVES * vector_bytes);
    return finish(&e, begin, &loop->code);
}

/* Runs it long enough to be timed, in each thread on memory of its own; operations or bytes a nanosecond. */
static double run_once(const peak_loop *loop, float *memory, int threads, int64_t steps, int64_t repeats) {
    char *entry = loop->code.memory;
    loop_code run;
    memcpy(&run, &entry, sizeof run);
    int64_t start = deft_time_ns();
#pragma omp parallel num_threads(threads) if (threads > 1)
    for (int64_t i = 0; i < repeats; i++)
        run(memory + (size_t)omp_get_thread_num() * loop->bytes / sizeof *memory, steps);
    double ns = (double)(deft_time_ns() - start);
    return loop->per_step * (double)(steps * repeats * threads) / (ns > 0 ? ns : 1);
}

/* The best of many tries: whatever else runs on the machine only makes it slower. */
static deft_status best_rate(deft_context *ctx, const peak_loop *loop, double *rate) {
    float *memory = NULL;
    DEFT_TRY(deft_allocate_zeroed(ctx, (size_t)ctx->threads, loop->bytes, &memory));
    int64_t steps = loop->bytes ? loop->steps : 1000, repeats = 1;
    run_once(loop, memory, ctx->threads, steps, 1);
    double guess = run_once(loop, memory, ctx->threads, steps, 1);
    double step_ns = loop->per_step * ctx->threads * (double)steps / guess;
    if (step_ns < try_ns) repeats = (int64_t)(try_ns / step_ns) + 1;
    *rate = 0;
    for (int i = 0; i < (step_ns > 10 * try_ns ? TRIES / 8 : TRIES); i++)
        *rate = fmax(*rate, run_once(loop, memory, ctx->threads, steps, repeats));
    deft_release(ctx, memory);
    return DEFT_OK;
}

static bool can_generate(const deft_context *ctx) {
    return ctx->isa != DEFT_ISA_C && deft_code_allowed();
}

static deft_vector_width width_of(const deft_context *ctx) {
    return ctx->isa == DEFT_ISA_AVX512 ? DEFT_ZMM : DEFT_YMM;
}

static deft_status measure_fma(deft_context *ctx, double *gflops) {
    peak_loop loop = {.width = width_of(ctx)};
    DEFT_TRY(make_fma_loop(ctx, &loop));
    deft_status status = best_rate(ctx, &loop, gflops);
    deft_code_done(&loop.code);
    return status;
}

/* ---- beside others ---- */

struct deft_fma_loop {
    peak_loop loop;
    int threads;
    int64_t steps;
};

deft_status deft_bench_fma_new(deft_context *ctx, deft_fma_loop **loop) {
    static const double run_ns = 5e4;
    deft_fma_loop *made;
    *loop = NULL;
    if (!can_generate(ctx)) return DEFT_OK;
    DEFT_TRY(deft_allocate_zeroed(ctx, 1, sizeof *made, &made));
    made->loop.width = width_of(ctx);
    made->threads = ctx->threads;
    deft_status status = make_fma_loop(ctx, &made->loop);
    if (status != DEFT_OK) {
        deft_release(ctx, made);
        return status;
    }
    double rate = run_once(&made->loop, NULL, 1, 1000, 1);
    made->steps = (int64_t)(run_ns * rate / made->loop.per_step) + 1;
    *loop = made;
    return DEFT_OK;
}

deft_status deft_bench_fma_run(deft_context *ctx, void *loop) {
    (void)ctx;
    const deft_fma_loop *fma = loop;
    run_once(&fma->loop, NULL, fma->threads, fma->steps, 1);
    return DEFT_OK;
}

double deft_bench_fma_gflops(const deft_fma_loop *loop, double us) {
    return loop ? loop->loop.per_step * (double)(loop->steps * loop->threads) / (1000 * us) : NAN;
}

void deft_bench_fma_free(deft_context *ctx, deft_fma_loop *loop) {
    if (loop) deft_code_done(&loop->loop.code);
    deft_release(ctx, loop);
}

/* ---- the report ---- */

typedef struct peak_row {
    const char *what, *isa, *unit;
    int threads;
    int64_t bytes;
    double rate;
} peak_row;

static const deft_column columns[] = {
    {"what", "what", DEFT_FIELD_TEXT, offsetof(peak_row, what), 0, NULL, 0, NULL},
    {"isa", "isa", DEFT_FIELD_TEXT, offsetof(peak_row, isa), 0, NULL, 0, NULL},
    {"threads", "threads", DEFT_FIELD_INT, offsetof(peak_row, threads), 0, NULL, 0, NULL},
    {"bytes", "bytes a thread", DEFT_FIELD_INT64, offsetof(peak_row, bytes), 0, NULL, 0, NULL},
    {"rate", "rate", DEFT_FIELD_REAL, offsetof(peak_row, rate), 1, NULL, 0, NULL},
    {"unit", "unit", DEFT_FIELD_TEXT, offsetof(peak_row, unit), 0, NULL, 0, NULL},
};

static deft_status report_moves(deft_cli *cli, deft_report *report, const char *what, deft_vector_op op) {
    static const size_t sizes[] = {16 << 10, 256 << 10, 1 << 20, 8 << 20, 256 << 20};
    deft_context *ctx = cli->ctx;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        peak_loop loop = {.width = width_of(ctx)};
        peak_row row = {what, deft_isa_name(ctx->isa), "GB/s", ctx->threads, (int64_t)sizes[i], 0};
        DEFT_TRY(make_move_loop(ctx, op, sizes[i], &loop));
        deft_status status = best_rate(ctx, &loop, &row.rate);
        deft_code_done(&loop.code);
        DEFT_TRY(status);
        DEFT_TRY(deft_report_row(report, &row));
        DEFT_TRY(deft_progress(ctx, "measuring", (double)(i + 1) / (double)(sizeof sizes / sizeof *sizes)));
    }
    return DEFT_OK;
}

deft_status deft_bench_peak(deft_cli *cli) {
    deft_context *ctx = cli->ctx;
    if (!can_generate(ctx))
        return deft_fail(ctx, DEFT_UNSUPPORTED, "bench peak: it needs AVX2 or AVX-512 and executable memory");
    peak_row fma = {"fma", deft_isa_name(ctx->isa), "GFLOP/s", ctx->threads, 0, 0};
    deft_report report;
    deft_cli_report(cli, &report, columns, sizeof columns / sizeof *columns);
    deft_status status;
    DEFT_TRY_OR_FAIL(measure_fma(ctx, &fma.rate));
    DEFT_TRY_OR_FAIL(deft_report_row(&report, &fma));
    DEFT_TRY_OR_FAIL(report_moves(cli, &report, "read", DEFT_VMOVUPS));
    DEFT_TRY_OR_FAIL(report_moves(cli, &report, "write", DEFT_VMOVUPS_STORE));
    deft_console_clear(&cli->console);
    deft_report_flush(&report);
fail:
    deft_report_done(&report);
    return status;
}
