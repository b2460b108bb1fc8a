/* Elements chosen by index, and put by index: the Gather and Scatter families. Any type; indices are i32 or i64,
 * negative ones count from the end, and one outside of its dimension is refused when the model runs. */
#include "ir/op/element.h"
#include "ir/op/rule.h"

#include <string.h>

static deft_status fail_index(const deft_op_call *call, int64_t index, int64_t size) {
    return deft_rule_fail(call, DEFT_INVALID, "index %lld is outside of a dimension of %lld", (long long)index,
                          (long long)size);
}

/* The i-th index as one in [0, size); -1 where it is outside. */
static inline int64_t index_at(const deft_tensor *indices, int64_t i, int64_t size) {
    int64_t index = deft_element_integer(indices, i);
    if (index < 0) index = index < -size ? -1 : index + size;
    return index < size ? index : -1;
}

static deft_status read_axis(const deft_op_call *call, int *axis) {
    return deft_rule_axis(call, deft_attr_int(call->attrs, "axis", 0), call->in[0]->rank, axis);
}

/* ---- Gather ---- */

deft_status deft_shape_gather(const deft_op_call *call) {
    const deft_tensor *x = call->in[0], *indices = call->in[1];
    int64_t dims[2 * DEFT_MAX_RANK];
    int axis, rank = 0;
    DEFT_TRY(deft_rule_require_index(call, 1));
    DEFT_TRY(read_axis(call, &axis));
    for (int i = 0; i < axis; i++)
        dims[rank++] = x->dims[i];
    for (int i = 0; i < indices->rank; i++)
        dims[rank++] = indices->dims[i];
    for (int i = axis + 1; i < x->rank; i++)
        dims[rank++] = x->dims[i];
    return deft_rule_set_out(call, 0, x->dtype, rank, dims);
}

deft_status deft_forward_gather(const deft_op_call *call) {
    const deft_tensor *x = call->in[0], *indices = call->in[1];
    int axis;
    DEFT_TRY(read_axis(call, &axis));
    deft_lines lines = deft_rule_lines(x, axis);
    size_t bytes = (size_t)lines.inner * deft_dtype_bytes(x->dtype);
    int64_t count = deft_tensor_count(indices);
    char *to = call->out[0]->data;
    for (int64_t outer = 0; outer < lines.outer; outer++)
        for (int64_t i = 0; i < count; i++, to += bytes) {
            int64_t index = index_at(indices, i, lines.length);
            if (index < 0) return fail_index(call, deft_element_integer(indices, i), lines.length);
            memcpy(to, (const char *)x->data + (size_t)(outer * lines.length + index) * bytes, bytes);
        }
    return DEFT_OK;
}

/* ---- GatherElements, ScatterElements, Scatter ---- */

/* input `i` must have the rank of input 0, and be no larger in any dimension but the axis. */
static deft_status require_within(const deft_op_call *call, int i, int axis) {
    const deft_tensor *x = call->in[0], *in = call->in[i];
    bool fits = in->rank == x->rank;
    for (int dim = 0; fits && dim < x->rank; dim++)
        fits = dim == axis || in->dims[dim] <= x->dims[dim];
    char text[DEFT_SHAPE_TEXT_BYTES], x_text[DEFT_SHAPE_TEXT_BYTES];
    if (fits) return DEFT_OK;
    return deft_rule_fail(call, DEFT_INVALID, "input %d of shape %s does not fit in %s", i,
                          deft_shape_text(in, text, sizeof text), deft_shape_text(x, x_text, sizeof x_text));
}

/* Where element i of `indices`, taken as an index along `axis`, points to in a tensor of x's shape; -1 where outside.
 */
static int64_t element_target(const deft_tensor *x, const deft_tensor *indices, int64_t i, int axis) {
    int64_t rest = i, offset = 0, stride = 1, chosen = index_at(indices, i, x->dims[axis]);
    if (chosen < 0) return -1;
    for (int dim = x->rank - 1; dim >= 0; dim--) {
        int64_t at = rest % indices->dims[dim];
        rest /= indices->dims[dim];
        offset += (dim == axis ? chosen : at) * stride;
        stride *= x->dims[dim];
    }
    return offset;
}

deft_status deft_shape_gather_elements(const deft_op_call *call) {
    int axis;
    DEFT_TRY(deft_rule_require_index(call, 1));
    DEFT_TRY(read_axis(call, &axis));
    DEFT_TRY(require_within(call, 1, axis));
    return deft_rule_set_out(call, 0, call->in[0]->dtype, call->in[1]->rank, call->in[1]->dims);
}

deft_status deft_forward_gather_elements(const deft_op_call *call) {
    const deft_tensor *x = call->in[0], *indices = call->in[1];
    int axis;
    DEFT_TRY(read_axis(call, &axis));
    for (int64_t i = 0; i < deft_tensor_count(indices); i++) {
        int64_t from = element_target(x, indices, i, axis);
        if (from < 0) return fail_index(call, deft_element_integer(indices, i), x->dims[axis]);
        deft_element_copy(x, from, call->out[0], i);
    }
    return DEFT_OK;
}

typedef enum reduction { REDUCE_NONE, REDUCE_ADD, REDUCE_MUL, REDUCE_MAX, REDUCE_MIN, REDUCTIONS } reduction;

static deft_status read_reduction(const deft_op_call *call, reduction *out) {
    static const char *const names[] = {"none", "add", "mul", "max", "min"};
    const char *name = deft_attr_string(call->attrs, "reduction", "none");
    for (int i = 0; i < REDUCTIONS; i++) {
        if (strcmp(name, names[i]) != 0) continue;
        *out = (reduction)i;
        if (i > 0) return deft_rule_require_types(call, 0, 0, DEFT_TYPES_NUMBER);
        return DEFT_OK;
    }
    return deft_rule_fail(call, DEFT_INVALID, "the reduction '%.32s' is none of none, add, mul, max, min", name);
}

static double combine_reals(reduction how, double a, double b) {
    switch (how) {
    case REDUCE_ADD:
        return a + b;
    case REDUCE_MUL:
        return a * b;
    case REDUCE_MAX:
        return b > a ? b : a;
    default:
        return b < a ? b : a;
    }
}

static int64_t combine_integers(reduction how, bool is_unsigned, int64_t a, int64_t b) {
    bool less = is_unsigned ? (uint64_t)b < (uint64_t)a : b < a;
    switch (how) {
    case REDUCE_ADD:
        return (int64_t)((uint64_t)a + (uint64_t)b);
    case REDUCE_MUL:
        return (int64_t)((uint64_t)a * (uint64_t)b);
    case REDUCE_MAX:
        return less ? a : b;
    default:
        return less ? b : a;
    }
}

static void put_element(reduction how, const deft_tensor *updates, int64_t from, deft_tensor *y, int64_t to) {
    if (how == REDUCE_NONE)
        deft_element_copy(updates, from, y, to);
    else if (deft_dtype_is_float(y->dtype))
        deft_element_set_real(y, to, combine_reals(how, deft_element_real(y, to), deft_element_real(updates, from)));
    else
        deft_element_set_integer(y, to,
                                 combine_integers(how, y->dtype == DEFT_U64, deft_element_integer(y, to),
                                                  deft_element_integer(updates, from)));
}

/* (x, indices, updates): updates of x's type. */
static deft_status require_updates(const deft_op_call *call) {
    reduction how;
    DEFT_TRY(deft_rule_require_index(call, 1));
    DEFT_TRY(read_reduction(call, &how));
    if (call->in[2]->dtype == call->in[0]->dtype) return DEFT_OK;
    return deft_rule_fail(call, DEFT_INVALID, "the updates are %s, the tensor is %s",
                          deft_dtype_name(call->in[2]->dtype), deft_dtype_name(call->in[0]->dtype));
}

deft_status deft_shape_scatter_elements(const deft_op_call *call) {
    int axis;
    DEFT_TRY(require_updates(call));
    DEFT_TRY(read_axis(call, &axis));
    DEFT_TRY(require_within(call, 1, axis));
    deft_tensor expected = *call->in[1];
    expected.dtype = call->in[0]->dtype;
    DEFT_TRY(deft_rule_require_shape(call, 2, &expected, "of the shape of the indices,"));
    return deft_rule_set_out_like(call, 0, call->in[0]);
}

deft_status deft_forward_scatter_elements(const deft_op_call *call) {
    const deft_tensor *x = call->in[0], *indices = call->in[1];
    int axis;
    reduction how;
    DEFT_TRY(read_axis(call, &axis));
    DEFT_TRY(read_reduction(call, &how));
    DEFT_TRY(deft_forward_copy(call));
    for (int64_t i = 0; i < deft_tensor_count(indices); i++) {
        int64_t to = element_target(x, indices, i, axis);
        if (to < 0) return fail_index(call, deft_element_integer(indices, i), x->dims[axis]);
        put_element(how, call->in[2], i, call->out[0], to);
    }
    return DEFT_OK;
}

/* ---- GatherND, ScatterND ---- */

/* Rows of indices [..., depth], each of which points to a piece of x, past its first `batch` + depth dimensions. */
typedef struct pieces {
    int64_t rows, depth, length; /* of indices; of a piece */
    int64_t rows_per_batch, batch_length;
} pieces;

static deft_status find_pieces(const deft_op_call *call, int batch, pieces *out) {
    const deft_tensor *x = call->in[0], *indices = call->in[1];
    char x_text[DEFT_SHAPE_TEXT_BYTES], text[DEFT_SHAPE_TEXT_BYTES];
    int last = indices->rank - 1;
    bool fits = indices->rank >= 1 && batch >= 0 && batch <= last && batch < x->rank &&
                indices->dims[last] <= x->rank - batch && indices->dims[last] > 0;
    for (int i = 0; fits && i < batch; i++)
        fits = x->dims[i] == indices->dims[i];
    if (!fits)
        return deft_rule_fail(call, DEFT_INVALID, "indices of shape %s do not point into %s",
                              deft_shape_text(indices, text, sizeof text), deft_shape_text(x, x_text, sizeof x_text));
    out->depth = indices->dims[last];
    out->rows = deft_rule_product(indices->dims, 0, last);
    out->length = deft_rule_product(x->dims, batch + (int)out->depth, x->rank);
    out->rows_per_batch = deft_rule_product(indices->dims, batch, last);
    out->batch_length = deft_rule_product(x->dims, batch, x->rank);
    return DEFT_OK;
}

/* The first element of the piece that a row points to. */
static deft_status find_piece(const deft_op_call *call, const pieces *all, int batch, int64_t row, int64_t *offset) {
    const deft_tensor *x = call->in[0], *indices = call->in[1];
    int64_t at = 0;
    for (int64_t i = 0; i < all->depth; i++) {
        int64_t size = x->dims[batch + i], index = index_at(indices, row * all->depth + i, size);
        if (index < 0) return fail_index(call, deft_element_integer(indices, row * all->depth + i), size);
        at = at * size + index;
    }
    *offset = row / all->rows_per_batch * all->batch_length + at * all->length;
    return DEFT_OK;
}

static int read_batch(const deft_op_call *call) {
    int64_t batch = deft_attr_int(call->attrs, "batch_dims", 0);
    return batch < 0 || batch > DEFT_MAX_RANK ? -1 : (int)batch;
}

deft_status deft_shape_gather_nd(const deft_op_call *call) {
    const deft_tensor *x = call->in[0], *indices = call->in[1];
    int64_t dims[2 * DEFT_MAX_RANK];
    int rank = 0, batch = read_batch(call);
    pieces all;
    DEFT_TRY(deft_rule_require_index(call, 1));
    DEFT_TRY(find_pieces(call, batch, &all));
    for (int i = 0; i < indices->rank - 1; i++)
        dims[rank++] = indices->dims[i];
    for (int i = batch + (int)all.depth; i < x->rank; i++)
        dims[rank++] = x->dims[i];
    return deft_rule_set_out(call, 0, x->dtype, rank, dims);
}

deft_status deft_forward_gather_nd(const deft_op_call *call) {
    int batch = read_batch(call);
    pieces all;
    DEFT_TRY(find_pieces(call, batch, &all));
    size_t element = deft_dtype_bytes(call->in[0]->dtype), bytes = (size_t)all.length * element;
    for (int64_t row = 0; row < all.rows; row++) {
        int64_t offset;
        DEFT_TRY(find_piece(call, &all, batch, row, &offset));
        memcpy((char *)call->out[0]->data + (size_t)row * bytes,
               (const char *)call->in[0]->data + (size_t)offset * element, bytes);
    }
    return DEFT_OK;
}

deft_status deft_shape_scatter_nd(const deft_op_call *call) {
    const deft_tensor *x = call->in[0], *indices = call->in[1];
    deft_tensor expected = {.dtype = x->dtype};
    pieces all;
    DEFT_TRY(require_updates(call));
    DEFT_TRY(find_pieces(call, 0, &all));
    if (indices->rank - 1 + x->rank - all.depth > DEFT_MAX_RANK)
        return deft_rule_fail(call, DEFT_UNSUPPORTED, "updates of more than %d dimensions", DEFT_MAX_RANK);
    for (int i = 0; i < indices->rank - 1; i++)
        expected.dims[expected.rank++] = indices->dims[i];
    for (int i = (int)all.depth; i < x->rank; i++)
        expected.dims[expected.rank++] = x->dims[i];
    DEFT_TRY(deft_rule_require_shape(call, 2, &expected, "of the pieces' shape,"));
    return deft_rule_set_out_like(call, 0, x);
}

deft_status deft_forward_scatter_nd(const deft_op_call *call) {
    pieces all;
    reduction how;
    DEFT_TRY(find_pieces(call, 0, &all));
    DEFT_TRY(read_reduction(call, &how));
    DEFT_TRY(deft_forward_copy(call));
    for (int64_t row = 0; row < all.rows; row++) {
        int64_t offset;
        DEFT_TRY(find_piece(call, &all, 0, row, &offset));
        for (int64_t i = 0; i < all.length; i++)
            put_element(how, call->in[2], row * all.length + i, call->out[0], offset + i);
    }
    return DEFT_OK;
}

/* ---- Compress, ReverseSequence ---- */

/* The slices along an axis (or, without one, the elements) whose condition holds. */
static deft_status read_compress(const deft_op_call *call, deft_lines *lines, int *axis) {
    const deft_tensor *x = call->in[0];
    *axis = -1;
    *lines = (deft_lines){1, deft_tensor_count(x), 1};
    if (!deft_attr_find(call->attrs, "axis")) return DEFT_OK;
    DEFT_TRY(read_axis(call, axis));
    *lines = deft_rule_lines(x, *axis);
    return DEFT_OK;
}

deft_status deft_shape_compress(const deft_op_call *call) {
    const deft_tensor *condition = call->in[1];
    deft_tensor out = *call->in[0];
    deft_lines lines;
    int axis;
    int64_t kept = 0;
    DEFT_TRY(deft_rule_require_types(call, 1, 1, DEFT_TYPES_BOOL));
    DEFT_TRY(deft_rule_require_rank(call, 1, 1, true));
    DEFT_TRY(deft_rule_require_known(call, 1, "the condition"));
    DEFT_TRY(read_compress(call, &lines, &axis));
    if (condition->dims[0] > lines.length)
        return deft_rule_fail(call, DEFT_INVALID, "%lld conditions for %lld slices", (long long)condition->dims[0],
                              (long long)lines.length);
    for (int64_t i = 0; i < condition->dims[0]; i++)
        kept += deft_element_integer(condition, i) != 0;
    if (axis < 0) return deft_rule_set_out(call, 0, out.dtype, 1, &kept);
    out.dims[axis] = kept;
    return deft_rule_set_out_like(call, 0, &out);
}

deft_status deft_forward_compress(const deft_op_call *call) {
    const deft_tensor *x = call->in[0], *condition = call->in[1];
    deft_lines lines;
    int axis;
    DEFT_TRY(read_compress(call, &lines, &axis));
    size_t bytes = (size_t)lines.inner * deft_dtype_bytes(x->dtype);
    char *to = call->out[0]->data;
    for (int64_t outer = 0; outer < lines.outer; outer++)
        for (int64_t i = 0; i < condition->dims[0]; i++) {
            if (deft_element_integer(condition, i) == 0) continue;
            memcpy(to, (const char *)x->data + (size_t)(outer * lines.length + i) * bytes, bytes);
            to += bytes;
        }
    return DEFT_OK;
}

static deft_status read_sequence_axes(const deft_op_call *call, bool *time_first) {
    int64_t time = deft_attr_int(call->attrs, "time_axis", 0), batch = deft_attr_int(call->attrs, "batch_axis", 1);
    *time_first = time == 0;
    if (time + batch == 1 && (time == 0 || batch == 0)) return DEFT_OK;
    return deft_rule_fail(call, DEFT_INVALID, "time_axis and batch_axis must be 0 and 1, or 1 and 0");
}

deft_status deft_shape_reverse_sequence(const deft_op_call *call) {
    const deft_tensor *x = call->in[0];
    bool time_first;
    DEFT_TRY(deft_rule_require_rank(call, 0, 2, false));
    DEFT_TRY(deft_rule_require_index(call, 1));
    DEFT_TRY(read_sequence_axes(call, &time_first));
    deft_tensor expected = {.dtype = call->in[1]->dtype, .rank = 1, .dims = {x->dims[time_first ? 1 : 0]}};
    DEFT_TRY(deft_rule_require_shape(call, 1, &expected, "a length for each sequence,"));
    return deft_rule_set_out_like(call, 0, x);
}

deft_status deft_forward_reverse_sequence(const deft_op_call *call) {
    const deft_tensor *x = call->in[0];
    bool time_first;
    DEFT_TRY(read_sequence_axes(call, &time_first));
    size_t bytes = (size_t)deft_rule_product(x->dims, 2, x->rank) * deft_dtype_bytes(x->dtype);
    int64_t steps = x->dims[time_first ? 0 : 1], sequences = x->dims[time_first ? 1 : 0];
    for (int64_t sequence = 0; sequence < sequences; sequence++) {
        int64_t length = deft_element_integer(call->in[1], sequence);
        if (length < 0 || length > steps) return fail_index(call, length, steps);
        for (int64_t step = 0; step < steps; step++) {
            int64_t other = step < length ? length - 1 - step : step;
            int64_t to = time_first ? step * sequences + sequence : sequence * steps + step;
            int64_t from = time_first ? other * sequences + sequence : sequence * steps + other;
            memcpy((char *)call->out[0]->data + (size_t)to * bytes, (const char *)x->data + (size_t)from * bytes,
                   bytes);
        }
    }
    return DEFT_OK;
}
