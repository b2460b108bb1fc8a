#include "learn/approx/hessian.h"

#include "exec/run/executor.h"

#include <string.h>

enum { MAX_COLUMNS = 2048, MAX_POSITIONS = 16384, STRIP = 256 };

/* The network up to what a layer takes in. */
typedef struct capture {
    deft_plan *plan; /* NULL where that is an input of the network */
    deft_executor *executor;
    int input; /* its index then */
    deft_tensor x;
} capture;

/* Sums under way. */
typedef struct summing {
    deft_context *ctx;
    deft_hessian *hessian;
    int64_t inner;
    int64_t stride; /* from one position that is summed to the next */
    int64_t seen;   /* positions so far */
    float *row;     /* [inner] */
    float *strip;   /* [inner][STRIP]: positions side by side */
    int filled;
} summing;

/* ---- the network --------------------------------------------------------------------------------------------- */

static deft_status open_capture(deft_context *ctx, const deft_graph *graph, int value,
                                const deft_calibration *calibration, capture *c) {
    *c = (capture){0};
    for (int i = 0; i < graph->input_count; i++)
        if (graph->inputs[i] == value) {
            c->input = i;
            c->x = (deft_tensor){.dtype = calibration->inputs[i].dtype, .rank = calibration->bindings[i].rank};
            memcpy(c->x.dims, calibration->bindings[i].dims, sizeof c->x.dims);
            return DEFT_OK;
        }
    deft_graph *prefix;
    DEFT_TRY(deft_graph_clone(ctx, graph, &prefix));
    prefix->outputs[0] = value;
    prefix->output_count = 1;
    deft_plan_options options = {
        .batch = calibration->batch, .bindings = calibration->bindings, .binding_count = calibration->input_count};
    deft_status status = deft_plan_new(ctx, prefix, &options, &c->plan);
    deft_graph_free(prefix);
    if (status == DEFT_OK) status = deft_executor_new(c->plan, &c->executor);
    if (status == DEFT_OK) c->x = *deft_executor_tensor(c->executor, c->plan->graph->outputs[0]);
    return status;
}

static void close_capture(capture *c) {
    deft_executor_free(c->executor);
    deft_plan_free(c->plan);
}

/* The bytes of `batch` samples from `first` on. */
static void *samples_from(const deft_tensor *array, int64_t first, int64_t batch, size_t *bytes) {
    size_t sample = deft_tensor_bytes(array) / (size_t)array->dims[0];
    *bytes = sample * (size_t)batch;
    return (char *)array->data + sample * (size_t)first;
}

static deft_status run_capture(capture *c, const deft_calibration *calibration, int64_t first) {
    size_t bytes;
    if (!c->plan) {
        c->x.data = samples_from(&calibration->inputs[c->input], first, calibration->batch, &bytes);
        return DEFT_OK;
    }
    for (int i = 0; i < calibration->input_count; i++) {
        deft_tensor *input = deft_executor_tensor(c->executor, c->plan->graph->inputs[i]);
        const void *data = samples_from(&calibration->inputs[i], first, calibration->batch, &bytes);
        memcpy(input->data, data, bytes);
    }
    return deft_executor_run(c->executor);
}

/* ---- positions ----------------------------------------------------------------------------------------------- */

static int64_t positions_of(const deft_hessian *h, const deft_tensor *x) {
    if (h->conv) return h->window.batch * h->window.out[0] * h->window.out[1];
    return deft_tensor_count(x) / h->weight->inner;
}

/* What a Conv reads for one output position: zeros where it is padding. */
static void read_patch(const deft_window *w, const float *x, int64_t group, int64_t position, float *row) {
    int64_t channels = w->channels / w->groups, ox = position % w->out[1], oy = position / w->out[1] % w->out[0];
    int64_t image = position / (w->out[0] * w->out[1]) * w->channels + group * channels;
    for (int64_t c = 0; c < channels; c++)
        for (int64_t ky = 0; ky < w->kernel[0]; ky++)
            for (int64_t kx = 0; kx < w->kernel[1]; kx++) {
                int64_t iy = oy * w->stride[0] + ky * w->dilation[0] - w->pad_begin[0];
                int64_t ix = ox * w->stride[1] + kx * w->dilation[1] - w->pad_begin[1];
                bool inside = iy >= 0 && iy < w->in[0] && ix >= 0 && ix < w->in[1];
                *row++ = inside ? x[((image + c) * w->in[0] + iy) * w->in[1] + ix] : 0;
            }
}

static void read_row(const summing *s, const deft_tensor *x, int64_t group, int64_t position) {
    const float *data = x->data;
    const deft_hessian *h = s->hessian;
    if (h->conv)
        read_patch(&h->window, data, group, position, s->row);
    else if (!h->transposed)
        memcpy(s->row, data + position * s->inner, (size_t)s->inner * sizeof *data);
    else
        for (int64_t k = 0; k < s->inner; k++)
            s->row[k] = data[k * x->dims[1] + position];
}

/* ---- sums ---------------------------------------------------------------------------------------------------- */

static float dot_strip(const float *restrict a, const float *restrict b) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int i = 0; i < STRIP; i++)
        sum += a[i] * b[i];
    return sum;
}

static void add_strip_to(const summing *s, const deft_hessian_part *part) {
    const float *strip = s->strip + part->first * STRIP;
    int64_t n = part->count;
#pragma omp parallel for schedule(dynamic, 16) num_threads(s->ctx->threads) if (n >= 128)
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = i; j < n; j++)
            part->matrix[i * n + j] += (double)dot_strip(strip + i * STRIP, strip + j * STRIP);
}

/* Adds the positions of the strip, and empties it. */
static void flush(summing *s, int64_t group) {
    if (s->filled == 0) return;
    for (int64_t k = 0; k < s->inner && s->filled < STRIP; k++)
        memset(s->strip + k * STRIP + s->filled, 0, (size_t)(STRIP - s->filled) * sizeof *s->strip);
    for (int p = 0; p < s->hessian->part_count; p++)
        if (s->hessian->parts[p].group == group) add_strip_to(s, &s->hessian->parts[p]);
    s->filled = 0;
}

static void add_batch(summing *s, const deft_tensor *x) {
    int64_t count = positions_of(s->hessian, x), first = (s->stride - s->seen % s->stride) % s->stride;
    for (int64_t group = 0; group < s->hessian->groups; group++) {
        for (int64_t position = first; position < count; position += s->stride) {
            read_row(s, x, group, position);
            for (int64_t k = 0; k < s->inner; k++)
                s->strip[k * STRIP + s->filled] = s->row[s->hessian->order[k]];
            if (++s->filled == STRIP) flush(s, group);
        }
        flush(s, group);
    }
    s->seen += count;
    if (first < count) s->hessian->positions += (count - first + s->stride - 1) / s->stride;
}

static deft_status add_node(summing *s, const deft_graph *graph, const deft_node *node,
                            const deft_calibration *calibration) {
    capture c;
    deft_status status;
    DEFT_TRY_OR_FAIL(open_capture(s->ctx, graph, node->in[0], calibration, &c));
    int64_t batches = calibration->samples / calibration->batch;
    s->seen = 0;
    s->stride = (batches * positions_of(s->hessian, &c.x) + MAX_POSITIONS - 1) / MAX_POSITIONS;
    for (int64_t b = 0; b < batches; b++) {
        DEFT_TRY_OR_FAIL(deft_progress(s->ctx, "calibrating a layer", (double)b / (double)batches));
        DEFT_TRY_OR_FAIL(run_capture(&c, calibration, b * calibration->batch));
        add_batch(s, &c.x);
    }
fail:
    close_capture(&c);
    return status;
}

/* ---- layout -------------------------------------------------------------------------------------------------- */

/* Whether a group of N:M begins at a column. */
static bool begins_group(const deft_weight *weight, int of, int64_t column) {
    return column % (weight->inner / weight->taps) % of == 0;
}

/* Cuts the columns of each group into parts. */
static deft_status make_parts(deft_hessian *h, int of, deft_arena *arena) {
    int64_t inner = h->weight->inner;
    size_t most = (size_t)(h->groups * (2 * inner / MAX_COLUMNS + 1));
    DEFT_TRY(deft_arena_array(arena, most, sizeof *h->parts, &h->parts));
    for (int64_t group = 0; group < h->groups; group++)
        for (int64_t first = 0, end; first < inner; first = end) {
            end = first + MAX_COLUMNS < inner ? first + MAX_COLUMNS : inner;
            while (end < inner && of > 1 && !begins_group(h->weight, of, end))
                end--;
            deft_hessian_part *part = &h->parts[h->part_count++];
            *part = (deft_hessian_part){.group = group, .first = first, .count = end - first};
            DEFT_TRY(deft_arena_array(arena, (size_t)(part->count * part->count), sizeof(double), &part->matrix));
        }
    return DEFT_OK;
}

static deft_status lay_out(deft_context *ctx, const deft_graph *graph, const deft_node *node,
                           const deft_calibration *calibration, int of, deft_arena *arena, deft_hessian *h) {
    const deft_weight *w = h->weight;
    h->conv = node->op == DEFT_OP_CONV;
    h->transposed = node->op == DEFT_OP_GEMM && deft_attr_int(&node->attrs, "transA", 0);
    h->groups = 1;
    if (h->conv) {
        capture c; /* for the shape of its input at this batch */
        deft_op_call call = {
            .ctx = ctx, .name = node->name, .op = node->op, .attrs = &node->attrs, .opset = graph->opset};
        deft_status status = open_capture(ctx, graph, node->in[0], calibration, &c);
        if (status == DEFT_OK) status = deft_window_of_conv(&call, &c.x, &graph->values[w->value].desc, &h->window);
        close_capture(&c);
        DEFT_TRY(status);
        h->groups = h->window.groups;
    }
    h->rows = w->rows / h->groups;
    DEFT_TRY(deft_arena_array(arena, (size_t)w->inner, sizeof *h->order, &h->order));
    int64_t channels = w->inner / w->taps;
    for (int64_t k = 0; k < w->inner; k++)
        h->order[k] = of > 1 ? k % channels * w->taps + k / channels : k;
    return make_parts(h, of, arena);
}

deft_status deft_hessian_sum(deft_context *ctx, const deft_graph *graph, const deft_weight *weight,
                             const deft_calibration *calibration, int of, deft_arena *arena, deft_hessian *hessian,
                             bool *supported) {
    const deft_node *first = &graph->nodes[weight->node];
    const deft_tensor *tensor = &graph->values[weight->value].desc, *x = &graph->values[first->in[0]].desc;
    summing s = {.ctx = ctx, .hessian = hessian, .inner = weight->inner};
    *hessian = (deft_hessian){.weight = weight};
    *supported = weight->matrices == 1 && x->dtype == DEFT_F32 && !(first->op == DEFT_OP_CONV && tensor->rank > 4);
    if (!*supported) return DEFT_OK;
    DEFT_TRY(lay_out(ctx, graph, first, calibration, of, arena, hessian));
    DEFT_TRY(deft_arena_array(arena, (size_t)weight->inner, sizeof *s.row, &s.row));
    DEFT_TRY(deft_arena_array(arena, (size_t)weight->inner * STRIP, sizeof *s.strip, &s.strip));
    for (int i = weight->node; i < graph->node_count; i++) {
        const deft_node *node = &graph->nodes[i];
        if (deft_node_weight(graph, node) == weight->value && node->op == first->op)
            DEFT_TRY(add_node(&s, graph, node, calibration));
    }
    return DEFT_OK;
}
