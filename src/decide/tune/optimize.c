#include "decide/tune/optimize.h"

#include "decide/tune/compare.h"
#include "decide/tune/frontier.h"
#include "ir/model/file.h"
#include "learn/approx/prune.h"
#include "learn/train/train.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* The search climbs this ladder of shares of zeros until a point leaves the bound, then halves the gap a few times. */
static const double ladder[] = {0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99};
enum { LADDER = sizeof ladder / sizeof *ladder, HALVINGS = 2, MAX_POINTS = LADDER + HALVINGS };

/* A model with this share of zeros was pruned by someone already. */
static const double arrives_sparse = 0.3;

/* A drop is a difference of two quotients: 100 (0.996 - 0.991) is a little more than 0.5. Percentage points. */
static const double rounding = 1e-9;

enum { SMALL_BATCH = 1, LARGE_BATCH = 64 };

/* How the loss is told: by labels where there are any, else against the original. */
typedef enum measure { ACCURACY, AGREEMENT, RELATIVE_ERROR } measure;
static const char *const measure_names[] = {"accuracy", "agreement", "relative_error"};

typedef struct search {
    deft_context *ctx;
    deft_graph *original;
    const deft_dataset *data;
    const deft_optimize_options *options;
    deft_tuner *tuner;
    measure measure;
    double dense_validation, dense_test; /* the original's quality */
    deft_graph *current;                 /* the last point within the bound: where the next one starts from */
    deft_point points[MAX_POINTS + 1];
    int count, best; /* best: index of the sparsest point within the bound, or -1 */
} search;

static double quality_of(const search *s, const deft_quality *quality) {
    switch (s->measure) {
    case ACCURACY:
        return quality->accuracy;
    case AGREEMENT:
        return quality->agreement;
    case RELATIVE_ERROR:
        return 1 - quality->relative_error;
    }
    return NAN;
}

static deft_status evaluate(search *s, const deft_graph *graph, deft_split split, double *result) {
    deft_quality quality;
    DEFT_TRY(deft_evaluate(s->ctx, graph, s->original, s->data, split, &quality));
    *result = quality_of(s, &quality);
    return DEFT_OK;
}

static measure measure_for(const deft_graph *graph, const deft_dataset *data) {
    if (data->classes > 0) return ACCURACY;
    const deft_tensor *y = &graph->values[graph->outputs[0]].desc;
    return y->rank == 2 && y->dims[1] > 1 ? AGREEMENT : RELATIVE_ERROR;
}

static deft_status measure_point(search *s, deft_graph *graph, deft_point *point) {
    deft_comparison at_1, at_64;
    DEFT_TRY(deft_compare(s->ctx, s->original, graph, s->tuner, s->data, SMALL_BATCH, &at_1));
    DEFT_TRY(deft_compare(s->ctx, s->original, graph, s->tuner, s->data, LARGE_BATCH, &at_64));
    point->dense_us = at_64.dense.p50;
    point->fast_us = at_64.fast.p50;
    point->speedup = at_64.speedup;
    point->dense_us_b1 = at_1.dense.p50;
    point->fast_us_b1 = at_1.fast.p50;
    point->speedup_b1 = at_1.speedup;
    return deft_model_file_bytes(s->ctx, graph, NULL, &point->file_bytes);
}

/* Evaluates and measures a candidate and adds it to the points; takes it as the best where it is within the bound. */
static deft_status add_point(search *s, deft_graph *candidate, bool *within) {
    deft_graph_stats stats = deft_graph_count(candidate);
    deft_point point = {.accuracy_dense = s->dense_validation, .accuracy_test = NAN};
    point.zeros = stats.prunable ? (double)stats.prunable_zeros / (double)stats.prunable : 0;
    DEFT_TRY(evaluate(s, candidate, DEFT_VALIDATION, &point.accuracy_validation));
    point.drop = 100 * (s->dense_validation - point.accuracy_validation);
    point.within_bound = point.drop <= s->options->max_drop + rounding;
    DEFT_TRY(measure_point(s, candidate, &point));
    *within = point.within_bound;
    if (point.within_bound) s->best = s->count;
    s->points[s->count++] = point;
    if (s->options->point) s->options->point(s->options->user, &point);
    return DEFT_OK;
}

/* About 200,000 samples seen, so that a small set is passed over more often. */
static int fine_tuning_epochs(const search *s) {
    if (s->options->epochs > 0) return s->options->epochs;
    int64_t epochs = (200000 + s->data->split[DEFT_TRAIN].count - 1) / s->data->split[DEFT_TRAIN].count;
    return epochs < 3 ? 3 : epochs > 10 ? 10 : (int)epochs;
}

static deft_status prune_and_fine_tune(search *s, double zeros, deft_graph **candidate) {
    deft_graph *graph;
    DEFT_TRY(deft_graph_clone(s->ctx, s->current, &graph));
    deft_status status;
    deft_train_options fine_tuning = {.epochs = fine_tuning_epochs(s),
                                      .learning_rate = 0.1f,
                                      .step_factor = 0.3f,
                                      .optimizer = {.weight_decay = 1e-4f},
                                      .keep_zeros = true,
                                      .teacher = s->original};
    DEFT_TRY_OR_FAIL(deft_prune_magnitude(s->ctx, graph, zeros));
    DEFT_TRY_OR_FAIL(deft_train(s->ctx, graph, s->data, &fine_tuning));
    *candidate = graph;
    return DEFT_OK;
fail:
    deft_graph_free(graph);
    return status;
}

static deft_status try_zeros(search *s, double zeros, bool *within) {
    deft_graph *candidate;
    DEFT_TRY(prune_and_fine_tune(s, zeros, &candidate));
    deft_status status = add_point(s, candidate, within);
    if (status != DEFT_OK || !*within) {
        deft_graph_free(candidate);
        return status;
    }
    deft_graph_free(s->current);
    s->current = candidate;
    return DEFT_OK;
}

/* Up the ladder to the first point out of bound, then towards it in halves. */
static deft_status search_zeros(search *s, double from) {
    double good = from, bad = NAN;
    bool within;
    for (int i = 0; i < LADDER && isnan(bad); i++) {
        if (ladder[i] <= from) continue;
        DEFT_TRY(try_zeros(s, ladder[i], &within));
        *(within ? &good : &bad) = ladder[i];
    }
    for (int i = 0; i < HALVINGS && !isnan(bad); i++) {
        double middle = (good + bad) / 2;
        DEFT_TRY(try_zeros(s, middle, &within));
        *(within ? &good : &bad) = middle;
    }
    return DEFT_OK;
}

static deft_status start(search *s) {
    s->measure = measure_for(s->original, s->data);
    for (int split = 0; split < DEFT_SPLITS; split++)
        if (s->data->split[split].count == 0)
            return deft_fail(s->ctx, DEFT_INVALID, "%s: too few samples for a training, a validation and a test split",
                             s->data->spec);
    DEFT_TRY(deft_tuner_new(s->ctx, DEFT_TUNE_QUICK, &s->tuner));
    DEFT_TRY(evaluate(s, s->original, DEFT_VALIDATION, &s->dense_validation));
    DEFT_TRY(evaluate(s, s->original, DEFT_TEST, &s->dense_test));
    return deft_graph_clone(s->ctx, s->original, &s->current);
}

/* The test split is looked at once, for the chosen point. Without one, what is kept is the original. */
static deft_status settle(search *s, double original_zeros, deft_point *chosen) {
    if (s->best < 0) {
        *chosen = (deft_point){.zeros = original_zeros,
                               .accuracy_dense = s->dense_test,
                               .accuracy_validation = s->dense_validation,
                               .accuracy_test = s->dense_test,
                               .speedup = NAN,
                               .speedup_b1 = NAN};
        return DEFT_OK;
    }
    deft_point *best = &s->points[s->best];
    best->chosen = true;
    best->accuracy_dense = s->dense_test;
    DEFT_TRY(evaluate(s, s->current, DEFT_TEST, &best->accuracy_test));
    best->drop = 100 * (s->dense_test - best->accuracy_test);
    if (s->options->point) s->options->point(s->options->user, best);
    *chosen = *best;
    return DEFT_OK;
}

static deft_status write_recipe(search *s, const deft_point *chosen) {
    char recipe[256];
    snprintf(recipe, sizeof recipe,
             "{\"prune\": \"global magnitude\", \"zeros\": %.6f, \"fine_tuning\": \"distillation under the mask\", "
             "\"epochs_per_point\": %d, \"max_drop\": %g}",
             chosen->zeros, fine_tuning_epochs(s), s->options->max_drop);
    DEFT_TRY(deft_graph_set_metadata(s->current, "deft.version", DEFT_VERSION));
    return deft_graph_set_metadata(s->current, "deft.recipe", recipe);
}

static deft_status run_search(search *s, deft_point *chosen, char **frontier) {
    DEFT_TRY(start(s));
    deft_graph_stats stats = deft_graph_count(s->original);
    double zeros = stats.prunable ? (double)stats.prunable_zeros / (double)stats.prunable : 0;
    bool within;
    if (stats.prunable == 0)
        return deft_fail(s->ctx, DEFT_UNSUPPORTED,
                         "the model has no Gemm, MatMul or Conv with constant weights to prune");
    if (zeros >= arrives_sparse && !s->options->prune_sparse)
        DEFT_TRY(add_point(s, s->current, &within));
    else
        DEFT_TRY(search_zeros(s, zeros));
    DEFT_TRY(settle(s, zeros, chosen));
    DEFT_TRY(write_recipe(s, chosen));
    deft_frontier all = {s->data->spec, measure_names[s->measure], s->options->max_drop, s->points, s->count};
    return deft_frontier_text(s->ctx, &all, frontier);
}

deft_status deft_optimize_graph(deft_context *ctx, const deft_graph *graph, const deft_dataset *data,
                                const deft_optimize_options *options, deft_graph **fast, char **frontier,
                                deft_point *chosen) {
    search s = {.ctx = ctx, .data = data, .options = options, .best = -1};
    deft_status status = deft_graph_clone(ctx, graph, &s.original);
    if (status == DEFT_OK) status = run_search(&s, chosen, frontier);
    if (status == DEFT_OK) {
        *fast = s.current;
        s.current = NULL;
        if (s.best < 0)
            status = deft_fail(ctx, DEFT_NO,
                               "no point is within %g points of the original: allow a larger drop, or train longer",
                               options->max_drop);
    }
    deft_tuner_free(s.tuner);
    deft_graph_free(s.current);
    deft_graph_free(s.original);
    return status;
}
