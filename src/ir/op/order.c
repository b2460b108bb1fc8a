/* Along one axis: the position of the largest or smallest (ArgMax, ArgMin), the k best (TopK), running sums (CumSum).
 */
#include "ir/op/element.h"
#include "ir/op/rule.h"

/* ---- ArgMax, ArgMin ---- */

static deft_status read_axis(const deft_op_call *call, int64_t fallback, int *axis) {
    return deft_rule_axis(call, deft_attr_int(call->attrs, "axis", fallback), call->in[0]->rank, axis);
}

deft_status deft_shape_arg(const deft_op_call *call) {
    const deft_tensor *x = call->in[0];
    bool keep = deft_attr_int(call->attrs, "keepdims", 1) != 0;
    deft_tensor out = {.dtype = DEFT_I64};
    int axis;
    DEFT_TRY(deft_rule_require_types(call, 0, 0, DEFT_TYPES_NUMBER));
    DEFT_TRY(read_axis(call, 0, &axis));
    if (x->dims[axis] == 0)
        return deft_rule_fail(call, DEFT_INVALID, "dimension %d is 0: it has no such element", axis);
    for (int i = 0; i < x->rank; i++)
        if (keep || i != axis) out.dims[out.rank++] = i == axis ? 1 : x->dims[i];
    return deft_rule_set_out_like(call, 0, &out);
}

deft_status deft_forward_arg(const deft_op_call *call) {
    const deft_tensor *x = call->in[0];
    bool last = deft_attr_int(call->attrs, "select_last_index", 0) != 0;
    int axis, wanted = call->op == DEFT_OP_ARG_MAX ? 1 : -1;
    DEFT_TRY(read_axis(call, 0, &axis));
    deft_lines lines = deft_rule_lines(x, axis);
    int64_t count = lines.outer * lines.inner;
    int threads = deft_rule_threads(call, deft_tensor_count(x));
#pragma omp parallel for num_threads(threads)
    for (int64_t line = 0; line < count; line++) {
        int64_t offset = deft_rule_line(&lines, line), best = 0;
        for (int64_t i = 1; i < lines.length; i++) {
            int found = deft_element_order(x, offset + i * lines.inner, x, offset + best * lines.inner);
            if (found == wanted || (last && found == 0)) best = i;
        }
        ((int64_t *)call->out[0]->data)[line] = best;
    }
    return DEFT_OK;
}

/* ---- TopK ---- */

deft_status deft_shape_top_k(const deft_op_call *call) {
    deft_tensor out = *call->in[0];
    int64_t k = deft_attr_int(call->attrs, "k", -1);
    int axis, count;
    DEFT_TRY(deft_rule_require_types(call, 0, 0, DEFT_TYPES_NUMBER));
    DEFT_TRY(read_axis(call, -1, &axis));
    if (deft_rule_in(call, 1)) {
        DEFT_TRY(deft_rule_require_scalar(call, 1));
        DEFT_TRY(deft_rule_read_integers(call, 1, "k", &k, 1, &count));
    }
    if (k < 0 || k > out.dims[axis])
        return deft_rule_fail(call, DEFT_INVALID, "k is %lld; dimension %d has %lld elements", (long long)k, axis,
                              (long long)out.dims[axis]);
    out.dims[axis] = k;
    DEFT_TRY(deft_rule_set_out_like(call, 0, &out));
    return deft_rule_set_out(call, 1, DEFT_I64, out.rank, out.dims);
}

/* A line of x, and the indices of the best k so far as a heap, the worst of them at its root. */
typedef struct best_heap {
    const deft_tensor *x;
    int64_t offset, stride; /* of the line in x */
    int64_t *indices;
    int64_t index_stride, size;
    int wanted; /* 1: the largest; -1: the smallest */
} best_heap;

/* Of equals the first is better; NaN is larger than every number. */
static bool is_better(const best_heap *heap, int64_t i, int64_t j) {
    int found = deft_element_order(heap->x, heap->offset + i * heap->stride, heap->x, heap->offset + j * heap->stride);
    if (found == 2) {
        bool i_nan = isnan(deft_element_real(heap->x, heap->offset + i * heap->stride));
        bool j_nan = isnan(deft_element_real(heap->x, heap->offset + j * heap->stride));
        found = i_nan - j_nan;
    }
    return found == heap->wanted || (found == 0 && i < j);
}

static int64_t *slot(const best_heap *heap, int64_t i) {
    return &heap->indices[i * heap->index_stride];
}

/* Moves the index at `at` down until its children are better. */
static void sift_down(const best_heap *heap, int64_t at) {
    for (int64_t child; (child = 2 * at + 1) < heap->size; at = child) {
        if (child + 1 < heap->size && is_better(heap, *slot(heap, child), *slot(heap, child + 1))) child++;
        if (!is_better(heap, *slot(heap, at), *slot(heap, child))) return;
        int64_t moved = *slot(heap, at);
        *slot(heap, at) = *slot(heap, child);
        *slot(heap, child) = moved;
    }
}

static void select_best(best_heap *heap, int64_t length) {
    int64_t k = heap->size;
    for (int64_t i = 0; i < k; i++)
        *slot(heap, i) = i;
    for (int64_t i = k / 2 - 1; i >= 0; i--)
        sift_down(heap, i);
    for (int64_t i = k; i < length; i++) {
        if (!is_better(heap, i, *slot(heap, 0))) continue;
        *slot(heap, 0) = i;
        sift_down(heap, 0);
    }
    while (heap->size > 1) { /* sort: the worst goes to the end */
        heap->size--;
        int64_t worst = *slot(heap, 0);
        *slot(heap, 0) = *slot(heap, heap->size);
        *slot(heap, heap->size) = worst;
        sift_down(heap, 0);
    }
}

deft_status deft_forward_top_k(const deft_op_call *call) {
    const deft_tensor *x = call->in[0];
    deft_tensor *values = call->out[0], *indices = call->out[1];
    int axis, wanted = deft_attr_int(call->attrs, "largest", 1) ? 1 : -1;
    DEFT_TRY(read_axis(call, -1, &axis));
    deft_lines from = deft_rule_lines(x, axis), to = deft_rule_lines(indices, axis);
    for (int64_t line = 0; line < to.outer * to.inner; line++) {
        int64_t out = deft_rule_line(&to, line);
        best_heap heap = {
            x, deft_rule_line(&from, line), from.inner, (int64_t *)indices->data + out, to.inner, to.length, wanted};
        select_best(&heap, from.length);
        for (int64_t i = 0; i < to.length; i++)
            deft_element_copy(x, heap.offset + *slot(&heap, i) * from.inner, values, out + i * to.inner);
    }
    return DEFT_OK;
}

/* ---- CumSum, CumProd ---- */

deft_status deft_shape_cum_sum(const deft_op_call *call) {
    DEFT_TRY(deft_rule_require_types(call, 0, 0, DEFT_TYPES_NUMBER));
    DEFT_TRY(deft_rule_require_index(call, 1));
    DEFT_TRY(deft_rule_require_scalar(call, 1));
    return deft_rule_set_out_like(call, 0, call->in[0]);
}

deft_status deft_forward_cum_sum(const deft_op_call *call) {
    const deft_tensor *x = call->in[0];
    bool exclusive = deft_attr_int(call->attrs, "exclusive", 0) != 0, product = call->op == DEFT_OP_CUM_PROD;
    bool reverse = deft_attr_int(call->attrs, "reverse", 0) != 0, reals = deft_dtype_is_float(x->dtype);
    int axis;
    DEFT_TRY(deft_rule_axis(call, deft_element_integer(call->in[1], 0), x->rank, &axis));
    deft_lines lines = deft_rule_lines(x, axis);
    for (int64_t line = 0; line < lines.outer * lines.inner; line++) {
        double sum = product;
        uint64_t integer = product;
        for (int64_t i = 0; i < lines.length; i++) {
            int64_t at = deft_rule_line(&lines, line) + (reverse ? lines.length - 1 - i : i) * lines.inner;
            double before = sum;
            uint64_t integer_before = integer;
            if (reals) {
                sum = product ? sum * deft_element_real(x, at) : sum + deft_element_real(x, at);
                deft_element_set_real(call->out[0], at, exclusive ? before : sum);
            } else {
                uint64_t element = (uint64_t)deft_element_integer(x, at);
                integer = product ? integer * element : integer + element;
                deft_element_set_integer(call->out[0], at, (int64_t)(exclusive ? integer_before : integer));
            }
        }
    }
    return DEFT_OK;
}
