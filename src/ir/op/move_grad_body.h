/* Gradients of moves, of one floating type: see each_real.h. Elements are added in their order, so that the sum is the
 * same for any number of threads. */

static deft_status TYPED(move_grad)(const deft_op_call *call) {
    const REAL *dy = call->in[0]->data;
    const int32_t *map = call->in[1]->data;
    REAL *dx = call->out[0]->data;
    int64_t count = deft_tensor_count(call->in[0]), size = deft_tensor_count(call->out[0]);
    memset(dx, 0, (size_t)size * sizeof *dx);
    for (int64_t i = 0; i < count; i++)
        if (map[i] > 0 && map[i] <= size) dx[map[i] - 1] += dy[i];
    return DEFT_OK;
}

static deft_status TYPED(gather_grad)(const deft_op_call *call) {
    const deft_tensor *x = call->in[2], *indices = call->in[1];
    const REAL *dy = call->in[0]->data;
    REAL *dx = call->out[0]->data;
    int axis;
    DEFT_TRY(deft_rule_axis(call, deft_attr_int(call->attrs, "axis", 0), x->rank, &axis));
    deft_lines lines = deft_rule_lines(x, axis);
    int64_t count = deft_tensor_count(indices);
    memset(dx, 0, (size_t)deft_tensor_count(x) * sizeof *dx);
    for (int64_t outer = 0; outer < lines.outer; outer++)
        for (int64_t i = 0; i < count; i++, dy += lines.inner) {
            int64_t index = deft_element_integer(indices, i);
            if (index < 0) index += lines.length;
            if (index < 0 || index >= lines.length)
                return deft_rule_fail(call, DEFT_INVALID, "index %lld is outside of a dimension of %lld",
                                      (long long)deft_element_integer(indices, i), (long long)lines.length);
            REAL *to = dx + (outer * lines.length + index) * lines.inner;
#pragma omp simd
            for (int64_t j = 0; j < lines.inner; j++)
                to[j] += dy[j];
        }
    return DEFT_OK;
}
