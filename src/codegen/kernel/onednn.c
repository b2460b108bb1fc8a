#include "codegen/kernel/onednn.h"

#include "codegen/kernel/activation.h"
#include "codegen/kernel/onednn_call.h"

#include <string.h>

bool deft_dense_limit_isa(deft_isa isa) {
    switch (isa) {
    case DEFT_ISA_C:
        return dnnl_set_max_cpu_isa(dnnl_cpu_isa_sse41) == dnnl_success;
    case DEFT_ISA_AVX2:
        return dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx2) == dnnl_success;
    case DEFT_ISA_BEST:
    case DEFT_ISA_AVX512:
        return true;
    }
    return false;
}

/* ---- primitives ---------------------------------------------------------------------------------------------- */

/* The operand as its caller sees it and as the primitive wants it. */
typedef struct operand {
    dnnl_memory_t plain, inner; /* the same object where the layouts are equal */
    dnnl_primitive_t reorder;   /* between the two, or NULL */
    size_t scratch_offset;      /* of `inner`, where it is not constant */
    size_t bytes;               /* of `inner` */
} operand;

struct deft_onednn {
    int threads;
    deft_onednn_kind kind;
    bool constant_weight, own_layouts;
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_t primitive;
    operand operands[DEFT_ONEDNN_OPERANDS];
    bool has_residual, reads_residual; /* else it adds to what it finds in its Y: the residual is put there before */
    dnnl_primitive_t fill;             /* does that where the primitive's own layout of Y is not Y's; or NULL */
    dnnl_memory_t scratchpad;
    size_t scratchpad_offset, scratch_bytes, weight_bytes;
    void *weight;
    const char *implementation;
};

/* The argument that each operand is to each kind of primitive; 0: it has none. */
static const int arguments[DEFT_ONEDNN_KINDS][DEFT_ONEDNN_OPERANDS] = {
    [DEFT_ONEDNN_MATMUL] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_BIAS, DNNL_ARG_DST},
    [DEFT_ONEDNN_CONV] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_BIAS, DNNL_ARG_DST},
    [DEFT_ONEDNN_CONV_INPUT_GRAD] = {DNNL_ARG_DIFF_SRC, DNNL_ARG_WEIGHTS, 0, DNNL_ARG_DIFF_DST},
    [DEFT_ONEDNN_CONV_WEIGHT_GRAD] = {DNNL_ARG_SRC, DNNL_ARG_DIFF_WEIGHTS, 0, DNNL_ARG_DIFF_DST},
    [DEFT_ONEDNN_MAX_POOL] = {DNNL_ARG_SRC, 0, 0, DNNL_ARG_DST},
    [DEFT_ONEDNN_AVERAGE_POOL] = {DNNL_ARG_SRC, 0, 0, DNNL_ARG_DST},
};
static const deft_onednn_operand results[DEFT_ONEDNN_KINDS] = {
    [DEFT_ONEDNN_MATMUL] = DEFT_ONEDNN_Y,          [DEFT_ONEDNN_CONV] = DEFT_ONEDNN_Y,
    [DEFT_ONEDNN_CONV_INPUT_GRAD] = DEFT_ONEDNN_X, [DEFT_ONEDNN_CONV_WEIGHT_GRAD] = DEFT_ONEDNN_W,
    [DEFT_ONEDNN_MAX_POOL] = DEFT_ONEDNN_Y,        [DEFT_ONEDNN_AVERAGE_POOL] = DEFT_ONEDNN_Y,
};

/* Memory descriptors of the operands: outside, and as asked of oneDNN ("any": what it likes best). */
typedef struct descriptors {
    dnnl_memory_desc_t plain[DEFT_ONEDNN_OPERANDS], asked[DEFT_ONEDNN_OPERANDS];
} descriptors;

static dnnl_status_t describe(const deft_onednn_problem *problem, deft_onednn_operand which, int rank,
                              const dnnl_dims_t dims, const dnnl_dims_t strides, descriptors *all) {
    bool kept = which == DEFT_ONEDNN_B || (problem->plain && which != DEFT_ONEDNN_W);
    dnnl_status_t result = dnnl_memory_desc_init_by_strides(&all->plain[which], rank, dims, dnnl_f32, strides);
    if (result == dnnl_success && !kept)
        return dnnl_memory_desc_init_by_tag(&all->asked[which], rank, dims, dnnl_f32, dnnl_format_tag_any);
    all->asked[which] = all->plain[which];
    return result;
}

static dnnl_status_t describe_rows(const deft_onednn_problem *problem, deft_onednn_operand which, int rank,
                                   const dnnl_dims_t dims, descriptors *all) {
    dnnl_dims_t strides;
    for (int64_t i = rank - 1, stride = 1; i >= 0; stride *= dims[i--])
        strides[i] = stride;
    return describe(problem, which, rank, dims, strides, all);
}

static dnnl_status_t describe_matmul(const deft_onednn_problem *p, descriptors *all) {
    dnnl_dims_t x = {p->rows, p->inner}, w = {p->inner, p->columns}, b = {1, p->columns}, y = {p->rows, p->columns};
    dnnl_dims_t w_strides = {p->weight_row_stride, p->weight_column_stride};
    dnnl_status_t result = describe_rows(p, DEFT_ONEDNN_X, 2, x, all);
    if (result == dnnl_success) result = describe(p, DEFT_ONEDNN_W, 2, w, w_strides, all);
    if (result == dnnl_success) result = describe_rows(p, DEFT_ONEDNN_B, 2, b, all);
    return result == dnnl_success ? describe_rows(p, DEFT_ONEDNN_Y, 2, y, all) : result;
}

/* The first layer's few channels would be mostly padding in blocks; oneDNN reads them row-major. */
static bool is_first_layer(const deft_onednn_problem *p) {
    const deft_window *o = &p->window;
    bool reads = (p->kind == DEFT_ONEDNN_CONV && !p->winograd) || p->kind == DEFT_ONEDNN_CONV_WEIGHT_GRAD;
    return reads && !p->x_blocked && o->groups == 1 && (o->channels == 1 || o->channels == 3);
}

/* Blocks of the one filter's results would be mostly padding; channels last, it is no different from row-major. */
static bool is_single(const deft_onednn_problem *p) {
    return p->kind == DEFT_ONEDNN_CONV && p->window.filters == 1 && !p->plain && !p->lanes && !p->winograd;
}

static dnnl_status_t describe_picture(const deft_onednn_problem *p, deft_onednn_operand which, const dnnl_dims_t dims,
                                      descriptors *all) {
    dnnl_memory_desc_t *plain = &all->plain[which], *asked = &all->asked[which];
    bool blocked = which == DEFT_ONEDNN_X ? p->x_blocked : p->y_blocked;
    dnnl_format_tag_t tag = p->lanes == 16 ? dnnl_nChw16c : dnnl_nChw8c;
    dnnl_status_t result = describe_rows(p, which, 4, dims, all);
    if (result == dnnl_success && is_single(p)) {
        result = dnnl_memory_desc_init_by_tag(asked, 4, dims, dnnl_f32, dnnl_nhwc);
        if (dims[1] == 1) *plain = *asked;
    }
    if (result != dnnl_success || !p->lanes) return result;
    *asked = *plain;
    if (which != DEFT_ONEDNN_X || !is_first_layer(p))
        result = dnnl_memory_desc_init_by_tag(asked, 4, dims, dnnl_f32, tag);
    if (blocked) *plain = *asked;
    return result;
}

static dnnl_status_t describe_pictures(const deft_onednn_problem *p, descriptors *all) {
    const deft_window *o = &p->window;
    dnnl_dims_t x = {o->batch, o->channels, o->in[0], o->in[1]};
    dnnl_dims_t y = {o->batch, o->filters, o->out[0], o->out[1]};
    dnnl_status_t result = describe_picture(p, DEFT_ONEDNN_X, x, all);
    return result == dnnl_success ? describe_picture(p, DEFT_ONEDNN_Y, y, all) : result;
}

static dnnl_status_t describe_filters(const deft_onednn_problem *p, descriptors *all) {
    const deft_window *o = &p->window;
    dnnl_dims_t w = {o->filters, o->channels, o->kernel[0], o->kernel[1]};
    dnnl_dims_t grouped = {o->groups, o->filters / o->groups, o->channels / o->groups, o->kernel[0], o->kernel[1]};
    dnnl_dims_t b = {o->filters};
    dnnl_status_t result =
        o->groups == 1 ? describe_rows(p, DEFT_ONEDNN_W, 4, w, all) : describe_rows(p, DEFT_ONEDNN_W, 5, grouped, all);
    return result == dnnl_success ? describe_rows(p, DEFT_ONEDNN_B, 1, b, all) : result;
}

static bool is_pool(deft_onednn_kind kind) {
    return kind == DEFT_ONEDNN_MAX_POOL || kind == DEFT_ONEDNN_AVERAGE_POOL;
}

static dnnl_status_t describe_problem(const deft_onednn_problem *problem, descriptors *all) {
    if (problem->kind == DEFT_ONEDNN_MATMUL) return describe_matmul(problem, all);
    dnnl_status_t result = describe_pictures(problem, all);
    return result == dnnl_success && !is_pool(problem->kind) ? describe_filters(problem, all) : result;
}

static dnnl_status_t append_activation(deft_activation activation, dnnl_post_ops_t post_ops) {
    if (deft_activation_is_none(activation)) return dnnl_success;
    if (activation.low == 0 && activation.high == __builtin_inff())
        return dnnl_post_ops_append_eltwise(post_ops, 1, dnnl_eltwise_relu, 0, 0);
    return dnnl_post_ops_append_eltwise(post_ops, 1, dnnl_eltwise_clip, activation.low, activation.high);
}

static dnnl_status_t append_function(deft_function function, float alpha, dnnl_post_ops_t post_ops) {
    switch (function) {
    case DEFT_FUNCTION_LEAKY_RELU:
        return dnnl_post_ops_append_eltwise(post_ops, 1, dnnl_eltwise_relu, alpha, 0);
    case DEFT_FUNCTION_SWISH:
        return dnnl_post_ops_append_eltwise(post_ops, 1, dnnl_eltwise_swish, alpha, 0);
    case DEFT_FUNCTION_HARD_SWISH:
        return dnnl_post_ops_append_eltwise(post_ops, 1, dnnl_eltwise_hardswish, 0, 0);
    case DEFT_FUNCTION_NONE:
        break;
    }
    return dnnl_success;
}

/* Winograd's can only add to its Y; and a layout of Y that is not known ahead cannot be that of an operand. */
static bool reads_residual(const deft_onednn_problem *problem) {
    return problem->has_residual && problem->y_blocked && !problem->winograd;
}

static dnnl_status_t make_attributes(const deft_onednn_problem *problem, const descriptors *all,
                                     dnnl_primitive_attr_t *attributes) {
    dnnl_post_ops_t post_ops = NULL;
    dnnl_status_t result = dnnl_primitive_attr_create(attributes);
    if (result != dnnl_success) return result;
    result = dnnl_primitive_attr_set_scratchpad_mode(*attributes, dnnl_scratchpad_mode_user);
    if (result != dnnl_success || problem->kind != DEFT_ONEDNN_CONV) return result;

    if ((result = dnnl_post_ops_create(&post_ops)) != dnnl_success) return result;
    if (reads_residual(problem))
        result = dnnl_post_ops_append_binary(post_ops, dnnl_binary_add, &all->asked[DEFT_ONEDNN_Y]);
    else if (problem->has_residual)
        result = dnnl_post_ops_append_sum(post_ops, 1);
    if (result == dnnl_success) result = append_activation(problem->activation, post_ops);
    if (result == dnnl_success) result = append_function(problem->function, problem->alpha, post_ops);
    if (result == dnnl_success) result = dnnl_primitive_attr_set_post_ops(*attributes, post_ops);
    dnnl_post_ops_destroy(post_ops);
    return result;
}

static bool is_named(const_dnnl_primitive_desc_t descriptor, const char *prefix) {
    const char *name = "";
    dnnl_primitive_desc_query(descriptor, dnnl_query_impl_info_str, 0, &name);
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

static bool is_reference(const_dnnl_primitive_desc_t descriptor) {
    return is_named(descriptor, "ref") || is_named(descriptor, "simple");
}

/* The names of implementations, as they begin, or NULL. */
typedef struct wish {
    const char *preferred, *over;
} wish;
static const wish anything = {NULL, NULL};

/* The first implementation that is not a reference, or a later one that is preferred: over the first where that is
 * named so, or over any. */
static dnnl_status_t first_usable(const_dnnl_op_desc_t operation, const_dnnl_primitive_attr_t attributes,
                                  dnnl_engine_t engine, const_dnnl_primitive_desc_t forward, wish wanted,
                                  dnnl_primitive_desc_t *out) {
    dnnl_primitive_desc_iterator_t iterator;
    dnnl_primitive_desc_t best = NULL;
    dnnl_status_t result = dnnl_primitive_desc_iterator_create(&iterator, operation, attributes, engine, forward);
    if (result != dnnl_success) return result;
    for (; result == dnnl_success; result = dnnl_primitive_desc_iterator_next(iterator)) {
        dnnl_primitive_desc_t found = dnnl_primitive_desc_iterator_fetch(iterator);
        if (!found) {
            result = dnnl_out_of_memory;
            break;
        }
        bool first = !best && !is_reference(found);
        bool taken = wanted.preferred && is_named(found, wanted.preferred);
        if (!first && !taken) {
            dnnl_primitive_desc_destroy(found);
            continue;
        }
        if (best) dnnl_primitive_desc_destroy(best);
        best = found;
        if (taken || !wanted.preferred || (wanted.over && !is_named(found, wanted.over))) break;
    }
    dnnl_primitive_desc_iterator_destroy(iterator);
    if (result == dnnl_iterator_ends) result = best ? dnnl_success : dnnl_unimplemented;
    if (result != dnnl_success && best) dnnl_primitive_desc_destroy(best);
    if (result == dnnl_success) *out = best;
    return result;
}

/* Winograd's algorithm by tiles of 4x4, of a picture that has enough of them, takes less time than by those of 2x2. */
static bool has_large_tiles(const deft_onednn_problem *problem) {
    enum { PIXELS_WORTH_LARGE_TILES = 12 };
    const int64_t *out = problem->window.out;
    return problem->winograd && out[0] >= PIXELS_WORTH_LARGE_TILES && out[1] >= PIXELS_WORTH_LARGE_TILES;
}

/* For inference, tiles of 2x2 are listed first, and oneDNN tries all sizes of blocks of them: some milliseconds for a
 * large picture. For training, it has those of 4x4 only, and transforms the weights in every run: which takes as long
 * as some tens of tiles. */
static dnnl_prop_kind_t kind_of_conv(const deft_onednn_problem *problem) {
    enum { PIXELS_WORTH_TRANSFORMS = 96 * 96 };
    const int64_t *out = problem->window.out;
    bool training = has_large_tiles(problem) && problem->window.batch * out[0] * out[1] >= PIXELS_WORTH_TRANSFORMS;
    return training ? dnnl_forward_training : dnnl_forward_inference;
}

/* oneDNN's "brgconv" generates code for each length of a row: of a long one, tens of milliseconds. */
static wish wish_for(const deft_onednn_problem *problem) {
    enum { LONG_ROW = 256 };
    if (has_large_tiles(problem)) return (wish){.preferred = "jit_wino_4x3"};
    return problem->window.out[1] > LONG_ROW ? (wish){.preferred = "jit:", .over = "brgconv:"} : anything;
}

/* The window as oneDNN wants it. */
typedef struct geometry {
    dnnl_dims_t kernel, strides, dilations /* 0: none */, pad_begin, pad_end;
} geometry;

static geometry geometry_of(const deft_window *window) {
    geometry g = {.kernel = {0}};
    for (int i = 0; i < 2; i++) {
        g.kernel[i] = window->kernel[i];
        g.strides[i] = window->stride[i];
        g.dilations[i] = window->dilation[i] - 1;
        g.pad_begin[i] = window->pad_begin[i];
        g.pad_end[i] = window->pad_end[i];
    }
    return g;
}

static dnnl_status_t forward_pool(const deft_onednn_problem *p, const descriptors *all,
                                  dnnl_pooling_v2_desc_t *operation) {
    geometry g = geometry_of(&p->window);
    dnnl_alg_kind_t algorithm = p->kind == DEFT_ONEDNN_MAX_POOL ? dnnl_pooling_max
                                : p->include_padding            ? dnnl_pooling_avg_include_padding
                                                                : dnnl_pooling_avg_exclude_padding;
    return dnnl_pooling_v2_forward_desc_init(operation, dnnl_forward_inference, algorithm, &all->asked[DEFT_ONEDNN_X],
                                             &all->asked[DEFT_ONEDNN_Y], g.strides, g.kernel, g.dilations, g.pad_begin,
                                             g.pad_end);
}

static dnnl_status_t forward_conv(const deft_onednn_problem *p, const descriptors *all, dnnl_prop_kind_t prop,
                                  dnnl_convolution_desc_t *operation) {
    geometry g = geometry_of(&p->window);
    const dnnl_memory_desc_t *d = all->asked;
    return dnnl_dilated_convolution_forward_desc_init(
        operation, prop, p->winograd ? dnnl_convolution_winograd : dnnl_convolution_direct, &d[DEFT_ONEDNN_X],
        &d[DEFT_ONEDNN_W], p->has_bias ? &d[DEFT_ONEDNN_B] : NULL, &d[DEFT_ONEDNN_Y], g.strides, g.dilations,
        g.pad_begin, g.pad_end);
}

static dnnl_status_t backward_conv(const deft_onednn_problem *p, const descriptors *all,
                                   dnnl_convolution_desc_t *operation) {
    geometry g = geometry_of(&p->window);
    const dnnl_memory_desc_t *d = all->asked;
    if (p->kind == DEFT_ONEDNN_CONV_INPUT_GRAD)
        return dnnl_dilated_convolution_backward_data_desc_init(operation, dnnl_convolution_direct, &d[DEFT_ONEDNN_X],
                                                                &d[DEFT_ONEDNN_W], &d[DEFT_ONEDNN_Y], g.strides,
                                                                g.dilations, g.pad_begin, g.pad_end);
    return dnnl_dilated_convolution_backward_weights_desc_init(operation, dnnl_convolution_direct, &d[DEFT_ONEDNN_X],
                                                               &d[DEFT_ONEDNN_W], NULL, &d[DEFT_ONEDNN_Y], g.strides,
                                                               g.dilations, g.pad_begin, g.pad_end);
}

/* A gradient's implementation is picked with that of the forward convolution as a hint. */
static dnnl_status_t choose_gradient(const deft_onednn_problem *problem, const descriptors *all,
                                     const_dnnl_primitive_attr_t attributes, dnnl_engine_t engine,
                                     dnnl_primitive_desc_t *out) {
    dnnl_convolution_desc_t forward, backward;
    dnnl_primitive_desc_t hint;
    dnnl_status_t result = forward_conv(problem, all, dnnl_forward_training, &forward);
    if (result == dnnl_success) result = backward_conv(problem, all, &backward);
    if (result == dnnl_success) result = dnnl_primitive_desc_create(&hint, &forward, NULL, engine, NULL);
    if (result != dnnl_success) return result;
    result = first_usable(&backward, attributes, engine, hint, anything, out);
    dnnl_primitive_desc_destroy(hint);
    return result;
}

static dnnl_status_t choose_implementation(const deft_onednn_problem *problem, const descriptors *all,
                                           dnnl_engine_t engine, dnnl_primitive_desc_t *out) {
    const dnnl_memory_desc_t *d = all->asked;
    dnnl_matmul_desc_t matmul;
    dnnl_convolution_desc_t conv;
    dnnl_pooling_v2_desc_t pool;
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_status_t result = make_attributes(problem, all, &attributes);
    if (result == dnnl_success) switch (problem->kind) {
        case DEFT_ONEDNN_MATMUL:
            result = dnnl_matmul_desc_init(&matmul, &d[DEFT_ONEDNN_X], &d[DEFT_ONEDNN_W],
                                           problem->has_bias ? &d[DEFT_ONEDNN_B] : NULL, &d[DEFT_ONEDNN_Y]);
            if (result == dnnl_success) result = first_usable(&matmul, attributes, engine, NULL, anything, out);
            break;
        case DEFT_ONEDNN_CONV:
            result = forward_conv(problem, all, kind_of_conv(problem), &conv);
            if (result == dnnl_success) result = first_usable(&conv, attributes, engine, NULL, wish_for(problem), out);
            break;
        case DEFT_ONEDNN_MAX_POOL:
        case DEFT_ONEDNN_AVERAGE_POOL:
            result = forward_pool(problem, all, &pool);
            if (result == dnnl_success) result = first_usable(&pool, attributes, engine, NULL, anything, out);
            break;
        default:
            result = choose_gradient(problem, all, attributes, engine, out);
        }
    if (attributes) dnnl_primitive_attr_destroy(attributes);
    return result;
}

/* oneDNN computes with sizes, and products of some, in 32 bits: past them it divides by zero. */
static bool fits_its_integers(const deft_onednn_problem *problem) {
    const int64_t most_of_axis = 1 << 24, most_of_plane = 1 << 30;
    const deft_window *w = &problem->window;
    if (problem->rows > most_of_plane || problem->columns > most_of_plane || problem->inner > most_of_plane)
        return false;
    if (w->batch > most_of_plane || w->channels > most_of_plane || w->filters > most_of_plane) return false;
    for (int i = 0; i < 2; i++)
        if (w->in[i] > most_of_axis || w->out[i] > most_of_axis || w->kernel[i] > most_of_axis ||
            w->stride[i] > most_of_axis || w->dilation[i] > most_of_axis || w->pad_begin[i] > most_of_axis ||
            w->pad_end[i] > most_of_axis)
            return false;
    return w->in[0] * w->in[1] <= most_of_plane && w->out[0] * w->out[1] <= most_of_plane;
}

/* What oneDNN computes a problem with. An implementation belongs to its engine. */
typedef struct found {
    dnnl_engine_t engine;
    dnnl_primitive_desc_t descriptor;
} found;

static void release_found(found *f) {
    if (f->descriptor) dnnl_primitive_desc_destroy(f->descriptor);
    if (f->engine) dnnl_engine_destroy(f->engine);
    *f = (found){0};
}

static dnnl_status_t find_implementation(const deft_onednn_problem *problem, found *f) {
    descriptors all;
    *f = (found){0};
    int before = deft_onednn_use_threads(problem->threads);
    dnnl_status_t result = dnnl_engine_create(&f->engine, dnnl_cpu, 0);
    if (result == dnnl_success) result = describe_problem(problem, &all);
    if (result == dnnl_success) result = choose_implementation(problem, &all, f->engine, &f->descriptor);
    deft_onednn_use_threads(before);
    if (result != dnnl_success) release_found(f);
    return result;
}

/* ---- what has been asked before ------------------------------------------------------------------------------ */

typedef struct answer {
    deft_onednn_problem problem; /* its key */
    uint64_t hash;
    bool supported;
    found found; /* until a primitive is made of it */
} answer;

struct deft_kernel_memo {
    deft_context *ctx;
    answer *answers;
    int count, capacity, searches;
};

deft_status deft_kernel_memo_new(deft_context *ctx, deft_kernel_memo **memo) {
    DEFT_TRY(deft_allocate_zeroed(ctx, 1, sizeof **memo, memo));
    (*memo)->ctx = ctx;
    return DEFT_OK;
}

void deft_kernel_memo_free(deft_kernel_memo *memo) {
    if (!memo) return;
    for (int i = 0; i < memo->count; i++)
        release_found(&memo->answers[i].found);
    deft_release(memo->ctx, memo->answers);
    deft_release(memo->ctx, memo);
}

int deft_kernel_memo_searches(const deft_kernel_memo *memo) {
    return memo->searches;
}

_Static_assert(sizeof(deft_onednn_problem) == sizeof(deft_window) + 2 * sizeof(void *) + 80, "it has padding");

/* The problem without what decides nothing. */
static deft_onednn_problem key_of(const deft_onednn_problem *problem, uint64_t *hash) {
    deft_onednn_problem key;
    memcpy(&key, problem, sizeof key);
    memset(&key.window, 0, offsetof(deft_window, batch));
    key.weight = NULL;
    key.packed = NULL;
    if (key.winograd && !key.has_residual) key.x_blocked = key.y_blocked = false; /* blocks inside all the same */
    const unsigned char *bytes = (const unsigned char *)&key;
    *hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < sizeof key; i++)
        *hash = (*hash ^ bytes[i]) * 0x100000001b3u;
    return key;
}

static answer *recall(const deft_kernel_memo *memo, const deft_onednn_problem *problem) {
    uint64_t hash;
    deft_onednn_problem key = key_of(problem, &hash);
    for (int i = 0; memo && i < memo->count; i++) {
        answer *a = &memo->answers[i];
        if (a->hash == hash && memcmp(&a->problem, &key, sizeof key) == 0) return a;
    }
    return NULL;
}

/* Takes what was found. An answer that there is no memory for is not kept. */
static void remember(deft_kernel_memo *memo, const deft_onednn_problem *problem, found *f) {
    if (memo && memo->count == memo->capacity) {
        int capacity = memo->capacity ? 2 * memo->capacity : 32;
        deft_status status = deft_reallocate(memo->ctx, (size_t)capacity * sizeof *memo->answers, &memo->answers);
        if (status == DEFT_OK) memo->capacity = capacity;
    }
    if (!memo || memo->count == memo->capacity) {
        release_found(f);
        return;
    }
    answer *a = &memo->answers[memo->count++];
    *a = (answer){.supported = f->descriptor != NULL, .found = *f};
    deft_onednn_problem key = key_of(problem, &a->hash);
    memcpy(&a->problem, &key, sizeof key);
}

bool deft_onednn_supports(deft_kernel_memo *memo, const deft_onednn_problem *problem) {
    found f;
    if (!fits_its_integers(problem)) return false;
    const answer *known = recall(memo, problem);
    if (known) return known->supported;
    if (memo) memo->searches++;
    bool supported = find_implementation(problem, &f) == dnnl_success;
    remember(memo, problem, &f);
    return supported;
}

/* Hands out what a question before has found. */
static dnnl_status_t take_implementation(deft_kernel_memo *memo, const deft_onednn_problem *problem, found *f) {
    answer *known = recall(memo, problem);
    if (known && known->found.descriptor) {
        *f = known->found;
        known->found = (found){0};
        return dnnl_success;
    }
    if (memo) memo->searches++;
    return find_implementation(problem, f);
}

/* ---- making one ---------------------------------------------------------------------------------------------- */

static size_t aligned(size_t bytes) {
    return (bytes + 63) / 64 * 64;
}

static dnnl_status_t make_reorder(dnnl_engine_t engine, const dnnl_memory_desc_t *from, const dnnl_memory_desc_t *to,
                                  dnnl_primitive_t *reorder) {
    dnnl_primitive_attr_t attributes;
    dnnl_primitive_desc_t descriptor;
    dnnl_status_t result = dnnl_primitive_attr_create(&attributes);
    if (result != dnnl_success) return result;
    result = dnnl_reorder_primitive_desc_create(&descriptor, from, engine, to, engine, attributes);
    dnnl_primitive_attr_destroy(attributes);
    if (result != dnnl_success) return result;
    result = dnnl_primitive_create(reorder, descriptor);
    dnnl_primitive_desc_destroy(descriptor);
    return result;
}

/* One thread reorders a small weight, once, in less time than it takes to start or wake the others. */
static int weight_threads(const deft_onednn *one) {
    static const size_t worth_a_team_bytes = 1 << 18;
    return one->weight_bytes < worth_a_team_bytes ? 1 : one->threads;
}

static dnnl_status_t make_weight_reorder(const deft_onednn *one, const dnnl_memory_desc_t *from,
                                         const dnnl_memory_desc_t *to, dnnl_primitive_t *reorder) {
    int before = deft_onednn_use_threads(weight_threads(one));
    dnnl_status_t result = make_reorder(one->engine, from, to, reorder);
    deft_onednn_use_threads(before);
    return result;
}

static dnnl_status_t make_operand(deft_onednn *one, const_dnnl_primitive_desc_t descriptor, deft_onednn_operand which,
                                  const dnnl_memory_desc_t *plain) {
    operand *o = &one->operands[which];
    const dnnl_memory_desc_t *wanted =
        dnnl_primitive_desc_query_md(descriptor, dnnl_query_exec_arg_md, arguments[one->kind][which]);
    bool output = results[one->kind] == which, constant = which == DEFT_ONEDNN_W && one->constant_weight;
    if (one->own_layouts && !constant) plain = wanted;
    o->bytes = dnnl_memory_desc_get_size(wanted);
    dnnl_status_t result = dnnl_memory_create(&o->plain, plain, one->engine, DNNL_MEMORY_NONE);
    if (result != dnnl_success) return result;
    if (dnnl_memory_desc_equal(wanted, plain)) {
        o->inner = o->plain;
        return dnnl_success;
    }
    result = dnnl_memory_create(&o->inner, wanted, one->engine, DNNL_MEMORY_NONE);
    if (result != dnnl_success) return result;
    if (constant) {
        one->weight_bytes = o->bytes;
        return make_weight_reorder(one, plain, wanted, &o->reorder);
    }
    o->scratch_offset = one->scratch_bytes;
    one->scratch_bytes += aligned(o->bytes);
    return output ? make_reorder(one->engine, wanted, plain, &o->reorder)
                  : make_reorder(one->engine, plain, wanted, &o->reorder);
}

static dnnl_status_t make_scratchpad(deft_onednn *one, const_dnnl_primitive_desc_t descriptor) {
    const dnnl_memory_desc_t *wanted = dnnl_primitive_desc_query_md(descriptor, dnnl_query_scratchpad_md, 0);
    one->scratchpad_offset = one->scratch_bytes;
    one->scratch_bytes += aligned(dnnl_memory_desc_get_size(wanted));
    return dnnl_memory_create(&one->scratchpad, wanted, one->engine, DNNL_MEMORY_NONE);
}

static dnnl_status_t make_residual(deft_onednn *one, const_dnnl_primitive_desc_t descriptor, const descriptors *all) {
    const dnnl_memory_desc_t *plain = &all->plain[DEFT_ONEDNN_Y];
    const operand *y = &one->operands[DEFT_ONEDNN_Y];
    dnnl_status_t result =
        dnnl_memory_create(&one->operands[DEFT_ONEDNN_R].plain, plain, one->engine, DNNL_MEMORY_NONE);
    if (result != dnnl_success || !y->reorder) return result;
    return make_reorder(one->engine, plain, dnnl_primitive_desc_query_md(descriptor, dnnl_query_dst_md, 0), &one->fill);
}

static dnnl_status_t make_primitive(const deft_onednn_problem *problem, dnnl_primitive_desc_t descriptor,
                                    deft_onednn *one) {
    descriptors all;
    dnnl_status_t result = dnnl_stream_create(&one->stream, one->engine, dnnl_stream_default_flags);
    if (result == dnnl_success) result = describe_problem(problem, &all);
    if (result == dnnl_success) result = dnnl_primitive_create(&one->primitive, descriptor);
    for (int i = 0; i < DEFT_ONEDNN_OPERANDS && result == dnnl_success; i++) {
        if (!arguments[one->kind][i] || (i == DEFT_ONEDNN_B && !problem->has_bias)) continue;
        const dnnl_memory_desc_t *plain = &all.plain[i];
        if (i == DEFT_ONEDNN_W && problem->packed)
            result = dnnl_memory_get_memory_desc(problem->packed->operands[i].inner, &plain);
        if (result == dnnl_success) result = make_operand(one, descriptor, (deft_onednn_operand)i, plain);
    }
    if (result == dnnl_success) result = make_scratchpad(one, descriptor);
    if (result == dnnl_success && problem->has_residual) result = make_residual(one, descriptor, &all);
    return result;
}

static dnnl_status_t find_and_make(deft_kernel_memo *memo, const deft_onednn_problem *problem, deft_onednn *one) {
    found f;
    dnnl_status_t result = take_implementation(memo, problem, &f);
    if (result != dnnl_success) return result;
    one->engine = f.engine;
    result = make_primitive(problem, f.descriptor, one);
    dnnl_primitive_desc_destroy(f.descriptor);
    return result;
}

/* Tells a memory object where its data is. Setting an address makes oneDNN clear the padding of blocked layouts, so
 * it is set only when it changes. */
static dnnl_status_t set_address(dnnl_memory_t memory, const void *address) {
    void *before = NULL;
    dnnl_status_t result = dnnl_memory_get_data_handle(memory, &before);
    if (result != dnnl_success || before == address) return result;
    return dnnl_memory_set_data_handle(memory, (void *)address);
}

static dnnl_status_t reorder(const deft_onednn *one, const operand *o, bool output) {
    dnnl_exec_arg_t pair[] = {{DNNL_ARG_FROM, output ? o->inner : o->plain},
                              {DNNL_ARG_TO, output ? o->plain : o->inner}};
    return dnnl_primitive_execute(o->reorder, one->stream, 2, pair);
}

/* Reorders a constant weight once, into memory of its own. */
static deft_status pack_weight(deft_context *ctx, deft_onednn *one, const deft_onednn_problem *problem) {
    operand *o = &one->operands[DEFT_ONEDNN_W];
    void *weight = (void *)problem->weight;
    if (problem->packed)
        DEFT_TRY(deft_onednn_check(ctx,
                                   dnnl_memory_get_data_handle(problem->packed->operands[DEFT_ONEDNN_W].inner, &weight),
                                   "find the weights"));
    DEFT_TRY(deft_onednn_check(ctx, set_address(o->plain, weight), "take the weights"));
    if (!o->reorder) return DEFT_OK;
    DEFT_TRY(deft_allocate(ctx, one->weight_bytes, &one->weight));
    DEFT_TRY(deft_onednn_check(ctx, set_address(o->inner, one->weight), "take the weights"));
    int before = deft_onednn_use_threads(weight_threads(one));
    dnnl_status_t result = reorder(one, o, false);
    deft_onednn_use_threads(before);
    DEFT_TRY(deft_onednn_check(ctx, result, "reorder the weights"));
    dnnl_primitive_destroy(o->reorder); /* and its memory: of Winograd's, as much as the weights that it makes */
    o->reorder = NULL;
    return DEFT_OK;
}

deft_status deft_onednn_new(deft_context *ctx, deft_kernel_memo *memo, const deft_onednn_problem *problem,
                            deft_onednn **primitive) {
    deft_onednn *one;
    DEFT_TRY(deft_allocate_zeroed(ctx, 1, sizeof *one, &one));
    one->threads = problem->threads;
    one->kind = problem->kind;
    one->constant_weight = problem->weight || problem->packed;
    one->own_layouts = problem->own_layouts;
    one->has_residual = problem->has_residual;
    one->reads_residual = reads_residual(problem);
    int before = deft_onednn_use_threads(one->threads);
    deft_status status = deft_onednn_check(ctx, find_and_make(memo, problem, one), "make a primitive");
    if (status == DEFT_OK && one->constant_weight) status = pack_weight(ctx, one, problem);
    deft_onednn_use_threads(before);
    if (status != DEFT_OK) {
        deft_onednn_free(ctx, one);
        return status;
    }
    const_dnnl_primitive_desc_t descriptor;
    one->implementation = "";
    if (dnnl_primitive_get_primitive_desc(one->primitive, &descriptor) == dnnl_success)
        dnnl_primitive_desc_query(descriptor, dnnl_query_impl_info_str, 0, &one->implementation);
    *primitive = one;
    return DEFT_OK;
}

void deft_onednn_free(deft_context *ctx, deft_onednn *one) {
    if (!one) return;
    for (int i = 0; i < DEFT_ONEDNN_OPERANDS; i++) {
        operand *o = &one->operands[i];
        if (o->reorder) dnnl_primitive_destroy(o->reorder);
        if (o->inner && o->inner != o->plain) dnnl_memory_destroy(o->inner);
        if (o->plain) dnnl_memory_destroy(o->plain);
    }
    if (one->fill) dnnl_primitive_destroy(one->fill);
    if (one->scratchpad) dnnl_memory_destroy(one->scratchpad);
    if (one->primitive) dnnl_primitive_destroy(one->primitive);
    if (one->stream) dnnl_stream_destroy(one->stream);
    if (one->engine) dnnl_engine_destroy(one->engine);
    deft_release(ctx, one->weight);
    deft_release(ctx, one);
}

size_t deft_onednn_scratch_bytes(const deft_onednn *one) {
    return one->scratch_bytes;
}

size_t deft_onednn_operand_bytes(const deft_onednn *one, deft_onednn_operand which) {
    return one->operands[which].bytes;
}

size_t deft_onednn_weight_bytes(const deft_onednn *one) {
    return one->weight_bytes;
}

bool deft_onednn_has_exact_weight(const deft_onednn *one) {
    const dnnl_memory_desc_t *inner;
    bool known = dnnl_memory_get_memory_desc(one->operands[DEFT_ONEDNN_W].inner, &inner) == dnnl_success;
    return one->weight && known && inner->format_kind == dnnl_blocked;
}

const char *deft_onednn_implementation(const deft_onednn *one) {
    return one->implementation;
}

/* ---- running ------------------------------------------------------------------------------------------------- */

/* Places the operand in this run's memory; inputs are brought into the layout that the primitive wants. */
static dnnl_status_t place(const deft_onednn *one, deft_onednn_operand which, const void *data, char *scratch) {
    const operand *o = &one->operands[which];
    dnnl_status_t result = set_address(o->plain, data);
    if (result != dnnl_success || !o->reorder) return result;
    result = set_address(o->inner, scratch + o->scratch_offset);
    if (result != dnnl_success || results[one->kind] == which) return result;
    return reorder(one, o, false);
}

static dnnl_status_t place_residual(const deft_onednn *one, const void *residual, const void *y) {
    const operand *r = &one->operands[DEFT_ONEDNN_R], *result = &one->operands[DEFT_ONEDNN_Y];
    dnnl_exec_arg_t pair[] = {{DNNL_ARG_FROM, r->plain}, {DNNL_ARG_TO, result->inner}};
    if (one->reads_residual) return set_address(r->plain, residual);
    if (one->fill) {
        dnnl_status_t placed = set_address(r->plain, residual);
        return placed == dnnl_success ? dnnl_primitive_execute(one->fill, one->stream, 2, pair) : placed;
    }
    memcpy((void *)y, residual, result->bytes);
    return dnnl_success;
}

static dnnl_status_t execute(const deft_onednn *one, const void *const *operands, char *scratch) {
    dnnl_exec_arg_t list[DEFT_ONEDNN_OPERANDS + 1];
    int count = 0;
    for (int i = 0; i < DEFT_ONEDNN_OPERANDS; i++) {
        const operand *o = &one->operands[i];
        if (!o->plain || i == DEFT_ONEDNN_R) continue;
        list[count++] = (dnnl_exec_arg_t){arguments[one->kind][i], o->inner};
        if (i == DEFT_ONEDNN_W && one->constant_weight) continue;
        dnnl_status_t placed = place(one, (deft_onednn_operand)i, operands[i], scratch);
        if (placed != dnnl_success) return placed;
    }
    if (one->has_residual) {
        dnnl_status_t placed = place_residual(one, operands[DEFT_ONEDNN_R], operands[DEFT_ONEDNN_Y]);
        if (placed != dnnl_success) return placed;
    }
    if (one->reads_residual)
        list[count++] =
            (dnnl_exec_arg_t){DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1, one->operands[DEFT_ONEDNN_R].plain};
    dnnl_status_t result = set_address(one->scratchpad, scratch + one->scratchpad_offset);
    list[count++] = (dnnl_exec_arg_t){DNNL_ARG_SCRATCHPAD, one->scratchpad};
    if (result == dnnl_success) result = dnnl_primitive_execute(one->primitive, one->stream, count, list);
    const operand *o = &one->operands[results[one->kind]];
    if (result == dnnl_success && o->reorder) result = reorder(one, o, true);
    return result;
}

deft_status deft_onednn_run(deft_context *ctx, const deft_onednn *one, const void *const operands[DEFT_ONEDNN_OPERANDS],
                            void *scratch) {
    int before = deft_onednn_use_threads(one->threads);
    dnnl_status_t result = execute(one, operands, scratch);
    deft_onednn_use_threads(before);
    return deft_onednn_check(ctx, result, "run a primitive");
}
