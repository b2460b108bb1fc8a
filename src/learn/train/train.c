#include "learn/train/train.h"

#include "base/core/rng.h"
#include "base/core/timing.h"
#include "learn/data/loader.h"
#include "learn/train/evaluate.h"
#include "learn/train/fingerprint.h"
#include "learn/train/targets.h"
#include "learn/train/trainer.h"

#include <math.h>
#include <string.h>

enum { SHUFFLE_STREAM = 0x5348 << 16 /* "SH"; the epoch follows */ };

/* Training under way. */
typedef struct training {
    deft_context *ctx;
    deft_graph *graph;
    const deft_dataset *data;
    deft_train_options options; /* with the defaults filled in */
    deft_schedule schedule;
    deft_loss_graph net;
    deft_targets targets;
    deft_trainer trainer;
    deft_loader *loader;
    deft_checkpoint checkpoint; /* its epoch: how many are done */
    int64_t *order;             /* of the training samples */
} training;

/* ---- options ------------------------------------------------------------------------------------------------- */

static bool is_valid(const deft_train_options *o) {
    return o->epochs > 0 && o->batch > 0 && o->learning_rate > 0 && o->learning_rate < INFINITY && o->step_factor > 0 &&
           o->step_epochs >= 0 && o->schedule >= DEFT_SCHEDULE_STEPS && o->schedule <= DEFT_SCHEDULE_CONSTANT &&
           o->warmup_epochs >= 0 && o->warmup_epochs < (float)o->epochs && o->loss >= DEFT_LOSS_DEFAULT &&
           o->loss <= DEFT_LOSS_PERCENTAGE_ERROR && o->label_smoothing >= 0 && o->label_smoothing < 1 &&
           o->first_step >= 0 && o->teacher_share > 0 && o->teacher_share <= 1 && o->teacher_temperature > 0 &&
           o->teacher_temperature < INFINITY;
}

static deft_status fill_in_options(deft_context *ctx, const deft_train_options *given, deft_train_options *options) {
    static const deft_train_options none = {0};
    *options = given ? *given : none;
    bool adam = options->optimizer.kind >= DEFT_OPTIMIZER_ADAM;
    if (options->epochs == 0) options->epochs = 10;
    if (options->batch == 0) options->batch = 64;
    if (options->learning_rate == 0) options->learning_rate = adam ? 0.001f : 0.05f;
    if (options->step_factor == 0) options->step_factor = 0.1f;
    if (options->teacher_share == 0) options->teacher_share = 0.5f;
    if (options->teacher_temperature == 0) options->teacher_temperature = 1;
    if (!is_valid(options))
        return deft_fail(ctx, DEFT_INVALID,
                         "training options: %d epochs of batches of %lld, learning rate %g times %g every %d epochs "
                         "(schedule %d) after %g epochs of warm-up, loss %d, label smoothing %g, a teacher's share of "
                         "%g at a temperature of %g: expected positive numbers, a warm-up shorter than the run, a "
                         "smoothing below 1, and a share up to 1",
                         options->epochs, (long long)options->batch, (double)options->learning_rate,
                         (double)options->step_factor, options->step_epochs, (int)options->schedule,
                         (double)options->warmup_epochs, (int)options->loss, (double)options->label_smoothing,
                         (double)options->teacher_share, (double)options->teacher_temperature);
    deft_optimizer_options optimizer = options->optimizer;
    return deft_optimizer_fill_in(ctx, &optimizer, &options->optimizer);
}

/* ---- checkpoints --------------------------------------------------------------------------------------------- */

/* Of all that decides how the weights change, but for the threads and the instruction set. */
static deft_status fingerprint_run(const training *t, uint64_t *print) {
    const deft_train_options *o = &t->options;
    const deft_dataset *data = t->data;
    const double numbers[] = {o->epochs,
                              (double)o->batch,
                              (double)o->learning_rate,
                              o->schedule,
                              (double)o->step_factor,
                              o->step_epochs,
                              (double)o->warmup_epochs,
                              (double)o->label_smoothing,
                              o->keep_zeros,
                              o->teacher != NULL,
                              (double)o->teacher_share,
                              (double)o->teacher_temperature};
    const int64_t counts[] = {data->sample_count,
                              data->split[DEFT_TRAIN].count,
                              data->classes,
                              (int64_t)t->ctx->seed,
                              data->target_count,
                              o->first_step,
                              o->hook ? (int64_t)o->hook->print : 0};
    *print = DEFT_FINGERPRINT_START;
    DEFT_TRY(deft_fingerprint_structure(t->ctx, t->net.graph, print));
    *print = deft_fingerprint_constants(*print, t->net.graph);
    if (o->teacher) {
        DEFT_TRY(deft_fingerprint_structure(t->ctx, o->teacher, print));
        *print = deft_fingerprint_constants(*print, o->teacher);
    }
    *print = deft_fingerprint_bytes(*print, numbers, sizeof numbers);
    *print = deft_fingerprint_optimizer(*print, &o->optimizer);
    *print = deft_fingerprint_bytes(*print, counts, sizeof counts);
    *print = deft_fingerprint_bytes(*print, data->spec, strlen(data->spec));
    return DEFT_OK;
}

/* Goes on from the checkpoint where there is one, else writes the first: a name that cannot be written is told now. */
static deft_status resume(training *t) {
    deft_checkpoint *c = &t->checkpoint;
    const deft_trainer *trainer = &t->trainer;
    bool found;
    if (!t->options.checkpoint) return DEFT_OK;
    *c = (deft_checkpoint){.start = DEFT_FINGERPRINT_START,
                           .epoch = c->epoch,
                           .parts = trainer->parts,
                           .part_count = trainer->part_count,
                           .weight_count = t->net.learned_count};
    DEFT_TRY(fingerprint_run(t, &c->run));
    for (int i = 0; i < c->weight_count; i++)
        c->start = deft_fingerprint_bytes(c->start, c->parts[i].data, c->parts[i].bytes);
    DEFT_TRY(deft_checkpoint_read(t->ctx, t->options.checkpoint, c, &found));
    if (!found) return deft_checkpoint_write(t->ctx, t->options.checkpoint, c);
    deft_trainer_store(trainer, t->graph);
    return DEFT_OK;
}

/* ---- epochs -------------------------------------------------------------------------------------------------- */

static deft_status fail_diverged(const training *t, int epoch, int64_t step, float loss) {
    return deft_fail(
        t->ctx, DEFT_INVALID,
        "epoch %d, step %lld: the loss, a gradient or a weight is not finite (%g): the learning rate %g may be "
        "too high, or the model or the data hold huge values; the model is as it was after epoch %d",
        epoch + 1, (long long)step + 1, (double)loss,
        (double)deft_schedule_rate(&t->schedule, epoch * t->schedule.steps + step), epoch);
}

/* The order of the samples follows from the seed and the epoch alone. */
static void shuffle(training *t, int epoch) {
    int64_t count = t->data->split[DEFT_TRAIN].count;
    deft_rng rng;
    deft_rng_init(&rng, t->ctx->seed, (uint64_t)SHUFFLE_STREAM + (uint64_t)epoch);
    for (int64_t i = 0; i < count; i++)
        t->order[i] = i;
    deft_rng_shuffle(&rng, t->order, count);
}

/* The first step of an epoch that is not left out. */
static int64_t first_step(const training *t, int epoch) {
    int64_t left = t->options.first_step - epoch * t->schedule.steps;
    return left > 0 ? left : 0;
}

static deft_status run_step(training *t, int epoch, int64_t step, float *loss) {
    const deft_loss_graph *net = &t->net;
    const deft_train_hook *hook = t->options.hook;
    int64_t done = epoch * t->schedule.steps + step, total = t->options.epochs * t->schedule.steps;
    int64_t first = step * net->batch;
    DEFT_TRY(deft_progress(t->ctx, "training", (double)done / (double)total));
    float *x = deft_trainer_data(&t->trainer, net->input);
    DEFT_TRY(deft_loader_next(t->loader, x));
    float *soft = net->soft_targets == DEFT_NO_VALUE ? NULL : deft_trainer_data(&t->trainer, net->soft_targets);
    DEFT_TRY(deft_targets_gather(&t->targets, t->order, first, net->batch, x,
                                 deft_trainer_data(&t->trainer, net->targets), soft));
    DEFT_TRY(deft_trainer_step(&t->trainer, deft_schedule_rate(&t->schedule, done), loss));
    if (!isfinite(*loss)) return fail_diverged(t, epoch, step, *loss);
    return hook ? hook->after_step(hook->user, &t->trainer, done + 1, total) : DEFT_OK;
}

static deft_status run_steps(training *t, int epoch, double *mean_loss) {
    double sum = 0;
    float loss = 0;
    int64_t first = first_step(t, epoch);
    shuffle(t, epoch);
    deft_loader_start(t->loader, t->order, first * t->net.batch, (t->schedule.steps - first) * t->net.batch, epoch);
    for (int64_t step = first; step < t->schedule.steps; step++) {
        DEFT_TRY(run_step(t, epoch, step, &loss));
        sum += (double)loss;
    }
    if (!deft_trainer_is_finite(&t->trainer)) return fail_diverged(t, epoch, t->schedule.steps - 1, loss);
    *mean_loss = sum / (double)(t->schedule.steps - first);
    return DEFT_OK;
}

/* On the validation split; without labels, how well the graph follows its teacher. */
static deft_status validate(const training *t, double *accuracy) {
    deft_quality quality;
    const deft_graph *reference = t->data->classes || t->data->target_count ? NULL : t->options.teacher;
    DEFT_TRY(deft_evaluate_as(t->ctx, NULL, t->graph, reference, t->data, DEFT_VALIDATION, &quality));
    const deft_tensor *targets = &t->net.graph->values[t->net.targets].desc;
    *accuracy = t->data->target_count                        ? 1 - quality.target_error
                : !reference                                 ? quality.accuracy
                : targets->rank == 2 && targets->dims[1] > 1 ? quality.agreement
                                                             : 1 - quality.relative_error;
    return DEFT_OK;
}

static deft_status run_epoch(training *t, int epoch) {
    const deft_train_options *o = &t->options;
    deft_epoch report = {.epoch = epoch + 1,
                         .epochs = o->epochs,
                         .learning_rate = (double)deft_schedule_rate(&t->schedule, epoch * t->schedule.steps)};
    int64_t start = deft_time_ns();
    DEFT_TRY(run_steps(t, epoch, &report.loss));
    double training_seconds = (double)(deft_time_ns() - start) * 1e-9;
    report.images_per_second = (double)((t->schedule.steps - first_step(t, epoch)) * t->net.batch) / training_seconds;
    deft_trainer_store(&t->trainer, t->graph);
    DEFT_TRY(validate(t, &report.accuracy));
    report.seconds = (double)(deft_time_ns() - start) * 1e-9;
    if (o->on_epoch) DEFT_TRY(o->on_epoch(o->user, &report));
    t->checkpoint.epoch = epoch + 1;
    return o->checkpoint ? deft_checkpoint_write(t->ctx, o->checkpoint, &t->checkpoint) : DEFT_OK;
}

static deft_status prepare(training *t) {
    int64_t count = t->data->split[DEFT_TRAIN].count;
    const deft_train_options *o = &t->options;
    if (count < 1) return deft_fail(t->ctx, DEFT_INVALID, "%s: the training split is empty", t->data->spec);
    int64_t batch = o->batch < count ? o->batch : count;
    DEFT_TRY(deft_loss_graph_init(t->ctx, t->graph, t->data, batch, o->teacher ? o->teacher_temperature : 0, o->loss,
                                  &t->net));
    if (count < t->net.batch)
        return deft_fail(t->ctx, DEFT_INVALID, "%s: %lld training samples do not fill the model's fixed batch of %lld",
                         t->data->spec, (long long)count, (long long)t->net.batch);
    t->schedule = (deft_schedule){.kind = o->schedule,
                                  .rate = o->learning_rate,
                                  .epochs = o->epochs,
                                  .steps = count / t->net.batch,
                                  .step_factor = o->step_factor,
                                  .step_epochs = o->step_epochs,
                                  .warmup_epochs = o->warmup_epochs};
    if (o->first_step >= t->schedule.steps * o->epochs)
        return deft_fail(t->ctx, DEFT_INVALID,
                         "the first step is %lld, but %d epochs are %lld steps: choose one of them",
                         (long long)o->first_step, o->epochs, (long long)(t->schedule.steps * o->epochs));
    DEFT_TRY(
        deft_targets_init(t->ctx, &t->net, t->data, o->teacher, o->teacher_share, o->label_smoothing, &t->targets));
    DEFT_TRY(deft_trainer_init(t->ctx, &t->net, &o->optimizer, o->keep_zeros, &t->trainer));
    DEFT_TRY(deft_arena_array(&t->trainer.arena, (size_t)count, sizeof *t->order, &t->order));
    DEFT_TRY(deft_loader_new(t->ctx, t->data, DEFT_TRAIN, t->net.batch, true, &t->loader));
    if (o->hook) deft_trainer_remember(&t->trainer, o->hook->state, o->hook->state_bytes);
    t->checkpoint.epoch = (int)(o->first_step / t->schedule.steps);
    return resume(t);
}

deft_status deft_train(deft_context *ctx, deft_graph *graph, const deft_dataset *data,
                       const deft_train_options *options) {
    training t = {.ctx = ctx, .graph = graph, .data = data};
    DEFT_TRY(fill_in_options(ctx, options, &t.options));
    deft_status status = prepare(&t);
    for (int epoch = t.checkpoint.epoch; epoch < t.options.epochs && status == DEFT_OK; epoch++)
        status = run_epoch(&t, epoch);
    deft_loader_free(t.loader);
    deft_trainer_done(&t.trainer);
    deft_targets_done(&t.targets);
    deft_loss_graph_done(&t.net);
    return status;
}
