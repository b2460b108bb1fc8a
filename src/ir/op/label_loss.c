/* NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss: scores x [N, C, ...] against labels [N, ...] with a weight for
 * each class; in f64 inside. (SoftmaxCrossEntropy of training graphs, which takes distributions, is in loss.c.) */
#include "ir/op/element.h"
#include "ir/op/emit.h"
#include "ir/op/rule.h"

#include <math.h>
#include <string.h>

static bool is_reduced(const deft_op_call *call) {
    return strcmp(deft_attr_string(call->attrs, "reduction", "mean"), "none") != 0;
}

/* Or is the gradient of one that does. */
static bool takes_softmax(const deft_op_call *call) {
    return deft_attr_int(call->attrs, "of", call->op) == DEFT_OP_SOFTMAX_CROSS_ENTROPY_LOSS;
}

deft_status deft_shape_label_loss(const deft_op_call *call) {
    const deft_tensor *x = call->in[0], *labels = call->in[1];
    const char *reduction = deft_attr_string(call->attrs, "reduction", "mean");
    deft_tensor expected = {.dtype = labels->dtype, .rank = x->rank - 1, .dims = {x->dims[0]}};
    DEFT_TRY(deft_rule_require_types(call, 0, 0, DEFT_TYPES_FLOAT));
    DEFT_TRY(deft_rule_require_index(call, 1));
    DEFT_TRY(deft_rule_require_rank(call, 0, 2, false));
    if (is_reduced(call) && strcmp(reduction, "mean") != 0 && strcmp(reduction, "sum") != 0)
        return deft_rule_fail(call, DEFT_INVALID, "the reduction '%.32s' is none of none, mean, sum", reduction);
    for (int i = 1; i < expected.rank; i++)
        expected.dims[i] = x->dims[i + 1];
    DEFT_TRY(deft_rule_require_shape(call, 1, &expected, "the labels,"));
    if (deft_rule_in(call, 2))
        DEFT_TRY(deft_rule_require_shape(call, 2, &(deft_tensor){.dtype = x->dtype, .rank = 1, .dims = {x->dims[1]}},
                                         "a weight for each class,"));
    DEFT_TRY(deft_rule_set_out(call, 0, x->dtype, is_reduced(call) ? 0 : expected.rank, expected.dims));
    return deft_rule_set_out_like(call, 1, x);
}

/* log sum exp of a line. */
static double log_sum(const deft_tensor *x, const deft_lines *lines, int64_t offset) {
    double maximum = -INFINITY, sum = 0;
    for (int64_t i = 0; i < lines->length; i++)
        maximum = fmax(maximum, deft_element_real(x, offset + i * lines->inner));
    for (int64_t i = 0; i < lines->length; i++)
        sum += exp(deft_element_real(x, offset + i * lines->inner) - maximum);
    return maximum + log(sum);
}

/* The weight of a line's label, 0 where it is ignored; *score is the label's. */
static deft_status weigh(const deft_op_call *call, const deft_lines *lines, int64_t line, double shift, double *score,
                         double *weight) {
    const deft_tensor *weights = deft_rule_in(call, 2);
    const deft_attr *ignored = deft_attr_find(call->attrs, "ignore_index");
    int64_t label = deft_element_integer(call->in[1], line);
    *score = *weight = 0;
    if (ignored && label == ignored->i) return DEFT_OK;
    if (label < 0 || label >= lines->length)
        return deft_rule_fail(call, DEFT_INVALID, "the label %lld is none of %lld classes", (long long)label,
                              (long long)lines->length);
    *weight = weights ? deft_element_real(weights, label) : 1;
    *score = deft_element_real(call->in[0], deft_rule_line(lines, line) + label * lines->inner) - shift;
    return DEFT_OK;
}

static void put_log_probabilities(const deft_op_call *call, const deft_lines *lines, int64_t offset, double shift) {
    for (int64_t i = offset; i < offset + lines->length * lines->inner; i += lines->inner)
        deft_element_set_real(call->out[1], i, deft_element_real(call->in[0], i) - shift);
}

deft_status deft_forward_label_loss(const deft_op_call *call) {
    const deft_tensor *x = call->in[0];
    deft_lines lines = deft_rule_lines(x, 1);
    bool soft = takes_softmax(call), reduced = is_reduced(call);
    double sum = 0, weights = 0;
    for (int64_t line = 0; line < lines.outer * lines.inner; line++) {
        int64_t offset = deft_rule_line(&lines, line);
        double shift = soft ? log_sum(x, &lines, offset) : 0, score, weight;
        if (deft_rule_out(call, 1)) put_log_probabilities(call, &lines, offset, shift);
        DEFT_TRY(weigh(call, &lines, line, shift, &score, &weight));
        sum -= weight * score;
        weights += weight;
        if (!reduced && call->out[0]) deft_element_set_real(call->out[0], line, -weight * score);
    }
    bool mean = strcmp(deft_attr_string(call->attrs, "reduction", "mean"), "mean") == 0;
    if (reduced && call->out[0]) deft_element_set_real(call->out[0], 0, mean ? sum / weights : sum);
    return DEFT_OK;
}

/* ---- the gradient ---- */

/* (dloss, x, labels, weights), of the operator in the attribute "of". */
deft_status deft_shape_label_loss_grad(const deft_op_call *call) {
    deft_op_call loss = *call;
    deft_tensor expected = {0}, *out[] = {&expected};
    loss.in = call->in + 1;
    loss.in_count = call->in_count - 1;
    loss.out = out;
    loss.out_count = 1;
    DEFT_TRY(deft_rule_require_real(call, 0, 1));
    DEFT_TRY(deft_shape_label_loss(&loss));
    DEFT_TRY(deft_rule_require_shape(call, 0, &expected, "the gradient of the loss,"));
    return deft_rule_set_out_like(call, 0, call->in[1]);
}

/* dx of a line = factor weight (softmax(x), if that is taken, less 1 at the label). */
static deft_status put_line_gradient(const deft_op_call *loss, const deft_lines *lines, int64_t line, double factor,
                                     deft_tensor *dx) {
    bool soft = takes_softmax(loss);
    int64_t offset = deft_rule_line(lines, line), label = deft_element_integer(loss->in[1], line);
    double shift = soft ? log_sum(loss->in[0], lines, offset) : 0, score, weight;
    DEFT_TRY(weigh(loss, lines, line, shift, &score, &weight));
    for (int64_t i = 0; i < lines->length; i++) {
        int64_t at = offset + i * lines->inner;
        double share = soft ? exp(deft_element_real(loss->in[0], at) - shift) : 0;
        deft_element_set_real(dx, at, weight == 0 ? 0 : factor * weight * (share - (i == label)));
    }
    return DEFT_OK;
}

deft_status deft_forward_label_loss_grad(const deft_op_call *call) {
    deft_op_call loss = *call;
    loss.in = call->in + 1;
    loss.in_count = call->in_count - 1;
    deft_lines lines = deft_rule_lines(loss.in[0], 1);
    double weights = 0, score, weight;
    bool mean = strcmp(deft_attr_string(call->attrs, "reduction", "mean"), "mean") == 0, reduced = is_reduced(call);
    for (int64_t line = 0; mean && line < lines.outer * lines.inner; line++) {
        DEFT_TRY(weigh(&loss, &lines, line, 0, &score, &weight));
        weights += weight;
    }
    for (int64_t line = 0; line < lines.outer * lines.inner; line++) {
        double factor = deft_element_real(call->in[0], reduced ? 0 : line) / (mean ? weights : 1);
        DEFT_TRY(put_line_gradient(&loss, &lines, line, factor, call->out[0]));
    }
    return DEFT_OK;
}

deft_status deft_gradient_label_loss(deft_gradient *gradient) {
    int in[] = {gradient->out_grad[0], gradient->in[0], gradient->in[1], gradient->in_count > 2 ? gradient->in[2] : -1};
    bool weights = gradient->in_count > 2 && gradient->wanted[2];
    if (weights || in[0] < 0 || (gradient->out_count > 1 && gradient->out_grad[1] >= 0))
        return deft_fail(gradient->ctx, DEFT_UNSUPPORTED,
                         "only the loss itself has a gradient, and only for the scores: not for weights of classes");
    return deft_emit_of(gradient, DEFT_OP_LABEL_LOSS_GRAD, in, 4, &gradient->in_grad[0], 1);
}
