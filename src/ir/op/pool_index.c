/* MaxPool with positions, and MaxUnpool, which puts values back there. */
#include "ir/op/pool_index.h"

#include "ir/op/element.h"
#include "ir/op/emit.h"
#include "ir/op/rule.h"
#include "ir/op/window.h"

/* Of which output, and its plane. */
typedef struct place {
    int64_t plane, at[3]; /* by axis, as in deft_window */
} place;

static place place_of(const int64_t size[3], int64_t i) {
    int64_t area = size[0] * size[1], volume = area * size[2];
    return (place){i / volume, {i % area / size[1], i % size[1], i % volume / area}};
}

/* Of equals the first is greater, and NaN than every number. */
static bool is_greater(const deft_tensor *x, int64_t i, int64_t best) {
    int order = deft_element_order(x, i, x, best);
    return order == 1 || (order == 2 && isnan(deft_element_real(x, i)) && !isnan(deft_element_real(x, best)));
}

/* The element of x where the window of an output has its maximum; -1 where it has none. */
static int64_t find_maximum(const deft_tensor *x, const deft_window *w, const place *out) {
    int64_t first[3], past[3], start[3], best = -1;
    for (int axis = 0; axis < 3; axis++) {
        deft_window_taps(w, axis, out->at[axis], &first[axis], &past[axis]);
        start[axis] = out->at[axis] * w->stride[axis] - w->pad_begin[axis];
    }
    for (int64_t kz = first[2]; kz < past[2]; kz++)
        for (int64_t ky = first[0]; ky < past[0]; ky++) {
            int64_t z = start[2] + kz * w->dilation[2], y = start[0] + ky * w->dilation[0];
            int64_t row = ((out->plane * w->in[2] + z) * w->in[0] + y) * w->in[1] + start[1];
            for (int64_t kx = first[1]; kx < past[1]; kx++) {
                int64_t i = row + kx * w->dilation[1];
                if (best < 0 || is_greater(x, i, best)) best = i;
            }
        }
    return best;
}

/* The same element, counted with the first spatial dimension running fastest. */
static int64_t by_columns(const deft_window *w, int64_t i) {
    if (i < 0) return i;
    place p = place_of(w->in, i);
    int64_t within = (p.at[1] * w->in[0] + p.at[0]) * w->in[2] + p.at[2];
    return p.plane * w->in[0] * w->in[1] * w->in[2] + within;
}

static void set_least(deft_tensor *y, int64_t i) {
    bool is_signed = deft_rule_types(y->dtype) == DEFT_TYPES_SIGNED;
    if (deft_dtype_is_float(y->dtype))
        deft_element_set_real(y, i, -INFINITY);
    else
        deft_element_set_integer(y, i, is_signed ? -1 - (INT64_MAX >> (64 - 8 * deft_dtype_bytes(y->dtype))) : 0);
}

deft_status deft_pool_max_indexed(const deft_op_call *call) {
    deft_window w;
    DEFT_TRY(deft_window_of_pool_volume(call, call->in[0], &w));
    const deft_tensor *x = call->in[0];
    deft_tensor *y = call->out[0], *indices = deft_rule_out(call, 1);
    bool columns = deft_attr_int(call->attrs, "storage_order", 0) != 0;
    int64_t count = deft_tensor_count(y);
    int threads = deft_rule_threads(call, count);
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < count; i++) {
        place out = place_of(w.out, i);
        int64_t best = find_maximum(x, &w, &out);
        if (best < 0)
            set_least(y, i);
        else
            deft_element_copy(x, best, y, i);
        if (indices) ((int64_t *)indices->data)[i] = columns ? by_columns(&w, best) : best;
    }
    return DEFT_OK;
}

/* ---- MaxUnpool ----------------------------------------------------------------------------------------------- */

/* Reads `count` numbers in [low, 2^31), `fallback` where the attribute is not there. */
static deft_status read_numbers(const deft_op_call *call, const char *name, int count, int64_t low, int64_t fallback,
                                int64_t *out) {
    int found = deft_attr_ints(call->attrs, name, out, count);
    for (int i = 0; found == 0 && i < count; i++)
        out[i] = fallback;
    if (found != 0 && found != count)
        return deft_rule_fail(call, DEFT_INVALID, "%s must have %d entries, got %d", name, count, found);
    for (int i = 0; i < count; i++)
        if (out[i] < low || out[i] > INT32_MAX)
            return deft_rule_fail(call, DEFT_INVALID, "%s[%d] is %lld, which is no size", name, i, (long long)out[i]);
    return DEFT_OK;
}

/* What was pooled, as the positions count it: the input in shape and type, but for the spatial dimensions. */
static deft_status find_unpooled(const deft_op_call *call, deft_tensor *pooled) {
    int64_t kernel[DEFT_MAX_RANK], stride[DEFT_MAX_RANK], pads[2 * DEFT_MAX_RANK];
    *pooled = *call->in[0];
    int spatial = pooled->rank - 2;
    DEFT_TRY(read_numbers(call, "kernel_shape", spatial, 1, 0, kernel));
    DEFT_TRY(read_numbers(call, "strides", spatial, 1, 1, stride));
    DEFT_TRY(read_numbers(call, "pads", 2 * spatial, 0, 0, pads));
    for (int i = 0; i < spatial; i++) {
        int64_t *dim = &pooled->dims[2 + i];
        if (*dim < 1 || *dim > INT32_MAX)
            return deft_rule_fail(call, DEFT_INVALID, "dimension %d is %lld", 2 + i, (long long)*dim);
        *dim = (*dim - 1) * stride[i] + kernel[i] - pads[i] - pads[spatial + i];
        if (*dim < 1) return deft_rule_fail(call, DEFT_INVALID, "the pads leave nothing of dimension %d", 2 + i);
    }
    return deft_shape_valid(pooled->dtype, pooled->rank, pooled->dims)
               ? DEFT_OK
               : deft_rule_fail(call, DEFT_INVALID, "what was pooled is larger than memory can hold");
}

deft_status deft_shape_max_unpool(const deft_op_call *call) {
    const deft_tensor *x = call->in[0], *indices = call->in[1];
    deft_tensor pooled, out;
    int count;
    DEFT_TRY(deft_rule_require_types(call, 0, 0, DEFT_TYPES_NUMBER));
    DEFT_TRY(deft_rule_require_rank(call, 0, 3, false));
    if (indices->dtype != DEFT_I64 || !deft_shape_equal(x, indices))
        return deft_rule_fail(call, DEFT_INVALID, "input 1 must be i64, an index for each value of input 0");
    DEFT_TRY(find_unpooled(call, &pooled));
    out = pooled;
    if (deft_rule_in(call, 2)) {
        DEFT_TRY(deft_rule_read_integers(call, 2, "output_shape", out.dims, DEFT_MAX_RANK, &count));
        bool larger = count == x->rank;
        for (int i = 0; larger && i < count; i++)
            larger = i < 2 ? out.dims[i] == x->dims[i] : out.dims[i] >= pooled.dims[i];
        if (!larger)
            return deft_rule_fail(call, DEFT_INVALID,
                                  "output_shape must be what was pooled, or larger in its pictures");
    }
    return deft_rule_set_out_like(call, 0, &out);
}

deft_status deft_forward_max_unpool(const deft_op_call *call) {
    const deft_tensor *x = call->in[0];
    const int64_t *indices = call->in[1]->data;
    deft_tensor pooled, *y = call->out[0];
    int64_t strides[DEFT_MAX_RANK];
    DEFT_TRY(find_unpooled(call, &pooled));
    deft_rule_strides(y, strides);
    memset(y->data, 0, deft_tensor_bytes(y));
    for (int64_t i = 0; i < deft_tensor_count(x); i++) {
        int64_t rest = indices[i], at = 0;
        if (rest < 0 || rest >= deft_tensor_count(&pooled))
            return deft_rule_fail(call, DEFT_INVALID, "index %lld is outside of what was pooled, %lld elements",
                                  (long long)rest, (long long)deft_tensor_count(&pooled));
        for (int dim = x->rank - 1; dim >= 0; dim--) {
            at += rest % pooled.dims[dim] * strides[dim];
            rest /= pooled.dims[dim];
        }
        deft_element_copy(x, i, y, at);
    }
    return DEFT_OK;
}

/* dy at the indices, which count the elements of what was pooled. Where an index is there twice, as windows that
 * overlap make it, both have it. */
deft_status deft_gradient_max_unpool(deft_gradient *gradient) {
    deft_op_call call = deft_gradient_call(gradient);
    deft_tensor pooled;
    int dy = gradient->out_grad[0];
    const int64_t flat = -1;
    DEFT_TRY(find_unpooled(&call, &pooled));
    for (int i = 2; i < pooled.rank; i++)
        if (gradient->out_desc[0]->dims[i] > pooled.dims[i])
            DEFT_TRY(deft_emit_slice(gradient, dy, i, 0, pooled.dims[i], &dy));
    DEFT_TRY(deft_emit_reshaped(gradient, dy, 1, &flat, &dy));
    return deft_emit(gradient, DEFT_OP_GATHER, &gradient->in_grad[0], 2, dy, gradient->in[1]);
}
