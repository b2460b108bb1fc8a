/* NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss: scores x [N, C, ...] against labels [N, ...] with a weight for
 * each class; in f64 inside. (SoftmaxCrossEntropy of training graphs, which takes distributions, is in loss.c.) */
#include "ir/op/element.h"
#include "ir/op/rule.h"

#include <math.h>
#include <string.h>

static bool is_reduced(const deft_op_call *call) {
    return strcmp(deft_attr_string(call->attrs, "reduction", "mean"), "none") != 0;
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
    bool soft = call->op == DEFT_OP_SOFTMAX_CROSS_ENTROPY_LOSS, reduced = is_reduced(call);
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
