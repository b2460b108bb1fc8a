/* Attention, RotaryEmbedding. */
#include "ir/op/element.h"
#include "ir/op/emit.h"
#include "ir/op/rule.h"

#include <math.h>
#include <string.h>

/* A tensor of heads: [batch, heads, length, size], or [batch, length, heads * size]. */
typedef struct heads {
    const deft_tensor *tensor;
    int64_t batch, heads, length, size;
} heads;

static deft_status read_heads(const deft_op_call *call, int i, int64_t head_count, heads *h) {
    const deft_tensor *x = call->in[i];
    *h = (heads){.tensor = x};
    if (x->rank != 3 && x->rank != 4)
        return deft_rule_fail(call, DEFT_INVALID, "input %d must have 3 or 4 dimensions", i);
    if (x->rank == 3 && (head_count < 1 || x->dims[2] % head_count != 0))
        return deft_rule_fail(call, DEFT_INVALID, "input %d has %lld columns, which are not %lld heads", i,
                              (long long)x->dims[2], (long long)head_count);
    h->batch = x->dims[0];
    h->heads = x->rank == 4 ? x->dims[1] : head_count;
    h->length = x->rank == 4 ? x->dims[2] : x->dims[1];
    h->size = x->rank == 4 ? x->dims[3] : x->dims[2] / head_count;
    return DEFT_OK;
}

/* The first element of a head's row. */
static int64_t row_of(const heads *h, int64_t batch, int64_t head, int64_t row) {
    if (h->tensor->rank == 4) return ((batch * h->heads + head) * h->length + row) * h->size;
    return ((batch * h->length + row) * h->heads + head) * h->size;
}

/* ---- Attention ----------------------------------------------------------------------------------------------- */

enum { QUERY, KEY, VALUE, MASK, PAST_KEY, PAST_VALUE, VALID_KEYS };

typedef struct attention {
    heads query, key, value;
    const deft_tensor *mask, *past_key, *past_value, *valid_keys; /* NULL where absent */
    int64_t past, total;                                          /* keys before `key`, and all */
    int64_t mask_strides[4];
    double scale, cap;
    int64_t left, right; /* of the window; -1: unbounded */
    int64_t mode;        /* what the scores that are given out are */
} attention;

static deft_status check_past(const deft_op_call *call, int i, const heads *now, int64_t *length) {
    const deft_tensor *past = deft_rule_in(call, i);
    bool fits = past->rank == 4 && past->dtype == now->tensor->dtype && past->dims[0] == now->batch &&
                past->dims[1] == now->heads && past->dims[3] == now->size;
    if (!fits) return deft_rule_fail(call, DEFT_INVALID, "input %d must have the heads of what it goes before", i);
    *length = past->dims[2];
    return DEFT_OK;
}

/* Aligned at the right with [batch, heads, queries, keys]; the keys may be fewer. */
static deft_status check_mask(const deft_op_call *call, attention *a) {
    const int64_t full[4] = {a->query.batch, a->query.heads, a->query.length, a->total};
    int64_t strides[DEFT_MAX_RANK];
    bool fits = a->mask->rank >= 1 && a->mask->rank <= 4;
    for (int i = 0; fits && i < a->mask->rank; i++) {
        int at = 4 - a->mask->rank + i;
        fits = a->mask->dims[i] == full[at] || a->mask->dims[i] == 1 || (at == 3 && a->mask->dims[i] < full[at]);
    }
    char text[DEFT_SHAPE_TEXT_BYTES];
    if (!fits)
        return deft_rule_fail(call, DEFT_INVALID, "the mask %s does not broadcast to the scores %lldx%lldx%lldx%lld",
                              deft_shape_text(a->mask, text, sizeof text), (long long)full[0], (long long)full[1],
                              (long long)full[2], (long long)full[3]);
    deft_rule_strides(a->mask, strides);
    for (int i = 0; i < a->mask->rank; i++)
        a->mask_strides[4 - a->mask->rank + i] = a->mask->dims[i] == 1 ? 0 : strides[i];
    return DEFT_OK;
}

static void read_options(const deft_op_call *call, attention *a) {
    a->scale = (double)deft_attr_float(call->attrs, "scale", 0);
    if (!deft_attr_find(call->attrs, "scale")) a->scale = 1 / sqrt((double)a->query.size);
    a->cap = (double)deft_attr_float(call->attrs, "softcap", 0);
    a->left = deft_attr_int(call->attrs, "left_window_size", -1);
    a->right = deft_attr_int(call->attrs, "right_window_size", -1);
    if (deft_attr_int(call->attrs, "is_causal", 0)) a->right = 0; /* no key after the query */
    a->mode = deft_attr_int(call->attrs, "qk_matmul_output_mode", 0);
}

static deft_status check_heads(const deft_op_call *call, const attention *a) {
    const heads *q = &a->query, *k = &a->key, *v = &a->value;
    bool fits = q->batch == k->batch && k->batch == v->batch && k->heads == v->heads && k->length == v->length &&
                q->size == k->size && k->heads > 0 && q->heads % k->heads == 0;
    return fits ? DEFT_OK : deft_rule_fail(call, DEFT_INVALID, "queries, keys and values do not fit together");
}

static deft_status read_attention(const deft_op_call *call, attention *a) {
    int64_t query_heads = deft_attr_int(call->attrs, "q_num_heads", 0), past_values = 0;
    int64_t key_heads = deft_attr_int(call->attrs, "kv_num_heads", 0);
    *a = (attention){.mask = deft_rule_in(call, MASK),
                     .past_key = deft_rule_in(call, PAST_KEY),
                     .past_value = deft_rule_in(call, PAST_VALUE),
                     .valid_keys = deft_rule_in(call, VALID_KEYS)};
    DEFT_TRY(deft_rule_require_real(call, QUERY, VALUE));
    DEFT_TRY(read_heads(call, QUERY, query_heads, &a->query));
    DEFT_TRY(read_heads(call, KEY, key_heads, &a->key));
    DEFT_TRY(read_heads(call, VALUE, key_heads, &a->value));
    DEFT_TRY(check_heads(call, a));
    if (a->past_key) DEFT_TRY(check_past(call, PAST_KEY, &a->key, &a->past));
    if (a->past_value) DEFT_TRY(check_past(call, PAST_VALUE, &a->value, &past_values));
    if (a->past != past_values)
        return deft_rule_fail(call, DEFT_INVALID, "there are %lld past keys, but %lld past values", (long long)a->past,
                              (long long)past_values);
    a->total = a->past + a->key.length;
    if (a->mask) DEFT_TRY(check_mask(call, a));
    if (a->mask) DEFT_TRY(deft_rule_require_types(call, MASK, MASK, DEFT_TYPES_FLOAT | DEFT_TYPES_BOOL));
    const deft_tensor *valid = a->valid_keys;
    if (valid && (valid->dtype != DEFT_I64 || valid->rank != 1 || valid->dims[0] != a->query.batch))
        return deft_rule_fail(call, DEFT_INVALID, "the numbers of valid keys must be an i64 for each of the batch");
    read_options(call, a);
    return DEFT_OK;
}

deft_status deft_shape_attention(const deft_op_call *call) {
    attention a;
    DEFT_TRY(read_attention(call, &a));
    const heads *q = &a.query, *k = &a.key, *v = &a.value;
    deft_dtype dtype = q->tensor->dtype;
    const int64_t wide[] = {q->batch, q->heads, q->length, v->size}, flat[] = {q->batch, q->length, q->heads * v->size};
    DEFT_TRY(q->tensor->rank == 4 ? deft_rule_set_out(call, 0, dtype, 4, wide)
                                  : deft_rule_set_out(call, 0, dtype, 3, flat));
    DEFT_TRY(deft_rule_set_out(call, 1, dtype, 4, (int64_t[]){k->batch, k->heads, a.total, k->size}));
    DEFT_TRY(deft_rule_set_out(call, 2, dtype, 4, (int64_t[]){k->batch, k->heads, a.total, v->size}));
    return deft_rule_set_out(call, 3, dtype, 4, (int64_t[]){q->batch, q->heads, q->length, a.total});
}

/* What the mask, the window and the padding add to a score: -Inf where the key is not looked at. */
static double bias_of(const attention *a, int64_t batch, int64_t head, int64_t query, int64_t key) {
    int64_t valid = a->valid_keys ? ((const int64_t *)a->valid_keys->data)[batch] : a->total;
    valid = valid < 0 ? 0 : valid > a->total ? a->total : valid;
    int64_t ahead = key - query - (a->valid_keys && !a->past_key ? valid - a->query.length : a->past);
    if (key >= valid || (a->right >= 0 && ahead > a->right) || (a->left >= 0 && -ahead > a->left)) return -INFINITY;
    if (!a->mask) return 0;
    int64_t columns = a->mask->dims[a->mask->rank - 1];
    if (columns > 1 && key >= columns) return -INFINITY;
    int64_t at =
        batch * a->mask_strides[0] + head * a->mask_strides[1] + query * a->mask_strides[2] + key * a->mask_strides[3];
    double value = deft_element_real(a->mask, at);
    return a->mask->dtype == DEFT_BOOL ? (value != 0 ? 0 : -INFINITY) : value;
}

/* Past rows, then those of now, of every head. */
static void join(const deft_tensor *past, const heads *now, deft_tensor *out) {
    size_t bytes = deft_dtype_bytes(out->dtype);
    int64_t before = past ? past->dims[2] : 0, size = now->size;
    for (int64_t i = 0; i < now->batch * now->heads; i++) {
        char *to = (char *)out->data + (size_t)(i * (before + now->length) * size) * bytes;
        if (before)
            memcpy(to, (const char *)past->data + (size_t)(i * before * size) * bytes, (size_t)(before * size) * bytes);
        for (int64_t row = 0; row < now->length; row++) {
            const char *from =
                (const char *)now->tensor->data + (size_t)row_of(now, i / now->heads, i % now->heads, row) * bytes;
            memcpy(to + (size_t)((before + row) * size) * bytes, from, (size_t)size * bytes);
        }
    }
}

#define BODY "ir/op/attention_body.h"
#include "ir/op/each_real.h"

deft_status deft_forward_attention(const deft_op_call *call) {
    attention a;
    DEFT_TRY(read_attention(call, &a));
    if (deft_rule_out(call, 1)) join(a.past_key, &a.key, call->out[1]);
    if (deft_rule_out(call, 2)) join(a.past_value, &a.value, call->out[2]);
    if (call->in[0]->dtype == DEFT_F32)
        attend_f32(call, &a);
    else
        attend_f64(call, &a);
    return DEFT_OK;
}

/* ---- its gradient: of the shares P that Attention itself gives out, by matrix products ------------------------- */

/* Swaps the dimensions of heads and rows. */
static deft_status emit_swapped(deft_gradient *gradient, int value, int *out) {
    const int64_t perm[] = {0, 2, 1, 3};
    deft_attr attr = {.name = "perm", .type = DEFT_ATTR_INTS, .count = 4, .ints = perm};
    return gradient->emit(gradient, DEFT_OP_TRANSPOSE, &attr, 1, &value, 1, out, 1);
}

/* Queries, or what is shaped like them, as [batch, heads of keys, queries of all heads that share these, size]. */
static deft_status emit_grouped(deft_gradient *gradient, const attention *a, int value, int64_t size, int *out) {
    const heads *q = &a->query;
    if (q->tensor->rank == 3) {
        DEFT_TRY(deft_emit_reshaped(gradient, value, 4, (int64_t[]){q->batch, q->length, q->heads, size}, &value));
        DEFT_TRY(emit_swapped(gradient, value, &value));
    }
    const int64_t dims[] = {q->batch, a->key.heads, q->heads / a->key.heads * q->length, size};
    return deft_emit_reshaped(gradient, value, 4, dims, out);
}

/* [batch, heads, rows, size] in the layout of an input. */
static deft_status emit_laid_out(deft_gradient *gradient, const heads *h, int value, int *out) {
    *out = value;
    if (h->tensor->rank == 4) return DEFT_OK;
    DEFT_TRY(emit_swapped(gradient, value, &value));
    return deft_emit_reshaped(gradient, value, 3, (int64_t[]){h->batch, h->length, h->heads * h->size}, out);
}

/* The node again, with P as its last output; outputs 1 and 2 are all keys and values. */
static deft_status emit_shares(deft_gradient *gradient, int *out) {
    enum { MOST = 16 };
    deft_attr attrs[MOST];
    int count = 0;
    for (int i = 0; i < gradient->attrs->count && count < MOST - 1; i++)
        if (strcmp(gradient->attrs->items[i].name, "qk_matmul_output_mode") != 0)
            attrs[count++] = gradient->attrs->items[i];
    attrs[count++] = (deft_attr){.name = "qk_matmul_output_mode", .type = DEFT_ATTR_INT, .i = 3};
    return gradient->emit(gradient, DEFT_OP_ATTENTION, attrs, count, gradient->in, gradient->in_count, out, 4);
}

static bool wants(const deft_gradient *gradient, int i) {
    return i < gradient->in_count && gradient->wanted[i];
}

/* Of all keys, or values: of the past ones and those of now. */
static deft_status emit_parts(deft_gradient *gradient, const attention *a, int now, int past, int value, int all_grad) {
    const heads *h = now == KEY ? &a->key : &a->value;
    int part;
    if (all_grad >= 0) DEFT_TRY(deft_emit(gradient, DEFT_OP_ADD, &value, 2, value, all_grad));
    if (wants(gradient, past)) DEFT_TRY(deft_emit_slice(gradient, value, 2, 0, a->past, &gradient->in_grad[past]));
    if (!gradient->wanted[now]) return DEFT_OK;
    DEFT_TRY(deft_emit_slice(gradient, value, 2, a->past, a->total, &part));
    return emit_laid_out(gradient, h, part, &gradient->in_grad[now]);
}

static deft_status emit_mask(deft_gradient *gradient, const attention *a, int dscores) {
    const heads *q = &a->query;
    int64_t columns = a->mask->dims[a->mask->rank - 1];
    DEFT_TRY(deft_emit_reshaped(gradient, dscores, 4, (int64_t[]){q->batch, q->heads, q->length, a->total}, &dscores));
    if (columns > 1 && columns < a->total) DEFT_TRY(deft_emit_slice(gradient, dscores, 3, 0, columns, &dscores));
    return deft_emit(gradient, DEFT_OP_SUM_TO, &gradient->in_grad[MASK], 2, dscores, gradient->in[MASK]);
}

/* With S = scale Q K' + mask and P = softmax(S): dV = P' dY, dS = P (dY V' - its mean under P), dQ = scale dS K,
 * dK = scale dS' Q. */
static deft_status emit_attention(deft_gradient *gradient, const attention *a, int dy) {
    deft_attr axis = {.name = "axis", .type = DEFT_ATTR_INT, .i = 3};
    deft_dtype dtype = a->query.tensor->dtype;
    int again[4], shares, queries, turned, dshares, dscores, scaled, value;
    DEFT_TRY(emit_shares(gradient, again));
    const int64_t dims[] = {a->query.batch, a->key.heads, a->query.heads / a->key.heads * a->query.length, a->total};
    DEFT_TRY(deft_emit_reshaped(gradient, again[3], 4, dims, &shares));
    DEFT_TRY(emit_grouped(gradient, a, dy, a->value.size, &dy));
    DEFT_TRY(emit_grouped(gradient, a, gradient->in[QUERY], a->query.size, &queries));

    DEFT_TRY(deft_emit_turned(gradient, shares, 4, &turned));
    DEFT_TRY(deft_emit(gradient, DEFT_OP_MATMUL, &value, 2, turned, dy));
    DEFT_TRY(emit_parts(gradient, a, VALUE, PAST_VALUE, value, gradient->out_count > 2 ? gradient->out_grad[2] : -1));

    DEFT_TRY(deft_emit_turned(gradient, again[2], 4, &turned));
    DEFT_TRY(deft_emit(gradient, DEFT_OP_MATMUL, &dshares, 2, dy, turned));
    DEFT_TRY(gradient->emit(gradient, DEFT_OP_SOFTMAX_GRAD, &axis, 1, (int[]){dshares, shares}, 2, &dscores, 1));
    if (wants(gradient, MASK)) DEFT_TRY(emit_mask(gradient, a, dscores));
    DEFT_TRY(deft_emit_scaled(gradient, dscores, dtype, a->scale, &scaled));

    DEFT_TRY(deft_emit_turned(gradient, scaled, 4, &turned));
    DEFT_TRY(deft_emit(gradient, DEFT_OP_MATMUL, &value, 2, turned, queries));
    DEFT_TRY(emit_parts(gradient, a, KEY, PAST_KEY, value, gradient->out_count > 1 ? gradient->out_grad[1] : -1));

    if (!gradient->wanted[QUERY]) return DEFT_OK;
    const heads *q = &a->query;
    DEFT_TRY(deft_emit(gradient, DEFT_OP_MATMUL, &value, 2, scaled, again[1]));
    DEFT_TRY(deft_emit_reshaped(gradient, value, 4, (int64_t[]){q->batch, q->heads, q->length, q->size}, &value));
    return emit_laid_out(gradient, q, value, &gradient->in_grad[QUERY]);
}

deft_status deft_gradient_attention(deft_gradient *gradient) {
    deft_op_call call = deft_gradient_call(gradient);
    attention a;
    DEFT_TRY(read_attention(&call, &a));
    if (a.cap > 0) return deft_fail(gradient->ctx, DEFT_UNSUPPORTED, "no gradient flows through a softcap");
    if (gradient->out_count > 3 && gradient->out_grad[3] >= 0)
        return deft_fail(gradient->ctx, DEFT_UNSUPPORTED, "no gradient flows through the scores that it gives out");
    if (gradient->out_grad[0] < 0)
        return deft_fail(gradient->ctx, DEFT_UNSUPPORTED, "no gradient flows through the keys and values alone");
    return emit_attention(gradient, &a, gradient->out_grad[0]);
}

/* ---- RotaryEmbedding ----------------------------------------------------------------------------------------- */

/* (x, cos, sin, positions): cos and sin are [positions, half], or [batch, length, half] where no positions are given.
 */
typedef struct rotary {
    heads x;
    int64_t half;
    const deft_tensor *positions;
} rotary;

static deft_status read_rotary(const deft_op_call *call, rotary *r) {
    int64_t width = deft_attr_int(call->attrs, "rotary_embedding_dim", 0);
    DEFT_TRY(deft_rule_require_types(call, 0, 2, DEFT_TYPES_FLOAT));
    DEFT_TRY(read_heads(call, 0, deft_attr_int(call->attrs, "num_heads", 0), &r->x));
    if (width == 0) width = r->x.size;
    if (width < 0 || width > r->x.size || width % 2)
        return deft_rule_fail(call, DEFT_INVALID, "%lld of %lld columns cannot be turned in pairs", (long long)width,
                              (long long)r->x.size);
    r->half = width / 2;
    r->positions = deft_rule_in(call, 3);
    const deft_tensor *table = call->in[1];
    int rank = r->positions ? 2 : 3;
    bool fits = table->rank == rank && table->dims[rank - 1] == r->half && deft_shape_equal(table, call->in[2]);
    if (fits && !r->positions) fits = table->dims[0] == r->x.batch && table->dims[1] == r->x.length;
    if (fits && r->positions)
        fits = r->positions->dtype == DEFT_I64 && r->positions->rank == 2 && r->positions->dims[0] == r->x.batch &&
               r->positions->dims[1] == r->x.length;
    return fits ? DEFT_OK
                : deft_rule_fail(call, DEFT_INVALID, "the tables of cos and sin, or the positions, do not fit x");
}

deft_status deft_shape_rotary(const deft_op_call *call) {
    rotary r;
    DEFT_TRY(read_rotary(call, &r));
    return deft_rule_set_out_like(call, 0, call->in[0]);
}

static void turn(const deft_op_call *call, const rotary *r, int64_t x, int64_t table) {
    bool interleaved = deft_attr_int(call->attrs, "interleaved", 0) != 0;
    for (int64_t i = 0; i < r->half; i++) {
        int64_t a = x + (interleaved ? 2 * i : i), b = interleaved ? a + 1 : a + r->half;
        double cosine = deft_element_real(call->in[1], table + i), sine = deft_element_real(call->in[2], table + i);
        double p = deft_element_real(call->in[0], a), q = deft_element_real(call->in[0], b);
        deft_element_set_real(call->out[0], a, cosine * p - sine * q);
        deft_element_set_real(call->out[0], b, sine * p + cosine * q);
    }
    for (int64_t i = 2 * r->half; i < r->x.size; i++)
        deft_element_copy(call->in[0], x + i, call->out[0], x + i);
}

deft_status deft_forward_rotary(const deft_op_call *call) {
    rotary r;
    DEFT_TRY(read_rotary(call, &r));
    for (int64_t i = 0; i < r.x.batch * r.x.length; i++) {
        int64_t row = i;
        if (r.positions) row = ((const int64_t *)r.positions->data)[i];
        if (row < 0 || (r.positions && row >= call->in[1]->dims[0]))
            return deft_rule_fail(call, DEFT_INVALID, "position %lld is outside of the tables of %lld", (long long)row,
                                  (long long)call->in[1]->dims[0]);
        for (int64_t head = 0; head < r.x.heads; head++)
            turn(call, &r, row_of(&r.x, i / r.x.length, head, i % r.x.length), row * r.half);
    }
    return DEFT_OK;
}

/* Turned back. */
deft_status deft_gradient_rotary(deft_gradient *gradient) {
    int back;
    if (gradient->wanted[1] || gradient->wanted[2])
        return deft_fail(gradient->ctx, DEFT_UNSUPPORTED, "no gradient flows to the tables of cos and sin");
    DEFT_TRY(deft_emit(gradient, DEFT_OP_NEG, &back, 1, gradient->in[2]));
    int in[] = {gradient->out_grad[0], gradient->in[1], back, gradient->in_count > 3 ? gradient->in[3] : -1};
    return gradient->emit(gradient, DEFT_OP_ROTARY_EMBEDDING, gradient->attrs->items, gradient->attrs->count, in,
                          gradient->in_count, &gradient->in_grad[0], 1);
}
