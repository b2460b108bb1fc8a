/* deft bench: how long a run takes, and where the time goes; of a model, or of the problems of a file (bench.h). */
#include "base/core/cpu.h"
#include "base/core/rng.h"
#include "decide/tune/measure.h"
#include "face/api/model.h"
#include "face/cli/bench.h"
#include "face/cli/feed.h"
#include "face/cli/profile.h"
#include "face/cli/shapes.h"

#include <math.h>
#include <omp.h>
#include <stdatomic.h>
#include <string.h>

typedef struct bench_options {
    int64_t batch, runs, warmup;
    double duration;
    bool pin, profile, vs_dense;
    deft_texts shapes, inputs;
    deft_bench_options layers;
} bench_options;

/* Seconds and runs at least, where neither is asked for. */
static const double default_seconds = 1;
static const int64_t default_runs = 10;

static const deft_option options[] = {
    DEFT_SHAPE_OPTION(bench_options, shapes),
    {"input", 0, DEFT_OPTION_TEXTS, offsetof(bench_options, inputs), "[NAME=]FILE",
     "a .npy array for each input, not random ones", 0, 0, false},
    {"batch", 0, DEFT_OPTION_INT64, offsetof(bench_options, batch), "N", "samples a run (default 1)", 1, 1 << 24,
     false},
    {"duration", 0, DEFT_OPTION_REAL, offsetof(bench_options, duration), "SECONDS", "measure this long (default 1)",
     0.001, 86400, false},
    {"runs", 0, DEFT_OPTION_INT64, offsetof(bench_options, runs), "N", "measure this many runs instead", 1, 1e9, false},
    {"warmup", 0, DEFT_OPTION_INT64, offsetof(bench_options, warmup), "N", "runs before the clock starts (default 3)",
     0, 1e9, false},
    {"pin", 0, DEFT_OPTION_FLAG, offsetof(bench_options, pin), NULL, "bind each thread to a core", 0, 0, false},
    {"profile", 0, DEFT_OPTION_FLAG, offsetof(bench_options, profile), NULL,
     "time each layer, and say why it runs as it does", 0, 0, false},
    {"vs-dense", 0, DEFT_OPTION_FLAG, offsetof(bench_options, vs_dense), NULL,
     "in alternation with the same model on dense kernels", 0, 0, false},
    {"problems", 0, DEFT_OPTION_TEXT, offsetof(bench_options, layers.problems), "CSV", "sizes of layers to measure", 0,
     0, false},
    {"sparsity", 0, DEFT_OPTION_REAL, offsetof(bench_options, layers.sparsity), "SHARE", "zeros, instead of the file's",
     0, 1, false},
    {"weights", 0, DEFT_OPTION_TEXT, offsetof(bench_options, layers.weights), "NPZ", "measure these that fit", 0, 0,
     false},
    {"layout", 0, DEFT_OPTION_TEXT, offsetof(bench_options, layers.layout), "LAYOUT", "of spmm: rows (default), panels",
     0, 0, false},
    {"cold", 0, DEFT_OPTION_FLAG, offsetof(bench_options, layers.cold), NULL,
     "weights of layers from memory, not from a cache", 0, 0, false},
    {"tune", 0, DEFT_OPTION_TEXT, offsetof(bench_options, layers.tune), "HOW",
     "quick (default), full (layers) or never (a model)", 0, 0, false},
    {"vs", 0, DEFT_OPTION_TEXT, offsetof(bench_options, layers.vs), "LIST", "of onednn (default), openblas, naive", 0,
     0, false},
};

static const bench_options defaults = {.warmup = 3,
                                       .layers = {.sparsity = -1, .layout = "rows", .vs = "onednn", .tune = "quick"}};

/* ---- latency ---- */

typedef struct latency {
    const char *kernels, *isa;
    int threads;
    int64_t batch;
    deft_timing us;
    double throughput, speedup;
} latency;

static const deft_column latency_columns[] = {
    {"kernels", "kernels", DEFT_FIELD_TEXT, offsetof(latency, kernels), 0, NULL, 0, NULL},
    {"isa", "isa", DEFT_FIELD_TEXT, offsetof(latency, isa), 0, NULL, 0, NULL},
    {"threads", "threads", DEFT_FIELD_INT, offsetof(latency, threads), 0, NULL, 0, NULL},
    {"batch", "batch", DEFT_FIELD_INT64, offsetof(latency, batch), 0, NULL, 0, NULL},
    {"runs", "runs", DEFT_FIELD_INT64, offsetof(latency, us.runs), 0, NULL, 0, NULL},
    {"mean_us", "mean us", DEFT_FIELD_REAL, offsetof(latency, us.mean), 1, NULL, 0, NULL},
    {"p50_us", "p50", DEFT_FIELD_REAL, offsetof(latency, us.p50), 1, NULL, 0, NULL},
    {"p90_us", "p90", DEFT_FIELD_REAL, offsetof(latency, us.p90), 1, NULL, 0, NULL},
    {"p99_us", "p99", DEFT_FIELD_REAL, offsetof(latency, us.p99), 1, NULL, 0, NULL},
    {"min_us", "min", DEFT_FIELD_REAL, offsetof(latency, us.min), 1, NULL, 0, NULL},
    {"throughput", "samples/s", DEFT_FIELD_REAL, offsetof(latency, throughput), 0, NULL, 0, NULL},
    {"speedup", "speed-up", DEFT_FIELD_REAL, offsetof(latency, speedup), 2, "x", 0, NULL},
};

static latency latency_of(const deft_context *ctx, const char *kernels, int64_t batch, deft_timing us,
                          double dense_p50) {
    return (latency){.kernels = kernels,
                     .isa = deft_isa_name(ctx->isa),
                     .threads = ctx->threads,
                     .batch = batch,
                     .us = us,
                     .throughput = (double)batch * 1e6 / us.mean,
                     .speedup = dense_p50 / us.p50};
}

/* ---- the measurement ---- */

/* Each thread of the team that runs the kernels, to a core of its own. */
static void pin_threads(deft_cli *cli) {
    atomic_bool pinned = true;
#pragma omp parallel num_threads(cli->ctx->threads)
    if (!deft_cpu_pin(omp_get_thread_num())) atomic_store(&pinned, false);
    if (!pinned)
        deft_console_note(&cli->console, "warning: --pin: not every one of %d threads could be bound to a core",
                          cli->ctx->threads);
}

/* f32: uniform in 0..1. Integers: 0 or 1, an index wherever there are two. */
static void fill_random(deft_tensor *tensor, deft_rng *rng) {
    int64_t count = deft_tensor_count(tensor);
    size_t size = deft_dtype_bytes(tensor->dtype);
    unsigned char *bytes = tensor->data;
    memset(bytes, 0, (size_t)count * size);
    for (int64_t i = 0; i < count; i++)
        if (tensor->dtype == DEFT_F32)
            ((float *)tensor->data)[i] = deft_rng_uniform(rng);
        else
            bytes[(size_t)i * size] = (unsigned char)deft_rng_below(rng, 2); /* little-endian */
}

/* The same inputs for every session: what was given, or from the seed. */
static void fill_inputs(const deft_cli *cli, const deft_feed *feed, deft_session *session) {
    if (feed->count) {
        deft_feed_copy(feed, session);
        return;
    }
    for (int i = 0; i < deft_session_input_count(session); i++) {
        deft_rng rng;
        deft_rng_init(&rng, cli->seed, (uint64_t)i);
        fill_random(deft_program_input(session->program, i), &rng);
    }
}

/* What the first input's first dimension came to be. */
static deft_status batch_of(deft_cli *cli, const deft_session *session, int64_t asked, int64_t *batch) {
    const deft_tensor *first = deft_session_input_count(session) ? deft_program_input(session->program, 0) : NULL;
    *batch = first && first->rank > 0 ? first->dims[0] : 1;
    if (asked && asked != *batch)
        return deft_fail(cli->ctx, DEFT_INVALID, "%s: its batch is fixed at %lld: leave --batch out", cli->operand,
                         (long long)*batch);
    return DEFT_OK;
}

static deft_status warm_up(deft_session *const *sessions, int count, int64_t runs) {
    for (int64_t i = 0; i < runs; i++)
        for (int j = 0; j < count; j++) {
            DEFT_TRY(deft_session_run(sessions[j]));
            DEFT_TRY(deft_progress(sessions[j]->ctx, "warming up", (double)i / (double)runs));
        }
    return DEFT_OK;
}

/* What a stage computes decides what the next one is, so that random inputs measure nothing of use. */
static deft_status check_stages(deft_cli *cli, const bench_options *wanted, const deft_session *session) {
    const char *value = deft_program_waits_for(session->program);
    if (value && !wanted->inputs.count)
        return deft_fail(cli->ctx, DEFT_INVALID,
                         "%s: what it computes depends on the value '%.64s', of which random inputs say nothing: give "
                         "its inputs with --input",
                         cli->operand, value);
    if (value && wanted->profile)
        return deft_fail(cli->ctx, DEFT_UNSUPPORTED,
                         "%s: what it computes depends on the value '%.64s': its layers are not the same in every run, "
                         "so leave --profile out",
                         cli->operand, value);
    return DEFT_OK;
}

static deft_status run_session(void *session) {
    return deft_session_run(session);
}

/* Measures sessions[0], and sessions[1], the dense one, where count is 2. */
static deft_status measure(deft_cli *cli, const bench_options *wanted, const deft_feed *feed,
                           deft_session *const *sessions, int count) {
    deft_runnable runnables[2];
    deft_timing us[2];
    int64_t batch;
    DEFT_TRY(batch_of(cli, sessions[0], wanted->batch, &batch));
    for (int i = 0; i < count; i++) {
        DEFT_TRY(check_stages(cli, wanted, sessions[i]));
        fill_inputs(cli, feed, sessions[i]);
        runnables[i] = (deft_runnable){run_session, sessions[i]};
    }
    DEFT_TRY(warm_up(sessions, count, wanted->warmup));
    double seconds = wanted->runs && !wanted->duration ? 0 : wanted->duration ? wanted->duration : default_seconds;
    DEFT_TRY(deft_measure(cli->ctx, runnables, count, seconds, wanted->runs ? wanted->runs : default_runs, us));
    deft_console_clear(&cli->console);
    deft_report report;
    deft_cli_report(cli, &report, latency_columns, sizeof latency_columns / sizeof *latency_columns);
    report.kind = "latency";
    double dense_p50 = count == 2 ? us[1].p50 : NAN;
    deft_status status = DEFT_OK;
    for (int i = count - 1; status == DEFT_OK && i >= 0; i--) {
        latency row = latency_of(cli->ctx, i ? "dense" : "chosen", batch, us[i], dense_p50);
        status = deft_report_row(&report, &row);
    }
    deft_report_flush(&report);
    deft_report_done(&report);
    return status == DEFT_OK && wanted->profile ? deft_profile_print(cli, sessions[0], us[0].runs) : status;
}

static deft_status run_model(deft_cli *cli, const bench_options *wanted) {
    deft_model *model = NULL;
    deft_feed feed = {0};
    deft_session *sessions[2] = {NULL, NULL};
    deft_shapes shapes;
    deft_status status;
    bool tune = strcmp(wanted->layers.tune, "never") != 0;
    if (tune && strcmp(wanted->layers.tune, "quick") != 0)
        return deft_fail(cli->ctx, DEFT_INVALID, "--tune '%s' is neither quick nor never", wanted->layers.tune);
    if (wanted->inputs.count && (wanted->shapes.count || wanted->batch))
        return deft_fail(cli->ctx, DEFT_INVALID, "--input says what the shapes are: leave --shape and --batch out");
    if (wanted->pin) pin_threads(cli);
    DEFT_TRY_OR_FAIL(deft_shapes_parse(cli->ctx, &wanted->shapes, &shapes));
    DEFT_TRY_OR_FAIL(deft_model_load(cli->ctx, cli->operand, &model));
    deft_plan_options planning = {
        .batch = wanted->batch ? wanted->batch : 1, .bindings = shapes.bindings, .binding_count = shapes.count};
    if (wanted->inputs.count) {
        DEFT_TRY_OR_FAIL(deft_feed_read(cli->ctx, model->file.graph, &wanted->inputs, &feed));
        planning.bindings = feed.bindings;
        planning.binding_count = feed.count;
    }
    DEFT_TRY_OR_FAIL(deft_session_plan(model, &planning, tune, &sessions[0]));
    planning.choose = deft_choose_dense;
    if (wanted->vs_dense) DEFT_TRY_OR_FAIL(deft_session_plan(model, &planning, false, &sessions[1]));
    DEFT_TRY_OR_FAIL(measure(cli, wanted, &feed, sessions, wanted->vs_dense ? 2 : 1));
fail:
    deft_session_free(sessions[1]);
    deft_session_free(sessions[0]);
    deft_model_free(model);
    deft_feed_done(&feed);
    deft_shapes_done(&shapes);
    return status;
}

static deft_status run(deft_cli *cli, const void *arguments) {
    static const double layer_seconds = 0.3;
    const bench_options *wanted = arguments;
    bool spmm = strcmp(cli->operand, "spmm") == 0, conv = strcmp(cli->operand, "conv") == 0;
    bool peak = strcmp(cli->operand, "peak") == 0;
    if (!spmm && !conv && !peak) return run_model(cli, wanted);
    if (wanted->inputs.count || wanted->shapes.count || wanted->batch || wanted->profile || wanted->vs_dense)
        return deft_fail(cli->ctx, DEFT_INVALID,
                         "%s is no model: leave --input, --shape, --batch, --profile and --vs-dense out", cli->operand);
    pin_threads(cli);
    if (peak) return deft_bench_peak(cli);
    deft_bench_options layers = wanted->layers;
    layers.seconds = wanted->duration ? wanted->duration : layer_seconds;
    return deft_bench_layers(cli, &layers, conv);
}

const deft_command deft_command_bench = {
    .name = "bench",
    .summary = "Measure a model; or single layers, or the CPU.",
    .operand = "MODEL|spmm|conv|peak",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .options_bytes = sizeof(bench_options),
    .defaults = &defaults,
    .run = run,
};
