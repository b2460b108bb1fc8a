/* Transpose and Concat: the elements move. Any type of 1, 2, 4 or 8 bytes. */
#include "ir/op/move.h"

#include "ir/op/nest.h"
#include "ir/op/rule.h"

#include <string.h>

/* ---- Transpose ---- */

/* perm[i] is the input's dimension that becomes the output's i-th; by default they are reversed. */
static deft_status read_permutation(const deft_op_call *call, int64_t *perm) {
    int rank = call->in[0]->rank;
    int count = deft_attr_ints(call->attrs, "perm", perm, DEFT_MAX_RANK);
    bool seen[DEFT_MAX_RANK] = {false};
    if (!deft_attr_find(call->attrs, "perm")) {
        for (int i = 0; i < rank; i++)
            perm[i] = rank - 1 - i;
        return DEFT_OK;
    }
    bool valid = count == rank;
    for (int i = 0; valid && i < rank; i++) {
        valid = perm[i] >= 0 && perm[i] < rank && !seen[perm[i]];
        if (valid) seen[perm[i]] = true;
    }
    if (valid) return DEFT_OK;
    return deft_rule_fail(call, DEFT_INVALID, "perm must name each of the %d dimensions once", rank);
}

deft_status deft_shape_transpose(const deft_op_call *call) {
    const deft_tensor *x = call->in[0];
    int64_t perm[DEFT_MAX_RANK];
    deft_tensor out = {.dtype = x->dtype, .rank = x->rank};
    DEFT_TRY(read_permutation(call, perm));
    for (int i = 0; i < x->rank; i++)
        out.dims[i] = x->dims[perm[i]];
    return deft_rule_set_out_like(call, 0, &out);
}

/* to[i] = from[i * stride], elements of `bytes`: a constant where this is inlined. */
static inline __attribute__((always_inline)) void gather(size_t bytes, const char *from, int64_t stride, char *to,
                                                         int64_t count) {
    for (int64_t i = 0; i < count; i++)
        memcpy(to + i * (int64_t)bytes, from + i * stride * (int64_t)bytes, bytes);
}

static void gather_row(size_t bytes, const char *from, int64_t stride, char *to, int64_t count) {
    if (stride == 1) {
        memcpy(to, from, (size_t)count * bytes);
        return;
    }
    switch (bytes) {
    case 1:
        gather(1, from, stride, to, count);
        break;
    case 2:
        gather(2, from, stride, to, count);
        break;
    case 4:
        gather(4, from, stride, to, count);
        break;
    default:
        gather(8, from, stride, to, count);
    }
}

/* Elements begin .. end of the nest, into to[begin .. end). */
static void gather_range(const deft_nest *nest, size_t bytes, const char *from, int64_t begin, int64_t end, char *to) {
    const int64_t *strides = nest->strides[0];
    int64_t size = (int64_t)bytes, row_step = nest->rank > 1 ? strides[nest->rank - 2] : 0;
    while (begin < end) {
        deft_nest_row row = deft_nest_row_at(nest, begin, end);
        int64_t rows = deft_nest_rows_at(nest, begin, end);
        for (int64_t i = 0; i < rows; i++, begin += row.length)
            gather_row(bytes, from + (row.offset[0] + i * row_step) * size, strides[nest->rank - 1], to + begin * size,
                       row.length);
    }
}

void deft_move_strided(const deft_op_call *call, size_t bytes, const void *from, int rank, const int64_t *dims,
                       const int64_t *strides, void *to) {
    deft_nest nest;
    deft_nest_init(&nest, rank, dims, strides, NULL);
    int threads = deft_rule_threads(call, nest.count);
#pragma omp parallel for num_threads(threads)
    for (int i = 0; i < threads; i++)
        gather_range(&nest, bytes, from, nest.count * i / threads, nest.count * (i + 1) / threads, to);
}

deft_status deft_forward_transpose(const deft_op_call *call) {
    const deft_tensor *x = call->in[0], *y = call->out[0];
    int64_t perm[DEFT_MAX_RANK], strides[DEFT_MAX_RANK];
    DEFT_TRY(read_permutation(call, perm));
    for (int i = 0; i < x->rank; i++)
        strides[i] = deft_rule_product(x->dims, (int)perm[i] + 1, x->rank);
    deft_move_strided(call, deft_dtype_bytes(x->dtype), x->data, y->rank, y->dims, strides, y->data);
    return DEFT_OK;
}

/* Back by the inverse permutation. */
deft_status deft_gradient_transpose(deft_gradient *gradient) {
    int rank = gradient->in_desc[0]->rank;
    int64_t perm[DEFT_MAX_RANK], inverse[DEFT_MAX_RANK];
    if (deft_attr_ints(gradient->attrs, "perm", perm, DEFT_MAX_RANK) == 0)
        for (int i = 0; i < rank; i++)
            perm[i] = rank - 1 - i;
    for (int i = 0; i < rank; i++)
        inverse[perm[i]] = i;
    deft_attr attr = {.name = "perm", .type = DEFT_ATTR_INTS, .count = rank, .ints = inverse};
    return gradient->emit(gradient, DEFT_OP_TRANSPOSE, &attr, 1, gradient->out_grad, 1, &gradient->in_grad[0], 1);
}

/* ---- Concat ---- */

deft_status deft_shape_concat(const deft_op_call *call) {
    deft_tensor out = *call->in[0];
    const deft_attr *attr = deft_attr_find(call->attrs, "axis");
    int axis;
    if (!attr || attr->type != DEFT_ATTR_INT)
        return deft_rule_fail(call, DEFT_INVALID, "the attribute axis is missing");
    DEFT_TRY(deft_rule_axis(call, attr->i, out.rank, &axis));
    for (int i = 1; i < call->in_count; i++) {
        if (!call->in[i]) return deft_rule_fail(call, DEFT_INVALID, "input %d is missing", i);
        deft_tensor expected = *call->in[0];
        if (call->in[i]->rank == expected.rank) expected.dims[axis] = call->in[i]->dims[axis];
        DEFT_TRY(deft_rule_require_shape(call, i, &expected, "like input 0 but for the axis"));
        if (__builtin_add_overflow(out.dims[axis], expected.dims[axis], &out.dims[axis])) out.dims[axis] = INT64_MAX;
    }
    return deft_rule_set_out_like(call, 0, &out);
}

deft_status deft_forward_concat(const deft_op_call *call) {
    const deft_tensor *y = call->out[0];
    int axis;
    DEFT_TRY(deft_rule_axis(call, deft_attr_int(call->attrs, "axis", 0), y->rank, &axis));
    size_t element = deft_dtype_bytes(y->dtype);
    size_t row_bytes = (size_t)deft_rule_product(y->dims, axis, y->rank) * element;
    int64_t rows = deft_rule_product(y->dims, 0, axis);
    char *to = y->data;
    for (int i = 0; i < call->in_count; i++) {
        const deft_tensor *x = call->in[i];
        size_t bytes = (size_t)deft_rule_product(x->dims, axis, x->rank) * element;
        if (bytes == 0) continue;
        for (int64_t row = 0; row < rows; row++)
            memcpy(to + (size_t)row * row_bytes, (const char *)x->data + (size_t)row * bytes, bytes);
        to += bytes;
    }
    return DEFT_OK;
}
