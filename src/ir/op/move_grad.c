/* Gradients of operators that move elements and compute nothing: Slice, Pad, Tile, DepthToSpace, GatherElements and
 * their like. The operator itself, run on the positions of x's elements instead of x, tells where each element of y
 * comes from: a map that is known ahead of a run where the indices are. MoveGrad then adds each element of dy to where
 * it came from. Those that are hot have shorter rules: Gather, Concat, Expand, Split. */
#include "ir/op/element.h"
#include "ir/op/emit.h"
#include "ir/op/rule.h"

#include <string.h>

#define BODY "ir/op/move_grad_body.h"
#include "ir/op/each_real.h"

/* (dy, map, x): the map, i32 of dy's shape, holds for each element 1 + the position in x, or 0 where it comes from
 * elsewhere. Of x only the shape is used. */
deft_status deft_shape_move_grad(const deft_op_call *call) {
    deft_tensor map = *call->in[0];
    map.dtype = DEFT_I32;
    DEFT_TRY(deft_rule_require_real(call, 0, 0));
    DEFT_TRY(deft_rule_require_shape(call, 1, &map, "a position for each element,"));
    DEFT_TRY(deft_rule_require_types(call, 2, 2, DEFT_TYPES_REAL));
    deft_tensor out = *call->in[2];
    out.dtype = call->in[0]->dtype;
    return deft_rule_set_out_like(call, 0, &out);
}

deft_status deft_forward_move_grad(const deft_op_call *call) {
    return deft_rule_by_real(call, move_grad_f32, move_grad_f64);
}

/* 1, 2, 3 ... in the shape of x. */
static deft_status emit_positions(deft_gradient *gradient, int *out) {
    deft_tensor positions = *gradient->in_desc[0];
    int64_t count = deft_tensor_count(&positions);
    if (count >= INT32_MAX)
        return deft_fail(gradient->ctx, DEFT_UNSUPPORTED, "its input has %lld elements, which 31 bits cannot number",
                         (long long)count);
    positions.dtype = DEFT_I32;
    DEFT_TRY(deft_tensor_allocate(gradient->ctx, &positions));
    for (int64_t i = 0; i < count; i++)
        ((int32_t *)positions.data)[i] = (int32_t)(i + 1);
    deft_status status = deft_emit_tensor(gradient, &positions, out);
    deft_release(gradient->ctx, positions.data);
    return status;
}

/* The map of every output that has a gradient; what they pass back is summed. */
deft_status deft_gradient_move(deft_gradient *gradient) {
    enum { MOST = 64 };
    int in[8], maps[MOST], sum = -1, added, inputs = gradient->in_count;
    if (!gradient->wanted[0]) return DEFT_OK;
    memcpy(in, gradient->in, (size_t)inputs * sizeof *in);
    DEFT_TRY(emit_positions(gradient, &in[0]));
    if (gradient->op == DEFT_OP_PAD && inputs > 2) in[2] = -1; /* what it pads with: 0 by default */
    DEFT_TRY(gradient->emit(gradient, gradient->op, gradient->attrs->items, gradient->attrs->count, in, inputs, maps,
                            gradient->out_count));
    for (int i = 0; i < gradient->out_count; i++) {
        int dy = gradient->out_grad[i];
        if (dy < 0) continue;
        DEFT_TRY(deft_emit(gradient, DEFT_OP_MOVE_GRAD, &added, 3, dy, maps[i], gradient->in[0]));
        if (sum >= 0) DEFT_TRY(deft_emit(gradient, DEFT_OP_ADD, &added, 2, sum, added));
        sum = added;
    }
    gradient->in_grad[0] = sum;
    return DEFT_OK;
}

/* ---- those that are hot -------------------------------------------------------------------------------------- */

deft_status deft_gradient_expand(deft_gradient *gradient) {
    return deft_emit_sum_to(gradient, gradient->out_grad[0], 0, &gradient->in_grad[0]);
}

/* Each input's part of dy. */
deft_status deft_gradient_concat(deft_gradient *gradient) {
    deft_op_call call = deft_gradient_call(gradient);
    int64_t start = 0, end;
    int axis;
    DEFT_TRY(deft_rule_axis(&call, deft_attr_int(gradient->attrs, "axis", 1), gradient->out_desc[0]->rank, &axis));
    for (int i = 0; i < gradient->in_count; i++, start = end) {
        end = start + gradient->in_desc[i]->dims[axis];
        if (!gradient->wanted[i]) continue;
        DEFT_TRY(deft_emit_slice(gradient, gradient->out_grad[0], axis, start, end, &gradient->in_grad[i]));
    }
    return DEFT_OK;
}

/* The parts joined, where all have a gradient. */
deft_status deft_gradient_split(deft_gradient *gradient) {
    for (int i = 0; i < gradient->out_count; i++)
        if (gradient->out_grad[i] < 0) return deft_gradient_move(gradient);
    deft_attr axis = {.name = "axis", .type = DEFT_ATTR_INT, .i = deft_attr_int(gradient->attrs, "axis", 0)};
    return gradient->emit(gradient, DEFT_OP_CONCAT, &axis, 1, gradient->out_grad, gradient->out_count,
                          &gradient->in_grad[0], 1);
}

/* Running sums from the other end. */
deft_status deft_gradient_cum_sum(deft_gradient *gradient) {
    const deft_attr attrs[] = {
        {.name = "exclusive", .type = DEFT_ATTR_INT, .i = deft_attr_int(gradient->attrs, "exclusive", 0)},
        {.name = "reverse", .type = DEFT_ATTR_INT, .i = !deft_attr_int(gradient->attrs, "reverse", 0)}};
    return gradient->emit(gradient, DEFT_OP_CUM_SUM, attrs, 2, (int[]){gradient->out_grad[0], gradient->in[1]}, 2,
                          &gradient->in_grad[0], 1);
}

/* ---- Scatter, and TopK ---------------------------------------------------------------------------------------- */

static deft_status emit_zeros(deft_gradient *gradient, const deft_tensor *like, int *out) {
    int zero;
    DEFT_TRY(deft_emit_number(gradient, like->dtype, 0, &zero));
    return deft_emit_expanded(gradient, zero, like->rank, like->dims, out);
}

static deft_attr axis_of(const deft_gradient *gradient, int64_t fallback) {
    return (deft_attr){.name = "axis", .type = DEFT_ATTR_INT, .i = deft_attr_int(gradient->attrs, "axis", fallback)};
}

/* (x, indices, updates): what is replaced has no gradient, and the updates have what is there. Where an index is there
 * twice, which ONNX forbids where updates replace, both have it. */
deft_status deft_gradient_scatter(deft_gradient *gradient) {
    int dy = gradient->out_grad[0], zeros, in[] = {dy, gradient->in[1], -1};
    bool pieces = gradient->op == DEFT_OP_SCATTER_ND;
    const char *reduction = deft_attr_string(gradient->attrs, "reduction", "none");
    deft_attr axis = axis_of(gradient, 0);
    bool added = strcmp(reduction, "add") == 0;
    if (!added && strcmp(reduction, "none") != 0)
        return deft_fail(gradient->ctx, DEFT_UNSUPPORTED, "no gradient flows through the reduction '%.16s'", reduction);
    if (gradient->wanted[2])
        DEFT_TRY(gradient->emit(gradient, pieces ? DEFT_OP_GATHER_ND : DEFT_OP_GATHER_ELEMENTS, &axis, !pieces, in, 2,
                                &gradient->in_grad[2], 1));
    if (!gradient->wanted[0]) return DEFT_OK;
    gradient->in_grad[0] = dy;
    if (added) return DEFT_OK;
    DEFT_TRY(emit_zeros(gradient, gradient->in_desc[2], &zeros));
    in[2] = zeros;
    return gradient->emit(gradient, pieces ? DEFT_OP_SCATTER_ND : DEFT_OP_SCATTER_ELEMENTS, &axis, !pieces, in, 3,
                          &gradient->in_grad[0], 1);
}

/* The values' gradient, where they came from. */
deft_status deft_gradient_top_k(deft_gradient *gradient) {
    int zeros;
    deft_attr axis = axis_of(gradient, -1);
    if (gradient->out_grad[0] < 0) return DEFT_OK;
    DEFT_TRY(emit_zeros(gradient, gradient->in_desc[0], &zeros));
    const int in[] = {zeros, gradient->out[1], gradient->out_grad[0]};
    return gradient->emit(gradient, DEFT_OP_SCATTER_ELEMENTS, &axis, 1, in, 3, &gradient->in_grad[0], 1);
}

/* ---- Gather: of embeddings ----------------------------------------------------------------------------------- */

/* (dy, indices, x): of x only the shape is used. */
deft_status deft_shape_gather_grad(const deft_op_call *call) {
    deft_op_call gather = *call;
    const deft_tensor *in[] = {call->in[2], call->in[1]};
    deft_tensor expected = {0}, *out[] = {&expected};
    DEFT_TRY(deft_rule_require_real(call, 0, 0));
    DEFT_TRY(deft_rule_require_types(call, 2, 2, DEFT_TYPES_REAL));
    gather.in = in;
    gather.in_count = 2;
    gather.out = out;
    gather.out_count = 1;
    DEFT_TRY(deft_shape_gather(&gather));
    expected.dtype = call->in[0]->dtype;
    DEFT_TRY(deft_rule_require_shape(call, 0, &expected, "the gradient of the output,"));
    deft_tensor dx = *call->in[2];
    dx.dtype = call->in[0]->dtype;
    return deft_rule_set_out_like(call, 0, &dx);
}

deft_status deft_forward_gather_grad(const deft_op_call *call) {
    return deft_rule_by_real(call, gather_grad_f32, gather_grad_f64);
}

deft_status deft_gradient_gather(deft_gradient *gradient) {
    return deft_emit_with_attrs(gradient, DEFT_OP_GATHER_GRAD, &gradient->in_grad[0], 3, gradient->out_grad[0],
                                gradient->in[1], gradient->in[0]);
}
