/* A slice times x, for a vector of any width. Who includes this defines LANES, RUN_SLICES (the function's name), the
 * types `floats` and `positions` (of 32-bit integers), and the operations on them that are called here. */

/* Bytes that are fetched ahead: the processor's own prefetching stops at the end of each page, and gathers keep it from
 * looking far enough. Matrices in memory are read a third faster, those in caches no slower. */
enum { VALUES_AHEAD = 2048, INDICES_AHEAD = 512 };

/* Where a slice is read. */
typedef struct cursor {
    const unsigned char *index;
    const float *value;
    const uint16_t *short_value;
    positions columns;
} cursor;

/* The columns and weights of the next step; inlined with constants. */
static inline __attribute__((always_inline)) floats next_step(cursor *c, int index_bytes, bool is_short) {
    c->columns = index_bytes == 1   ? add_distances(c->columns, c->index)
                 : index_bytes == 2 ? load_columns_2(c->index)
                                    : load_columns_4(c->index);
    c->index += LANES * index_bytes;
    fetch_ahead(c->index + INDICES_AHEAD);
    if (is_short) {
        c->short_value += LANES;
        fetch_ahead((const char *)c->short_value + VALUES_AHEAD / 2);
        return load_upper_halves(c->short_value - LANES);
    }
    c->value += LANES;
    fetch_ahead((const char *)c->value + VALUES_AHEAD);
    return load(c->value - LANES);
}

static inline __attribute__((always_inline)) floats sum_slice(const deft_sell *sell, const deft_sell_slice *s,
                                                              const float *x, floats bias, int index_bytes,
                                                              bool is_short) {
    cursor c = {.index = sell->indices + s->index_at, .columns = no_positions()};
    if (is_short)
        c.short_value = sell->short_values + s->step * LANES;
    else
        c.value = sell->values + s->step * LANES;
    floats even = bias, odd = zero();
    int64_t step = 0;
    for (; step + 2 <= s->full; step += 2) {
        floats a = next_step(&c, index_bytes, is_short);
        even = multiply_add(a, gather(x, c.columns), even);
        floats b = next_step(&c, index_bytes, is_short);
        odd = multiply_add(b, gather(x, c.columns), odd);
    }
    for (; step < s->last; step++) {
        floats a = next_step(&c, index_bytes, is_short);
        int rows = step < s->full ? LANES : sell->active[s->partial + step - s->full];
        even = multiply_add(a, gather_first(x, c.columns, rows), even);
    }
    return add(even, odd);
}

static inline floats sum_any_slice(const deft_sell *sell, const deft_sell_slice *s, const float *x, floats bias) {
    bool is_short = sell->short_values != NULL;
    switch (s->index_bytes) {
    case 1:
        return is_short ? sum_slice(sell, s, x, bias, 1, true) : sum_slice(sell, s, x, bias, 1, false);
    case 2:
        return is_short ? sum_slice(sell, s, x, bias, 2, true) : sum_slice(sell, s, x, bias, 2, false);
    default:
        return is_short ? sum_slice(sell, s, x, bias, 4, true) : sum_slice(sell, s, x, bias, 4, false);
    }
}

void RUN_SLICES(const deft_vector *vector, int64_t begin, int64_t end, const float *x, float *y) {
    const deft_sell *sell = vector->sell;
    for (int64_t slice = begin; slice < end; slice++) {
        float values[LANES];
        floats sum = sum_any_slice(sell, &sell->slices[slice], x, load(sell->bias + slice * LANES));
        store(values, clamp(sum, vector->activation));
        const int32_t *rows = sell->rows + slice * LANES;
        for (int lane = 0; lane < LANES && rows[lane] >= 0; lane++)
            y[rows[lane]] = values[lane];
    }
}
