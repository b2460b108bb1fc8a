#include "learn/data/loader.h"

#include "learn/data/augment.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

enum {
    SLOTS = 2,
    THREADS_MAX = 16,
    CLAIMS = 4 /* parts of a batch that threads take */
};

/* A batch that is being read, or has been. */
typedef struct slot {
    float *x;     /* [batch][sample] */
    int64_t left; /* samples that are not there yet */
    deft_status status;
    int64_t failed_at; /* which sample of the batch, where the status is an error */
    char message[sizeof((deft_context *)0)->message];
} slot;

struct deft_loader {
    deft_context *ctx;
    const deft_dataset *data;
    deft_split split;
    int64_t batch;
    bool augment;
    deft_context *contexts[THREADS_MAX]; /* one for each thread */
    pthread_t threads[THREADS_MAX];
    int thread_count;
    pthread_mutex_t mutex; /* of all that follows */
    pthread_cond_t work, done;
    bool stop;
    int started, busy; /* threads that have taken their context; that are reading */
    const int64_t *order;
    int64_t first, count, claimed; /* samples; how many someone reads or has read */
    int64_t taken;                 /* batches */
    int epoch;
    slot slots[SLOTS];
};

/* ---- reading --------------------------------------------------------------------------------------------------- */

/* Samples [begin, end) of those that were asked for, all of one batch. */
typedef struct claim {
    int64_t begin, end;
} claim;

static int64_t batch_size(const deft_loader *l, int64_t batch) {
    int64_t left = l->count - batch * l->batch;
    return left < l->batch ? left : l->batch;
}

static slot *slot_of(deft_loader *l, int64_t batch) {
    return &l->slots[batch % SLOTS];
}

/* A batch may be read when the one that had its slot was taken. */
static bool take_claim(deft_loader *l, claim *taken) {
    int64_t batch = l->claimed / l->batch;
    if (l->claimed >= l->count || batch >= l->taken + SLOTS) return false;
    int64_t end = batch * l->batch + batch_size(l, batch), part = (l->batch + CLAIMS - 1) / CLAIMS;
    taken->begin = l->claimed;
    taken->end = l->claimed = end - l->claimed < part ? end : l->claimed + part;
    return true;
}

static deft_status read_sample(const deft_loader *l, deft_context *ctx, int64_t number, float *x) {
    int64_t index = l->first + number;
    if (l->order) index = l->order[index];
    DEFT_TRY(deft_dataset_read(l->data, ctx, l->split, index, x));
    if (l->augment) deft_augment_apply(l->data, l->ctx->seed, l->epoch, index, x);
    return DEFT_OK;
}

/* Called, and returns, with the mutex held. */
static void read_claim(deft_loader *l, deft_context *ctx, claim taken) {
    slot *into = slot_of(l, taken.begin / l->batch);
    int64_t at = taken.begin % l->batch, count = taken.end - taken.begin, i = 0;
    deft_status status = DEFT_OK;
    l->busy++;
    pthread_mutex_unlock(&l->mutex);
    for (; i < count && status == DEFT_OK; i++)
        status = read_sample(l, ctx, taken.begin + i, into->x + (at + i) * l->data->sample_count);
    pthread_mutex_lock(&l->mutex);
    l->busy--;
    into->left -= count;
    if (status != DEFT_OK && (into->status == DEFT_OK || at + i < into->failed_at)) {
        into->status = status;
        into->failed_at = at + i;
        memcpy(into->message, ctx->message, sizeof into->message);
    }
    if (into->left == 0 || l->busy == 0) pthread_cond_broadcast(&l->done);
}

static void *run_thread(void *user) {
    deft_loader *l = user;
    claim taken;
    pthread_mutex_lock(&l->mutex);
    deft_context *ctx = l->contexts[l->started++];
    while (!l->stop) {
        if (take_claim(l, &taken))
            read_claim(l, ctx, taken);
        else
            pthread_cond_wait(&l->work, &l->mutex);
    }
    pthread_mutex_unlock(&l->mutex);
    return NULL;
}

/* ---- batches --------------------------------------------------------------------------------------------------- */

static void reset_slot(deft_loader *l, int64_t batch) {
    slot *next = slot_of(l, batch);
    next->left = batch * l->batch < l->count ? batch_size(l, batch) : 0;
    next->status = DEFT_OK;
}

void deft_loader_start(deft_loader *l, const int64_t *order, int64_t first, int64_t count, int epoch) {
    pthread_mutex_lock(&l->mutex);
    l->claimed = l->count; /* no more of the old ones */
    while (l->busy)
        pthread_cond_wait(&l->done, &l->mutex);
    l->order = order;
    l->first = first;
    l->count = count;
    l->epoch = epoch;
    l->claimed = l->taken = 0;
    for (int i = 0; i < SLOTS; i++)
        reset_slot(l, i);
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->mutex);
}

/* Without threads: straight into x. */
static deft_status read_batch(deft_loader *l, int64_t count, float *x) {
    int64_t begin = l->taken * l->batch;
    for (int64_t i = 0; i < count; i++)
        DEFT_TRY(read_sample(l, l->ctx, begin + i, x + i * l->data->sample_count));
    return DEFT_OK;
}

static deft_status wait_for_batch(deft_loader *l, int64_t count, float *x) {
    const slot *next = slot_of(l, l->taken);
    while (next->left > 0)
        pthread_cond_wait(&l->done, &l->mutex);
    if (next->status != DEFT_OK) return deft_fail(l->ctx, next->status, "%s", next->message);
    memcpy(x, next->x, (size_t)(count * l->data->sample_count) * sizeof *x);
    return DEFT_OK;
}

deft_status deft_loader_next(deft_loader *l, float *x) {
    pthread_mutex_lock(&l->mutex);
    int64_t count = batch_size(l, l->taken);
    deft_status status = l->thread_count ? wait_for_batch(l, count, x) : read_batch(l, count, x);
    l->taken++;
    reset_slot(l, l->taken - 1 + SLOTS);
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->mutex);
    return status;
}

/* ---- threads --------------------------------------------------------------------------------------------------- */

/* What is in memory is read in less time than it takes to wake a thread, which would take a core from the caller's
 * work. A thread that cannot be had is done without. Signals are for the threads of the program. */
static deft_status start_threads(deft_loader *l) {
    int wanted = l->ctx->threads < THREADS_MAX ? l->ctx->threads : THREADS_MAX;
    if (l->data->source.in_memory || wanted < 2) return DEFT_OK;
    for (int i = 0; i < SLOTS; i++)
        DEFT_TRY(deft_allocate_zeroed(l->ctx, (size_t)l->batch, (size_t)l->data->sample_count * sizeof(float),
                                      &l->slots[i].x));
    sigset_t all, before;
    sigfillset(&all);
    for (; l->thread_count < wanted; l->thread_count++) {
        const deft_context_options options = {.threads = 1, .isa = l->ctx->isa, .cache_directory = ""};
        DEFT_TRY(deft_context_new(&options, &l->contexts[l->thread_count]));
        pthread_sigmask(SIG_SETMASK, &all, &before);
        bool created = pthread_create(&l->threads[l->thread_count], NULL, run_thread, l) == 0;
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (!created) break;
    }
    return DEFT_OK;
}

deft_status deft_loader_new(deft_context *ctx, const deft_dataset *data, deft_split split, int64_t batch, bool augment,
                            deft_loader **loader) {
    deft_loader *l;
    deft_status status;
    DEFT_TRY(deft_allocate_zeroed(ctx, 1, sizeof *l, &l));
    l->ctx = ctx;
    l->data = data;
    l->split = split;
    l->batch = batch;
    l->augment = augment;
    pthread_mutex_init(&l->mutex, NULL);
    pthread_cond_init(&l->work, NULL);
    pthread_cond_init(&l->done, NULL);
    DEFT_TRY_OR_FAIL(start_threads(l));
    *loader = l;
    return DEFT_OK;
fail:
    deft_loader_free(l);
    return status;
}

void deft_loader_free(deft_loader *l) {
    if (!l) return;
    pthread_mutex_lock(&l->mutex);
    l->stop = true;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->mutex);
    for (int i = 0; i < l->thread_count; i++)
        pthread_join(l->threads[i], NULL);
    for (int i = 0; i < THREADS_MAX; i++)
        deft_context_free(l->contexts[i]);
    for (int i = 0; i < SLOTS; i++)
        deft_release(l->ctx, l->slots[i].x);
    pthread_cond_destroy(&l->work);
    pthread_cond_destroy(&l->done);
    pthread_mutex_destroy(&l->mutex);
    deft_release(l->ctx, l);
}
