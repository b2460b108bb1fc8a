/* Attention of one floating type: see each_real.h. */

static REAL TYPED(dot)(const REAL *x, const REAL *y, int64_t count) {
    REAL sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < count; i++)
        sum += x[i] * y[i];
    return sum;
}

/* A row of keys or values, which may be a past one. */
static const REAL *TYPED(row_at)(const deft_tensor *past, const heads *now, int64_t past_length, int64_t batch,
                                 int64_t head, int64_t row) {
    if (row >= past_length) return (const REAL *)now->tensor->data + row_of(now, batch, head, row - past_length);
    return (const REAL *)past->data + ((batch * now->heads + head) * past_length + row) * now->size;
}

/* The score of a key, and in *shown what is given out of it but for its share of the sum. */
static REAL TYPED(score)(const attention *a, const REAL *query, int64_t batch, int64_t head, int64_t row, int64_t key,
                         REAL *shown) {
    int64_t group = head / (a->query.heads / a->key.heads);
    const REAL *keys = TYPED(row_at)(a->past_key, &a->key, a->past, batch, group, key);
    REAL product = TYPED(dot)(query, keys, a->key.size) * (REAL)a->scale, capped = product;
    if (a->cap > 0) capped = (REAL)a->cap * tanh(product / (REAL)a->cap);
    REAL biased = capped + (REAL)bias_of(a, batch, head, row, key);
    *shown = a->mode == 0 ? product : a->mode == 1 ? capped : biased;
    return biased;
}

/* One query: its scores are computed twice, since there is nowhere to keep them. */
static void TYPED(attend_row)(const deft_op_call *call, const attention *a, int64_t batch, int64_t head, int64_t row) {
    const REAL *query = (const REAL *)a->query.tensor->data + row_of(&a->query, batch, head, row);
    heads out = a->query;
    out.size = a->value.size;
    REAL *y = call->out[0] ? (REAL *)call->out[0]->data + row_of(&out, batch, head, row) : NULL;
    deft_tensor *scores = deft_rule_out(call, 3);
    REAL *shown =
        scores ? (REAL *)scores->data + ((batch * a->query.heads + head) * a->query.length + row) * a->total : NULL;
    REAL largest = -INFINITY, sum = 0, ignored;
    for (int64_t key = 0; key < a->total; key++) {
        REAL value = TYPED(score)(a, query, batch, head, row, key, shown ? &shown[key] : &ignored);
        if (value > largest || isnan(value)) largest = value;
    }
    for (int64_t i = 0; y && i < out.size; i++)
        y[i] = 0;
    int64_t group = head / (a->query.heads / a->key.heads);
    for (int64_t key = 0; key < a->total && largest != (REAL)-INFINITY; key++) {
        REAL weight = exp(TYPED(score)(a, query, batch, head, row, key, &ignored) - largest);
        const REAL *values = TYPED(row_at)(a->past_value, &a->value, a->past, batch, group, key);
        if (shown && a->mode == 3) shown[key] = weight;
        sum += weight;
        if (weight == 0) continue;
        for (int64_t i = 0; y && i < out.size; i++)
            y[i] += weight * values[i];
    }
    for (int64_t i = 0; y && sum != 0 && i < out.size; i++)
        y[i] /= sum;
    for (int64_t key = 0; shown && a->mode == 3 && key < a->total; key++)
        shown[key] = sum != 0 ? shown[key] / sum : 0;
}

static void TYPED(attend)(const deft_op_call *call, const attention *a) {
    int64_t rows = a->query.batch * a->query.heads * a->query.length;
    int threads = deft_rule_threads(call, rows * a->total * (a->key.size + a->value.size));
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < rows; i++) {
        int64_t head = i / a->query.length;
        TYPED(attend_row)(call, a, head / a->query.heads, head % a->query.heads, i % a->query.length);
    }
}
