#include "learn/train/checkpoint.h"

#include "base/core/file.h"

#include <string.h>
#include <unistd.h>

enum { CHECKPOINT_VERSION = 1 };

typedef struct header {
    char magic[8];
    uint32_t version, epochs_done;
    uint64_t fingerprint, floats;
} header;

static const char magic[8] = {'D', 'E', 'F', 'T', 'C', 'K', 'P', 'T'};

/* ---- fingerprint --------------------------------------------------------------------------------------------- */

static const uint64_t hash_start = 0xcbf29ce484222325u;

static uint64_t hash_bytes(uint64_t hash, const void *data, size_t bytes) {
    const unsigned char *from = data;
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ from[i]) * 0x100000001b3u;
    return hash;
}

static uint64_t hash_graph(uint64_t hash, const deft_graph *graph) {
    for (int i = 0; i < graph->node_count; i++) {
        const deft_node *node = &graph->nodes[i];
        hash = hash_bytes(hash, &node->op, sizeof node->op);
        hash = hash_bytes(hash, node->in, sizeof *node->in * (size_t)node->in_count);
        hash = hash_bytes(hash, node->out, sizeof *node->out * (size_t)node->out_count);
    }
    for (int i = 0; i < graph->value_count; i++) {
        const deft_tensor *desc = &graph->values[i].desc;
        hash = hash_bytes(hash, desc->dims, sizeof *desc->dims * (size_t)desc->rank);
        if (desc->data) hash = hash_bytes(hash, desc->data, deft_tensor_bytes(desc));
    }
    return hash;
}

uint64_t deft_checkpoint_fingerprint(const deft_graph *model, const deft_dataset *data,
                                     const deft_train_options *options) {
    uint64_t hash = hash_graph(hash_start, model);
    if (options->teacher) hash = hash_graph(hash, options->teacher);
    hash = hash_bytes(hash, data->spec, strlen(data->spec));
    hash = hash_bytes(hash, &data->split[DEFT_TRAIN].count, sizeof data->split[DEFT_TRAIN].count);
    hash = hash_bytes(hash, &data->ctx->seed, sizeof data->ctx->seed);
    hash = hash_bytes(hash, &options->epochs, sizeof options->epochs);
    hash = hash_bytes(hash, &options->batch, sizeof options->batch);
    hash = hash_bytes(hash, &options->step_epochs, sizeof options->step_epochs);
    const float numbers[] = {options->learning_rate, options->momentum, options->weight_decay, options->step_factor,
                             options->keep_zeros};
    return hash_bytes(hash, numbers, sizeof numbers);
}

/* ---- contents ------------------------------------------------------------------------------------------------ */

static size_t count_floats(const deft_training *training, const deft_sgd *sgd) {
    size_t floats = 0;
    for (int i = 0; i < sgd->count; i++)
        floats += 2 * (size_t)sgd->slots[i].count;
    for (int i = 0; i < training->stats_count; i++)
        floats += 2 * (size_t)deft_tensor_count(&training->graph->values[training->stats[i].running_mean].desc);
    return floats;
}

/* Copies between a checkpoint's floats and the state that they are of. */
typedef struct stream {
    char *at;
    bool saving;
} stream;

static void transfer(stream *s, float *state, int64_t count) {
    size_t bytes = (size_t)count * sizeof *state;
    if (s->saving)
        memcpy(s->at, state, bytes);
    else
        memcpy(state, s->at, bytes);
    s->at += bytes;
}

static void transfer_all(stream *s, const deft_training *training, const deft_sgd *sgd) {
    for (int i = 0; i < sgd->count; i++) {
        transfer(s, sgd->slots[i].weights, sgd->slots[i].count);
        transfer(s, sgd->slots[i].velocity, sgd->slots[i].count);
    }
    for (int i = 0; i < training->stats_count; i++) {
        deft_tensor *mean = &training->graph->values[training->stats[i].running_mean].desc;
        deft_tensor *var = &training->graph->values[training->stats[i].running_var].desc;
        transfer(s, mean->data, deft_tensor_count(mean));
        transfer(s, var->data, deft_tensor_count(var));
    }
}

deft_status deft_checkpoint_save(const char *path, uint64_t fingerprint, int epochs_done, const deft_training *training,
                                 const deft_sgd *sgd) {
    deft_context *ctx = training->ctx;
    header head = {.version = CHECKPOINT_VERSION,
                   .epochs_done = (uint32_t)epochs_done,
                   .fingerprint = fingerprint,
                   .floats = count_floats(training, sgd)};
    memcpy(head.magic, magic, sizeof magic);
    size_t body = sizeof head + head.floats * sizeof(float);
    char *data;
    DEFT_TRY(deft_allocate(ctx, body + sizeof(uint64_t), &data));
    memcpy(data, &head, sizeof head);
    stream out = {data + sizeof head, true};
    transfer_all(&out, training, sgd);
    uint64_t sum = hash_bytes(hash_start, data, body);
    memcpy(data + body, &sum, sizeof sum);
    deft_status status = deft_file_write(ctx, path, data, body + sizeof sum);
    deft_release(ctx, data);
    return status;
}

static deft_status check(deft_context *ctx, const char *path, const char *data, size_t bytes, uint64_t fingerprint,
                         size_t floats) {
    static const char *const advice = "delete it to start again, or name another checkpoint";
    header head;
    uint64_t sum;
    if (bytes < sizeof head + sizeof sum || memcmp(data, magic, sizeof magic) != 0)
        return deft_fail(ctx, DEFT_INVALID, "%s: not a checkpoint; %s", path, advice);
    memcpy(&head, data, sizeof head);
    memcpy(&sum, data + bytes - sizeof sum, sizeof sum);
    if (head.version != CHECKPOINT_VERSION)
        return deft_fail(ctx, DEFT_INVALID, "%s: a checkpoint of version %u, expected %d; %s", path, head.version,
                         CHECKPOINT_VERSION, advice);
    if (sum != hash_bytes(hash_start, data, bytes - sizeof sum))
        return deft_fail(ctx, DEFT_INVALID, "%s: the checkpoint is damaged; %s", path, advice);
    if (head.fingerprint != fingerprint || head.floats != floats ||
        bytes != sizeof head + floats * sizeof(float) + sizeof sum)
        return deft_fail(ctx, DEFT_INVALID, "%s: the checkpoint is of another model, data or options; %s", path,
                         advice);
    return DEFT_OK;
}

deft_status deft_checkpoint_load(const char *path, uint64_t fingerprint, deft_training *training, deft_sgd *sgd,
                                 int *epochs_done) {
    deft_context *ctx = training->ctx;
    *epochs_done = 0;
    if (access(path, F_OK) != 0) return DEFT_OK;
    size_t floats = count_floats(training, sgd), bytes;
    void *data;
    DEFT_TRY(deft_file_read(ctx, path, sizeof(header) + floats * sizeof(float) + sizeof(uint64_t), &data, &bytes));
    deft_status status = check(ctx, path, data, bytes, fingerprint, floats);
    if (status == DEFT_OK) {
        header head;
        memcpy(&head, data, sizeof head);
        stream in = {(char *)data + sizeof head, false};
        transfer_all(&in, training, sgd);
        *epochs_done = (int)head.epochs_done;
    }
    deft_release(ctx, data);
    return status;
}
