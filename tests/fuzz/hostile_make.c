#include "hostile.h"

#include "base/core/file.h"
#include "ir/model/onnx_wire.h"
#include "mutate.h"

#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_MODEL_BYTES = 64 * 1024 * 1024, MAX_MUTATIONS = 5 };

/* ---- the corpus ---------------------------------------------------------------------------------------------- */

static hostile_corpus *walked; /* nftw takes no argument for its callback */

static int visit(const char *path, const struct stat *info, int type, struct FTW *where) {
    (void)where;
    size_t length = strlen(path);
    if (type != FTW_F || length < 5 || strcmp(path + length - 5, ".onnx") != 0 || info->st_size > MAX_MODEL_BYTES / 2)
        return 0;
    char **models = realloc(walked->models, (walked->count + 1) * sizeof *models);
    if (!models) return -1;
    walked->models = models;
    walked->models[walked->count] = strdup(path);
    return walked->models[walked->count++] ? 0 : -1;
}

static int compare(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

bool hostile_corpus_add(hostile_corpus *corpus, const char *path) {
    size_t before = corpus->count;
    walked = corpus;
    if (nftw(path, visit, 16, 0) != 0 || corpus->count == before) return false;
    qsort(corpus->models, corpus->count, sizeof *corpus->models, compare);
    return true;
}

void hostile_corpus_done(hostile_corpus *corpus) {
    for (size_t i = 0; i < corpus->count; i++)
        free(corpus->models[i]);
    free(corpus->models);
    *corpus = (hostile_corpus){0};
}

/* ---- a model ------------------------------------------------------------------------------------------------- */

static bool read_message(deft_arena *arena, const char *path, const ProtobufCMessageDescriptor *type, void *message) {
    deft_stream stream;
    if (deft_file_open(arena->ctx, path, MAX_MODEL_BYTES, &stream) != DEFT_OK) return false;
    deft_status status = deft_wire_unpack(arena, type, &stream, message);
    deft_stream_done(&stream);
    return status == DEFT_OK;
}

/* The value that the first data set gives an input; NULL where there is none. */
static Onnx__TensorProto *read_input(deft_arena *arena, const char *model, size_t index) {
    char path[PATH_MAX];
    const char *slash = strrchr(model, '/');
    Onnx__TensorProto *tensor;
    snprintf(path, sizeof path, "%.*s/test_data_set_0/input_%zu.pb", slash ? (int)(slash - model) : 0, model, index);
    return read_message(arena, path, &onnx__tensor_proto__descriptor, &tensor) ? tensor : NULL;
}

/* Which inputs become initializers: none, all, those of at most one dimension, or any. */
static bool becomes_constant(const Onnx__TensorProto *tensor, uint64_t mode, deft_rng *rng) {
    return mode == 1 || (mode == 2 && tensor->n_dims <= 1) || (mode == 3 && deft_rng_below(rng, 2));
}

static void fix_inputs(deft_arena *arena, const char *path, Onnx__GraphProto *graph, deft_rng *rng) {
    uint64_t mode = deft_rng_below(rng, 4);
    Onnx__TensorProto **all;
    if (mode == 0 || deft_arena_array(arena, graph->n_initializer + graph->n_input, sizeof *all, &all) != DEFT_OK)
        return;
    if (graph->n_initializer) memcpy(all, graph->initializer, graph->n_initializer * sizeof *all);
    graph->initializer = all;
    for (size_t i = 0; i < graph->n_input; i++) {
        Onnx__TensorProto *tensor = read_input(arena, path, i);
        if (!tensor || !becomes_constant(tensor, mode, rng)) continue;
        tensor->name = graph->input[i]->name;
        all[graph->n_initializer++] = tensor;
    }
}

/* Then what a graph makes is not held against what it says that it makes: more models are run. */
static void leave_outputs_open(Onnx__GraphProto *graph) {
    for (size_t i = 0; i < graph->n_output; i++) {
        const Onnx__TypeProto *type = graph->output[i]->type;
        if (type && type->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE && type->tensor_type)
            type->tensor_type->shape = NULL;
    }
}

static uint8_t *pack(const Onnx__ModelProto *model, size_t room, size_t *bytes) {
    *bytes = onnx__model_proto__get_packed_size(model);
    uint8_t *data = *bytes <= MAX_MODEL_BYTES ? malloc(*bytes + room) : NULL;
    if (data) onnx__model_proto__pack(model, data);
    return data;
}

static uint8_t *mutate(deft_arena *arena, const char *path, deft_rng *rng, size_t *bytes) {
    enum { ROOM = 64 };
    Onnx__ModelProto *model;
    if (!read_message(arena, path, &onnx__model_proto__descriptor, &model)) return NULL;
    if (model->graph) fix_inputs(arena, path, model->graph, rng);
    if (model->graph && deft_rng_below(rng, 4)) leave_outputs_open(model->graph);
    bool by_bytes = deft_rng_below(rng, 8) == 0;
    for (uint64_t i = by_bytes ? 0 : deft_rng_below(rng, deft_rng_below(rng, MAX_MUTATIONS) + 1) + 1; i > 0; i--)
        mutate_model(arena, model, rng);
    uint8_t *data = pack(model, ROOM, bytes);
    if (!data) return NULL;
    size_t capacity = *bytes + ROOM;
    for (uint64_t i = by_bytes ? deft_rng_below(rng, MAX_MUTATIONS) + 1 : 0; i > 0; i--)
        *bytes = mutate_bytes(data, *bytes, capacity, rng);
    /* Of exactly the model's size, so that a sanitizer sees a read past its end. */
    uint8_t *exact = realloc(data, *bytes ? *bytes : 1);
    return exact ? exact : data;
}

uint8_t *hostile_make(const hostile_corpus *small, const hostile_corpus *large, uint64_t seed, size_t *bytes) {
    enum { LARGE_ONCE_IN = 50 };
    deft_rng rng;
    deft_context *ctx;
    deft_arena arena;
    deft_rng_init(&rng, seed, 0);
    if (deft_context_new(&(deft_context_options){.cache_directory = "", .threads = 1}, &ctx) != DEFT_OK) return NULL;
    deft_arena_init(&arena, ctx);
    const hostile_corpus *corpus = large->count && deft_rng_below(&rng, LARGE_ONCE_IN) == 0 ? large : small;
    uint8_t *data = mutate(&arena, corpus->models[deft_rng_below(&rng, corpus->count)], &rng, bytes);
    deft_arena_done(&arena);
    deft_context_free(ctx);
    return data;
}
