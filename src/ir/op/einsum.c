/* Einsum: sums of products over the labels that the output does not have. Any number of operands (up to ops.def's), a
 * label twice in an operand for its diagonal, "..." for dimensions that broadcast. A plain loop over all labels. */
#include "ir/op/element.h"
#include "ir/op/emit.h"
#include "ir/op/rule.h"

#include <string.h>

enum {
    ELLIPSIS = 52, /* labels: a to z, A to Z, then the dimensions of an ellipsis, counted from its last */
    LABELS = ELLIPSIS + DEFT_MAX_RANK,
    MAX_OPERANDS = 8,
    MAX_LOOPS = 2 * DEFT_MAX_RANK
};

/* An equation, resolved: loops over the output's labels, in order, then over those that are summed. */
typedef struct einsum {
    int64_t dims[LABELS]; /* by label; -1: not used */
    int uses[LABELS];     /* in the operands */
    int64_t strides[MAX_OPERANDS][LABELS];
    int labels[MAX_OPERANDS][DEFT_MAX_RANK]; /* of each operand's dimensions */
    int loops[MAX_LOOPS];                    /* labels */
    int out_count, loop_count;
} einsum;

static int label_of(char letter) {
    if (letter >= 'a' && letter <= 'z') return letter - 'a';
    return letter >= 'A' && letter <= 'Z' ? letter - 'A' + 26 : -1;
}

static deft_status fail_equation(const deft_op_call *call, const char *why) {
    return deft_rule_fail(call, DEFT_INVALID, "the equation '%.64s': %s", deft_attr_string(call->attrs, "equation", ""),
                          why);
}

/* The labels of one term, up to `end`; an ellipsis stands for `spread` dimensions. */
static deft_status read_term(const deft_op_call *call, const char **at, const char *end, int spread, int *labels,
                             int *count) {
    bool spread_seen = false;
    *count = 0;
    for (; *at < end && **at != ','; (*at)++) {
        int label = label_of(**at), added = 1;
        if (**at == ' ') continue;
        bool dots = label < 0 && end - *at >= 3 && strncmp(*at, "...", 3) == 0 && !spread_seen;
        if (dots) {
            added = spread;
            spread_seen = true;
            *at += 2;
        }
        if (label < 0 && !dots) return fail_equation(call, "expected letters, commas, ... and ->");
        if (added < 0 || *count + added > DEFT_MAX_RANK) return fail_equation(call, "too many labels");
        for (int i = 0; i < added; i++)
            labels[(*count)++] = dots ? ELLIPSIS + added - 1 - i : label;
    }
    return DEFT_OK;
}

/* The dimensions that an ellipsis of this term stands for: what the letters leave. */
static int spread_of(const char *at, const char *end, int rank) {
    for (; at < end && *at != ','; at++)
        rank -= label_of(*at) >= 0;
    return rank;
}

static deft_status add_operand(const deft_op_call *call, int operand, const int *labels, int count, einsum *out) {
    const deft_tensor *x = call->in[operand];
    int64_t strides[DEFT_MAX_RANK];
    if (count != x->rank) return fail_equation(call, "a term does not have a label for each dimension of its operand");
    deft_rule_strides(x, strides);
    for (int i = 0; i < count; i++) {
        int64_t *dim = &out->dims[labels[i]];
        bool broadcasts = labels[i] >= ELLIPSIS && x->dims[i] == 1;
        if (*dim == -1 || (labels[i] >= ELLIPSIS && *dim == 1)) *dim = x->dims[i];
        if (*dim != x->dims[i] && !broadcasts) return fail_equation(call, "a label has dimensions of two sizes");
        if (x->dims[i] != 1) out->strides[operand][labels[i]] += strides[i];
        out->uses[labels[i]]++;
        out->labels[operand][i] = labels[i];
    }
    return DEFT_OK;
}

static deft_status add_loop(const deft_op_call *call, int label, einsum *out) {
    for (int i = 0; i < out->loop_count; i++)
        if (out->loops[i] == label) return fail_equation(call, "a label is twice in the output");
    if (out->dims[label] == -1) return fail_equation(call, "a label of the output is in no operand");
    if (out->loop_count == MAX_LOOPS)
        return deft_rule_fail(call, DEFT_UNSUPPORTED, "the equation has more than %d labels", MAX_LOOPS);
    out->loops[out->loop_count++] = label;
    return DEFT_OK;
}

/* Without ->, the output has the ellipsis, then in the order of the alphabet the labels that are used once. */
static deft_status add_implicit_output(const deft_op_call *call, einsum *out) {
    for (int label = LABELS - 1; label >= ELLIPSIS; label--)
        if (out->uses[label]) DEFT_TRY(add_loop(call, label, out));
    for (int i = 0; i < ELLIPSIS; i++) {
        int label = (i + 26) % ELLIPSIS; /* capitals first, as in ASCII */
        if (out->uses[label] == 1) DEFT_TRY(add_loop(call, label, out));
    }
    return DEFT_OK;
}

static deft_status resolve(const deft_op_call *call, einsum *out) {
    const char *at = deft_attr_string(call->attrs, "equation", ""), *arrow = strstr(at, "->");
    const char *end = arrow ? arrow : at + strlen(at);
    int labels[DEFT_MAX_RANK], count, widest = 0;
    *out = (einsum){.out_count = 0};
    for (int i = 0; i < LABELS; i++)
        out->dims[i] = -1;
    for (int i = 0; i < call->in_count; i++) {
        if (!call->in[i]) return deft_rule_fail(call, DEFT_INVALID, "input %d is missing", i);
        int spread = spread_of(at, end, call->in[i]->rank);
        DEFT_TRY(read_term(call, &at, end, spread, labels, &count));
        DEFT_TRY(add_operand(call, i, labels, count, out));
        for (int j = 0; j < count; j++)
            if (labels[j] >= ELLIPSIS && labels[j] - ELLIPSIS + 1 > widest) widest = labels[j] - ELLIPSIS + 1;
        if ((i + 1 < call->in_count) != (at < end)) return fail_equation(call, "not a term for each operand");
        at += at < end;
    }
    if (arrow) {
        at = arrow + 2;
        DEFT_TRY(read_term(call, &at, at + strlen(at), widest, labels, &count));
        if (*at) return fail_equation(call, "the output has a comma");
        for (int i = 0; i < count; i++)
            DEFT_TRY(add_loop(call, labels[i], out));
    } else {
        DEFT_TRY(add_implicit_output(call, out));
    }
    out->out_count = out->loop_count;
    for (int label = 0; label < LABELS; label++) {
        bool kept = !out->uses[label];
        for (int i = 0; i < out->out_count; i++)
            kept |= out->loops[i] == label;
        if (!kept) DEFT_TRY(add_loop(call, label, out));
    }
    return DEFT_OK;
}

deft_status deft_shape_einsum(const deft_op_call *call) {
    einsum e;
    int64_t dims[MAX_LOOPS];
    DEFT_TRY(deft_rule_require_types(call, 0, call->in_count - 1, DEFT_TYPES_NUMBER));
    DEFT_TRY(resolve(call, &e));
    for (int i = 0; i < e.out_count; i++)
        dims[i] = e.dims[e.loops[i]];
    return deft_rule_set_out(call, 0, call->in[0]->dtype, e.out_count, dims);
}

/* The sum for one output, whose labels have brought the operands to `offsets`. */
static void sum_products(const deft_op_call *call, const einsum *e, const int64_t *offsets, int64_t count, int64_t i) {
    bool reals = deft_dtype_is_float(call->in[0]->dtype);
    double sum = 0;
    uint64_t integer = 0;
    for (int64_t term = 0; term < count; term++) {
        double product = 1;
        uint64_t integer_product = 1;
        for (int operand = 0; operand < call->in_count; operand++) {
            int64_t at = offsets[operand], rest = term;
            for (int loop = e->loop_count - 1; loop >= e->out_count; loop--) {
                at += rest % e->dims[e->loops[loop]] * e->strides[operand][e->loops[loop]];
                rest /= e->dims[e->loops[loop]];
            }
            if (reals)
                product *= deft_element_real(call->in[operand], at);
            else
                integer_product *= (uint64_t)deft_element_integer(call->in[operand], at);
        }
        sum += product;
        integer += integer_product;
    }
    if (reals)
        deft_element_set_real(call->out[0], i, sum);
    else
        deft_element_set_integer(call->out[0], i, (int64_t)integer);
}

deft_status deft_forward_einsum(const deft_op_call *call) {
    einsum e;
    int64_t terms = 1, count = deft_tensor_count(call->out[0]);
    DEFT_TRY(resolve(call, &e));
    for (int i = e.out_count; i < e.loop_count; i++)
        if (__builtin_mul_overflow(terms, e.dims[e.loops[i]], &terms))
            return deft_rule_fail(call, DEFT_INVALID, "the sums have more terms than a number counts");
    int threads = deft_rule_threads(call, terms > INT32_MAX ? INT64_MAX : count * terms);
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < count; i++) {
        int64_t offsets[MAX_OPERANDS] = {0}, rest = i;
        for (int loop = e.out_count - 1; loop >= 0; loop--) {
            int64_t dim = e.dims[e.loops[loop]];
            for (int operand = 0; operand < call->in_count; operand++)
                offsets[operand] += rest % dim * e.strides[operand][e.loops[loop]];
            rest /= dim;
        }
        sum_products(call, &e, offsets, terms, i);
    }
    return DEFT_OK;
}

/* ---- the gradient: again an Einsum, of dy and the other operands ----------------------------------------------- */

/* An equation in the making. */
typedef struct equation {
    char text[MAX_OPERANDS * (DEFT_MAX_RANK + 1) + DEFT_MAX_RANK + 4];
    int length;
    char letters[LABELS]; /* by label; 0: none yet */
    int used;             /* letters */
} equation;

static void add_text(equation *q, const char *text) {
    while (*text)
        q->text[q->length++] = *text++;
    q->text[q->length] = 0;
}

static void add_label(equation *q, int label) {
    if (!q->letters[label]) {
        q->letters[label] = (char)(q->used < 26 ? 'a' + q->used : 'A' + q->used - 26);
        q->used++;
    }
    add_text(q, (char[]){q->letters[label], 0});
}

/* Whether dimension `i` of an operand is repeated: it then is no part of its term. */
static bool is_repeated(const deft_gradient *gradient, const einsum *e, int operand, int i) {
    return gradient->in_desc[operand]->dims[i] == 1 && e->dims[e->labels[operand][i]] != 1;
}

/* The operand without the dimensions that are repeated. */
static deft_status emit_term(deft_gradient *gradient, const einsum *e, int operand, equation *q, int *out) {
    const deft_tensor *x = gradient->in_desc[operand];
    int64_t dims[DEFT_MAX_RANK];
    int rank = 0;
    for (int i = 0; i < x->rank; i++) {
        if (is_repeated(gradient, e, operand, i)) continue;
        dims[rank++] = x->dims[i];
        add_label(q, e->labels[operand][i]);
    }
    *out = gradient->in[operand];
    if (rank == x->rank) return DEFT_OK;
    return deft_emit_reshaped(gradient, *out, rank, dims, out);
}

/* Of one operand. A dimension that no other term has is one that was summed alone: its gradient is repeated. */
static deft_status emit_operand(deft_gradient *gradient, const einsum *e, int operand) {
    const deft_tensor *x = gradient->in_desc[operand];
    equation q = {.length = 0};
    int in[MAX_OPERANDS], count = 0, value;
    int64_t dims[DEFT_MAX_RANK];
    in[count++] = gradient->out_grad[0];
    for (int i = 0; i < e->out_count; i++)
        add_label(&q, e->loops[i]);
    for (int i = 0; i < gradient->in_count; i++) {
        if (i == operand) continue;
        add_text(&q, ",");
        DEFT_TRY(emit_term(gradient, e, i, &q, &in[count++]));
    }
    add_text(&q, "->");
    for (int i = 0; i < x->rank; i++) {
        int label = e->labels[operand][i];
        bool there = q.letters[label] && !is_repeated(gradient, e, operand, i);
        dims[i] = there ? x->dims[i] : 1;
        if (there) add_label(&q, label);
    }
    deft_attr attr = {.name = "equation", .type = DEFT_ATTR_STRING, .s = q.text};
    DEFT_TRY(gradient->emit(gradient, DEFT_OP_EINSUM, &attr, 1, in, count, &value, 1));
    DEFT_TRY(deft_emit_reshaped(gradient, value, x->rank, dims, &value));
    return deft_emit_expanded(gradient, value, x->rank, x->dims, &gradient->in_grad[operand]);
}

deft_status deft_gradient_einsum(deft_gradient *gradient) {
    deft_op_call call = deft_gradient_call(gradient);
    einsum e;
    DEFT_TRY(resolve(&call, &e));
    for (int i = 0; i < gradient->in_count; i++)
        for (int j = 0; j < gradient->in_desc[i]->rank; j++)
            for (int k = 0; k < j; k++)
                if (e.labels[i][j] == e.labels[i][k])
                    return deft_fail(gradient->ctx, DEFT_UNSUPPORTED, "no gradient flows through a diagonal");
    for (int i = 0; i < gradient->in_count; i++)
        if (gradient->wanted[i]) DEFT_TRY(emit_operand(gradient, &e, i));
    return DEFT_OK;
}
