#include "learn/approx/lottery.h"

#include "base/core/cpu.h"
#include "base/core/rng.h"
#include "ir/model/file.h"
#include "learn/approx/lottery_log.h"
#include "learn/train/evaluate.h"
#include "learn/train/fingerprint.h"
#include "learn/train/trainer.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>

enum { VERSION = 1, PATH_BYTES = 4096 };

/* Streams of random numbers; the round is added. */
enum { SEED_STREAM = 0x4c53 << 16, REINITIALIZED_STREAM = 0x4c49 << 16, RANDOM_STREAM = 0x4c52 << 16 };

typedef struct lottery {
    deft_context *ctx;
    const deft_graph *network;
    const deft_dataset *data;
    deft_lottery_options options; /* with the defaults filled in */
    deft_lottery_log log;
    uint64_t base_seed; /* the context's, of the first repetition */
    /* of the repetition under way */
    int seed;
    deft_graph *initial; /* its untrained network */
    deft_graph *early;   /* what winning tickets are reset to */
    deft_graph *trained; /* the winning ticket of the last round, trained */
} lottery;

/* What is watched while a ticket is trained; from `best_loss` on it is kept in the checkpoint. */
typedef struct watch {
    lottery *l;
    bool dense;      /* the first training of a repetition: its early weights are kept */
    deft_graph *now; /* the weights at a point of the curve */
    double best_loss, best_accuracy_test;
    int64_t best_step, count;
    deft_curve_point points[]; /* evaluations + 1 */
} watch;

/* ---- files --------------------------------------------------------------------------------------------------- */

static deft_status path_in(const lottery *l, const char *name, char path[PATH_BYTES]) {
    if (snprintf(path, PATH_BYTES, "%s/%s", l->options.folder, name) < PATH_BYTES) return DEFT_OK;
    return deft_fail(l->ctx, DEFT_IO, "%.64s...: the name is too long: choose a shorter one", l->options.folder);
}

static deft_status make_folder(const lottery *l) {
    struct stat info;
    const char *folder = l->options.folder;
    if (mkdir(folder, 0777) == 0 || (errno == EEXIST && stat(folder, &info) == 0 && S_ISDIR(info.st_mode)))
        return DEFT_OK;
    return deft_fail(l->ctx, DEFT_IO, "%s: %s: name a folder that can be made or written to", folder,
                     errno == EEXIST ? "this is a file" : strerror(errno));
}

/* Copies every constant, by its name. */
static deft_status copy_constants(const lottery *l, const char *path, const deft_graph *from, deft_graph *to) {
    for (int i = 0; i < to->value_count; i++) {
        deft_tensor *tensor = &to->values[i].desc;
        int id = tensor->data ? deft_graph_find(from, to->values[i].name) : 0;
        if (!tensor->data) continue;
        const deft_tensor *source = id < 0 ? NULL : &from->values[id].desc;
        if (!source || !source->data || source->dtype != tensor->dtype ||
            deft_tensor_bytes(source) != deft_tensor_bytes(tensor))
            return deft_fail(l->ctx, DEFT_INVALID,
                             "%s is of another network: it has no such '%.64s'; remove the folder", path,
                             to->values[i].name);
        memcpy(tensor->data, source->data, deft_tensor_bytes(tensor));
    }
    return DEFT_OK;
}

static deft_status save_network(const lottery *l, const char *name, const deft_graph *graph) {
    char path[PATH_BYTES];
    DEFT_TRY(path_in(l, name, path));
    return deft_model_file_save(l->ctx, path, graph, NULL);
}

static deft_status load_network(const lottery *l, const char *name, deft_graph *graph) {
    char path[PATH_BYTES];
    deft_model_file file;
    DEFT_TRY(path_in(l, name, path));
    DEFT_TRY(deft_model_file_load(l->ctx, path, &file));
    deft_status status = copy_constants(l, path, file.graph, graph);
    deft_graph_free(file.graph);
    deft_release(l->ctx, file.frontier);
    return status;
}

static const char *name_of_trained(const lottery *l, int round, char name[64]) {
    snprintf(name, 64, "seed-%d-round-%d.onnx", l->seed, round);
    return name;
}

static const char *name_of_checkpoint(const deft_ticket *ticket, char name[64]) {
    snprintf(name, 64, "seed-%d-round-%d-%s.checkpoint", ticket->seed, ticket->round, deft_ticket_names[ticket->kind]);
    return name;
}

static const char *name_of_early(const lottery *l, char name[64]) {
    snprintf(name, 64, "seed-%d-early.onnx", l->seed);
    return name;
}

/* ---- settings ------------------------------------------------------------------------------------------------ */

static deft_status fill_in(deft_context *ctx, const deft_lottery_options *given, deft_lottery_options *o) {
    *o = *given;
    if (o->seeds == 0) o->seeds = 1;
    if (o->rounds == 0) o->rounds = 15;
    if (o->rate == 0) o->rate = 0.2;
    if (o->output_rate == 0) o->output_rate = o->rate / 2;
    if (o->control_every == 0) o->control_every = 1;
    if (o->evaluations == 0) o->evaluations = 50;
    if (!o->folder || !*o->folder) return deft_fail(ctx, DEFT_INVALID, "a lottery needs a folder for its log");
    bool valid = o->seeds > 0 && o->rounds > 0 && o->rate > 0 && o->rate < 1 && o->output_rate >= 0 &&
                 o->output_rate < 1 && o->rewind_step >= 0 && o->control_every > 0 && o->evaluations > 0;
    if (valid) return DEFT_OK;
    return deft_fail(ctx, DEFT_INVALID,
                     "lottery options: %d seeds, %d rounds that prune %g (output layer %g), rewinding to step %lld, "
                     "controls every %d rounds, %d evaluations: expected positive numbers, and shares below 1",
                     o->seeds, o->rounds, o->rate, o->output_rate, (long long)o->rewind_step, o->control_every,
                     o->evaluations);
}

/* All that decides what comes of a ticket; not how many there are. NULL where memory ran out. */
static json_t *settings_of(const lottery *l, uint64_t print) {
    const deft_lottery_options *o = &l->options;
    const deft_train_options *t = &o->training;
    const deft_optimizer_options *a = &t->optimizer;
    char text[32];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)print);
    const double rule[] = {a->kind,
                           (double)a->momentum,
                           (double)a->beta2,
                           (double)a->epsilon,
                           (double)a->weight_decay,
                           (double)a->max_gradient_norm,
                           (double)a->average,
                           t->schedule,
                           (double)t->step_factor,
                           t->step_epochs,
                           (double)t->warmup_epochs,
                           t->loss,
                           (double)t->label_smoothing};
    json_t *numbers = json_array();
    for (size_t i = 0; i < sizeof rule / sizeof *rule; i++)
        if (json_array_append_new(numbers, json_real(rule[i])) != 0) {
            json_decref(numbers);
            return NULL;
        }
    return json_pack("{s:s, s:i, s:s, s:s%, s:I, s:i, s:s, s:i, s:I, s:f, s:o, s:f, s:f, s:s, s:s, s:I, s:i}", "kind",
                     "lottery", "version", VERSION, "network", text, "data", l->data->spec, strlen(l->data->spec),
                     "seed", (json_int_t)l->base_seed, "threads", l->ctx->threads, "isa", deft_isa_name(l->ctx->isa),
                     "epochs", t->epochs, "batch", (json_int_t)t->batch, "learning_rate", (double)t->learning_rate,
                     "training", numbers, "rate", o->rate, "output_rate", o->output_rate, "scope",
                     o->scope == DEFT_PRUNE_LAYER ? "layer" : "global", "reset",
                     o->reset == DEFT_RESET_WEIGHTS ? "weights" : "learning-rate", "rewind_step",
                     (json_int_t)o->rewind_step, "evaluations", o->evaluations);
}

static deft_status open_log(lottery *l) {
    char path[PATH_BYTES];
    uint64_t print = DEFT_FINGERPRINT_START;
    DEFT_TRY(make_folder(l));
    DEFT_TRY(path_in(l, "log.jsonl", path));
    DEFT_TRY(deft_fingerprint_structure(l->ctx, l->network, &print));
    return deft_lottery_log_open(l->ctx, path, settings_of(l, deft_fingerprint_constants(print, l->network)), &l->log);
}

/* ---- masks and values ---------------------------------------------------------------------------------------- */

static deft_rng random_numbers(const lottery *l, uint64_t stream) {
    deft_rng rng;
    deft_rng_init(&rng, l->base_seed + (uint64_t)l->seed, stream);
    return rng;
}

/* Puts the values of each weight in another order. */
static void shuffle_values(const deft_weights *weights, deft_rng *rng) {
    for (int w = 0; w < weights->count; w++) {
        float *data = weights->items[w].data;
        for (int64_t i = weights->items[w].count - 1; i > 0; i--) {
            int64_t j = (int64_t)deft_rng_below(rng, (uint64_t)i + 1);
            float swapped = data[i];
            data[i] = data[j];
            data[j] = swapped;
        }
    }
}

static void apply_mask(const deft_weights *mask, const deft_weights *weights) {
    for (int w = 0; w < weights->count; w++)
        for (int64_t i = 0; i < weights->items[w].count; i++)
            if (mask->items[w].data[i] == 0.0f) weights->items[w].data[i] = 0;
}

/* As many zeros in each weight as the mask has, anywhere. */
static deft_status mask_at_random(const lottery *l, const deft_weights *mask, const deft_weights *weights, int round,
                                  deft_arena *arena) {
    deft_rng rng = random_numbers(l, (uint64_t)RANDOM_STREAM + (uint64_t)round);
    for (int w = 0; w < weights->count; w++) {
        const deft_weight *weight = &weights->items[w];
        float *scores;
        DEFT_TRY(deft_arena_array(arena, (size_t)weight->count, sizeof *scores, &scores));
        for (int64_t i = 0; i < weight->count; i++)
            scores[i] = deft_rng_uniform(&rng);
        double share = (double)deft_weight_zeros(&mask->items[w]) / (double)weight->count;
        DEFT_TRY(deft_prune_by_scores(l->ctx, weight, scores, share));
    }
    return DEFT_OK;
}

/* Prunes a share of what is left. */
static deft_status prune_further(const lottery *l, const deft_weights *weights) {
    const deft_lottery_options *o = &l->options;
    if (o->scope == DEFT_PRUNE_GLOBAL) {
        double zeros = (double)deft_weights_zeros(weights) / (double)weights->total;
        return deft_prune_weights(l->ctx, weights, &(deft_prune_options){.zeros = 1 - (1 - zeros) * (1 - o->rate)});
    }
    for (int w = 0; w < weights->count; w++) {
        const deft_weight *weight = &weights->items[w];
        double rate = w + 1 == weights->count ? o->output_rate : o->rate;
        double zeros = (double)deft_weight_zeros(weight) / (double)weight->count;
        DEFT_TRY(deft_prune_by_scores(l->ctx, weight, weight->data, 1 - (1 - zeros) * (1 - rate)));
    }
    return DEFT_OK;
}

/* ---- training a ticket --------------------------------------------------------------------------------------- */

static deft_status keep_early(watch *w, deft_trainer *trainer, int64_t step, int64_t steps) {
    const deft_lottery_options *o = &w->l->options;
    char name[64];
    if (o->rewind_step >= steps)
        return deft_fail(w->l->ctx, DEFT_INVALID,
                         "rewinding to step %lld, but a training has %lld: choose an earlier one",
                         (long long)o->rewind_step, (long long)steps);
    if (step != o->rewind_step) return DEFT_OK;
    deft_trainer_store(trainer, w->now);
    return save_network(w->l, name_of_early(w->l, name), w->now);
}

static deft_status add_point(watch *w, int64_t step) {
    lottery *l = w->l;
    deft_quality quality;
    DEFT_TRY(deft_evaluate_as(l->ctx, NULL, w->now, NULL, l->data, DEFT_VALIDATION, &quality));
    w->points[w->count++] = (deft_curve_point){step, quality.loss, quality.accuracy};
    if (!(quality.loss < w->best_loss)) return DEFT_OK;
    w->best_loss = quality.loss;
    w->best_step = step;
    DEFT_TRY(deft_evaluate_as(l->ctx, NULL, w->now, NULL, l->data, DEFT_TEST, &quality));
    w->best_accuracy_test = quality.accuracy;
    return DEFT_OK;
}

static deft_status look_on(void *user, deft_trainer *trainer, int64_t step, int64_t steps) {
    watch *w = user;
    int64_t points = w->l->options.evaluations;
    if (w->dense && w->l->options.rewind_step > 0) DEFT_TRY(keep_early(w, trainer, step, steps));
    if (step * points / steps == (step - 1) * points / steps) return DEFT_OK;
    deft_trainer_store(trainer, w->now);
    return add_point(w, step);
}

static deft_status run_training(watch *w, const deft_ticket *ticket, int64_t first_step, deft_graph *graph) {
    lottery *l = w->l;
    char path[PATH_BYTES], name[64];
    const deft_lottery_options *o = &l->options;
    const int64_t numbers[] = {ticket->seed, ticket->round, ticket->kind, o->rewind_step, o->evaluations};
    deft_train_hook hook = {.after_step = look_on,
                            .user = w,
                            .state = &w->best_loss,
                            .state_bytes = sizeof *w - offsetof(watch, best_loss) +
                                           (size_t)(o->evaluations + 1) * sizeof *w->points,
                            .print = deft_fingerprint_bytes(DEFT_FINGERPRINT_START, numbers, sizeof numbers)};
    deft_train_options training = o->training;
    DEFT_TRY(path_in(l, name_of_checkpoint(ticket, name), path));
    training.first_step = first_step;
    training.keep_zeros = ticket->round > 0;
    training.hook = &hook;
    training.checkpoint = path;
    l->ctx->seed = l->base_seed + (uint64_t)l->seed;
    deft_status status = deft_train(l->ctx, graph, l->data, &training);
    l->ctx->seed = l->base_seed;
    return status;
}

static deft_status finish_ticket(watch *w, deft_ticket *ticket, const deft_graph *graph) {
    lottery *l = w->l;
    char path[PATH_BYTES], name[64];
    deft_quality validation, test;
    DEFT_TRY(deft_evaluate_as(l->ctx, NULL, graph, NULL, l->data, DEFT_VALIDATION, &validation));
    DEFT_TRY(deft_evaluate_as(l->ctx, NULL, graph, NULL, l->data, DEFT_TEST, &test));
    ticket->accuracy_validation = validation.accuracy;
    ticket->accuracy_test = test.accuracy;
    ticket->stop_step = w->best_step;
    ticket->stop_loss = w->best_loss;
    ticket->stop_accuracy_test = w->best_accuracy_test;
    if (ticket->kind == DEFT_TICKET_WINNING) DEFT_TRY(save_network(l, name_of_trained(l, ticket->round, name), graph));
    /* before the log says that it is done, since nobody asks for it afterwards */
    DEFT_TRY(path_in(l, name_of_checkpoint(ticket, name), path));
    remove(path);
    DEFT_TRY(deft_lottery_log_add(&l->log, ticket, w->points, (int)w->count));
    if (l->options.on_ticket) l->options.on_ticket(l->options.user, ticket);
    return DEFT_OK;
}

static deft_status train_and_watch(lottery *l, deft_ticket *ticket, int64_t first_step, deft_graph *graph) {
    watch *w;
    deft_status status;
    size_t bytes = sizeof *w + (size_t)(l->options.evaluations + 1) * sizeof *w->points;
    DEFT_TRY(deft_allocate_zeroed(l->ctx, 1, bytes, &w));
    w->l = l;
    w->dense = ticket->round == 0;
    w->best_loss = INFINITY;
    DEFT_TRY_OR_FAIL(deft_graph_clone(l->ctx, graph, &w->now));
    DEFT_TRY_OR_FAIL(run_training(w, ticket, first_step, graph));
    DEFT_TRY_OR_FAIL(finish_ticket(w, ticket, graph));
fail:
    deft_graph_free(w->now);
    deft_release(l->ctx, w);
    return status;
}

/* Trains the graph, in place, unless the log has it; a winning ticket is then read back. */
static deft_status train_ticket(lottery *l, int round, deft_ticket_kind kind, double left, int64_t first_step,
                                deft_graph *graph) {
    char name[64];
    deft_ticket ticket = {.seed = l->seed, .round = round, .kind = kind, .weights_left = left};
    if (deft_lottery_log_find(&l->log, l->seed, round, kind))
        return kind == DEFT_TICKET_WINNING ? load_network(l, name_of_trained(l, round, name), graph) : DEFT_OK;
    deft_status status = train_and_watch(l, &ticket, first_step, graph);
    if (status == DEFT_OK || status == DEFT_CANCELLED) return status;
    return deft_fail_in(l->ctx, status, "repetition %d, round %d, %s", l->seed, round, deft_ticket_names[kind]);
}

/* ---- rounds -------------------------------------------------------------------------------------------------- */

static deft_status draw_control(lottery *l, int round, deft_ticket_kind kind, const deft_weights *mask, double left) {
    deft_graph *graph = NULL;
    deft_arena arena;
    deft_weights weights;
    deft_status status;
    deft_arena_init(&arena, l->ctx);
    DEFT_TRY_OR_FAIL(deft_graph_clone(l->ctx, l->initial, &graph));
    DEFT_TRY_OR_FAIL(deft_weights_find(graph, &arena, &weights));
    if (kind == DEFT_TICKET_REINITIALIZED) {
        deft_rng rng = random_numbers(l, (uint64_t)REINITIALIZED_STREAM + (uint64_t)round);
        shuffle_values(&weights, &rng);
        apply_mask(mask, &weights);
    } else {
        DEFT_TRY_OR_FAIL(mask_at_random(l, mask, &weights, round, &arena));
    }
    DEFT_TRY_OR_FAIL(train_ticket(l, round, kind, left, 0, graph));
fail:
    deft_arena_done(&arena);
    deft_graph_free(graph);
    return status;
}

/* The weights that the mask leaves, reset, or as they are, and trained. */
static deft_status draw_winning(lottery *l, int round, const deft_weights *mask, double left, deft_arena *arena,
                                deft_graph **trained) {
    deft_weights weights;
    bool reset = l->options.reset == DEFT_RESET_WEIGHTS;
    DEFT_TRY(deft_graph_clone(l->ctx, reset ? l->early : l->trained, trained));
    DEFT_TRY(deft_weights_find(*trained, arena, &weights));
    if (reset) apply_mask(mask, &weights);
    return train_ticket(l, round, DEFT_TICKET_WINNING, left, l->options.rewind_step, *trained);
}

/* Prunes what the round before has trained: its zeros are the mask. */
static deft_status run_round(lottery *l, int round) {
    const deft_lottery_options *o = &l->options;
    deft_graph *trained = NULL;
    deft_arena arena;
    deft_weights mask;
    deft_status status;
    deft_arena_init(&arena, l->ctx);
    DEFT_TRY_OR_FAIL(deft_weights_find(l->trained, &arena, &mask));
    DEFT_TRY_OR_FAIL(prune_further(l, &mask));
    double left = 1 - (double)deft_weights_zeros(&mask) / (double)mask.total;
    DEFT_TRY_OR_FAIL(draw_winning(l, round, &mask, left, &arena, &trained));
    for (int kind = 0; kind < DEFT_TICKET_KINDS; kind++)
        if (kind != DEFT_TICKET_WINNING && o->controls[kind] && round % o->control_every == 0)
            DEFT_TRY_OR_FAIL(draw_control(l, round, kind, &mask, left));
    deft_graph_free(l->trained);
    l->trained = trained;
    trained = NULL;
fail:
    deft_graph_free(trained);
    deft_arena_done(&arena);
    return status;
}

/* The untrained network of this repetition, and it trained: round 0. */
static deft_status run_dense(lottery *l) {
    char name[64];
    deft_arena arena;
    deft_weights weights;
    deft_status status;
    deft_arena_init(&arena, l->ctx);
    DEFT_TRY_OR_FAIL(deft_graph_clone(l->ctx, l->network, &l->initial));
    DEFT_TRY_OR_FAIL(deft_weights_find(l->initial, &arena, &weights));
    if (weights.total == 0) {
        status = deft_fail(l->ctx, DEFT_UNSUPPORTED, "the network has no Gemm, MatMul or Conv with constant weights");
        goto fail;
    }
    deft_rng rng = random_numbers(l, SEED_STREAM);
    if (l->seed > 0) shuffle_values(&weights, &rng);
    DEFT_TRY_OR_FAIL(deft_graph_clone(l->ctx, l->initial, &l->early));
    DEFT_TRY_OR_FAIL(deft_graph_clone(l->ctx, l->initial, &l->trained));
    DEFT_TRY_OR_FAIL(train_ticket(l, 0, DEFT_TICKET_WINNING, 1, 0, l->trained));
    if (l->options.rewind_step > 0) DEFT_TRY_OR_FAIL(load_network(l, name_of_early(l, name), l->early));
fail:
    deft_arena_done(&arena);
    return status;
}

static deft_status run_repetition(lottery *l) {
    deft_status status = run_dense(l);
    for (int round = 1; round <= l->options.rounds && status == DEFT_OK; round++)
        status = run_round(l, round);
    deft_graph_free(l->initial);
    deft_graph_free(l->early);
    deft_graph_free(l->trained);
    l->initial = l->early = l->trained = NULL;
    return status;
}

deft_status deft_lottery(deft_context *ctx, const deft_graph *network, const deft_dataset *data,
                         const deft_lottery_options *options) {
    lottery l = {.ctx = ctx, .network = network, .data = data, .log.ctx = ctx, .base_seed = ctx->seed};
    DEFT_TRY(fill_in(ctx, options, &l.options));
    if (!data->classes)
        return deft_fail(ctx, DEFT_INVALID, "%s has no labels: a lottery compares accuracies", data->spec);
    deft_status status = open_log(&l);
    for (int i = 0; status == DEFT_OK && i < l.log.count && options->on_ticket; i++)
        options->on_ticket(options->user, &l.log.tickets[i]);
    for (l.seed = 0; l.seed < l.options.seeds && status == DEFT_OK; l.seed++)
        status = run_repetition(&l);
    deft_lottery_log_done(&l.log);
    return status;
}
