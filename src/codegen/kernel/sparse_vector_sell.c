/* Making slices of a sparse matrix: see sparse_vector.h. */
#include "codegen/kernel/sparse_vector.h"

#include <string.h>

enum { MOST_DISTANCE = 255, MOST_COLUMN = 65535 };

/* ---- what it will look like ---------------------------------------------------------------------------------- */

/* Bytes that an index of this row takes. */
static int index_bytes_of(const deft_linear *l, int64_t row) {
    const float *weight = l->weight + row * l->row_stride;
    int64_t before = 0;
    for (int64_t j = 0; j < l->k; j++) {
        if (weight[j * l->column_stride] == 0) continue;
        if (j - before > MOST_DISTANCE) return l->k - 1 > MOST_COLUMN ? 4 : 2;
        before = j;
    }
    return 1;
}

static uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* Whether every weight, scaled, is its upper half. */
static bool are_short(const deft_linear *l) {
    uint32_t lower = 0;
    for (int64_t i = 0; i < l->weights; i++)
        lower |= bits_of(l->scale * l->weight[i]);
    return (lower & 0xffff) == 0;
}

/* Sets slices and rows, and counts steps and bytes. */
static void slice_rows(deft_sell *sell, const deft_linear *l, const deft_sorted_row *order, int64_t *partial_count) {
    int64_t steps = 0, partial = 0, bytes = 0;
    for (int64_t slice = 0; slice < sell->slice_count; slice++) {
        int64_t first = slice * sell->lanes, past = first + sell->lanes;
        deft_sell_slice *s = &sell->slices[slice];
        *s = (deft_sell_slice){.step = steps, .partial = partial, .last = order[first].length, .index_at = bytes};
        s->full = past <= l->m ? order[past - 1].length : 0;
        s->index_bytes = 1;
        for (int64_t i = first; i < past; i++) {
            bool there = i < l->m;
            sell->rows[i] = there ? (int32_t)order[i].row : -1;
            sell->bias[i] = there && l->bias ? l->bias_scale * l->bias[order[i].row * l->bias_stride] : 0;
            int index_bytes = there ? index_bytes_of(l, order[i].row) : 1;
            if (index_bytes > s->index_bytes) s->index_bytes = index_bytes;
        }
        sell->begin[slice] = steps;
        steps += s->last;
        partial += s->last - s->full;
        bytes += s->last * sell->lanes * s->index_bytes;
    }
    sell->begin[sell->slice_count] = sell->step_count = steps;
    sell->index_bytes = bytes;
    *partial_count = partial;
}

/* ---- filling it ---------------------------------------------------------------------------------------------- */

static void fill_row(deft_sell *sell, const deft_linear *l, int64_t slice, int lane) {
    const float *weight = l->weight + sell->rows[slice * sell->lanes + lane] * l->row_stride;
    const deft_sell_slice *s = &sell->slices[slice];
    int64_t at = s->step * sell->lanes + lane, before = 0;
    unsigned char *index = sell->indices + s->index_at + lane * s->index_bytes;
    for (int64_t j = 0; j < l->k; j++) {
        if (weight[j * l->column_stride] == 0) continue;
        float value = l->scale * weight[j * l->column_stride];
        if (sell->short_values)
            sell->short_values[at] = (uint16_t)(bits_of(value) >> 16);
        else
            sell->values[at] = value;
        int64_t told = s->index_bytes == 1 ? j - before : j;
        memcpy(index, &told, (size_t)s->index_bytes); /* little-endian */
        index += sell->lanes * s->index_bytes;
        at += sell->lanes;
        before = j;
    }
}

static void fill_active(deft_sell *sell, int64_t rows, const deft_sorted_row *order) {
    for (int64_t slice = 0; slice < sell->slice_count; slice++) {
        const deft_sell_slice *s = &sell->slices[slice];
        for (int64_t step = s->full; step < s->last; step++) {
            int there = 0;
            int64_t i = slice * sell->lanes;
            while (there < sell->lanes && i + there < rows && order[i + there].length > step)
                there++;
            sell->active[s->partial + step - s->full] = (uint8_t)there;
        }
    }
}

static deft_status fill_sell(deft_context *ctx, const deft_linear *l, const deft_sorted_row *order, deft_sell *sell) {
    size_t slices = (size_t)sell->slice_count, places = slices * (size_t)sell->lanes;
    DEFT_TRY(deft_allocate_zeroed(ctx, slices, sizeof *sell->slices, &sell->slices));
    DEFT_TRY(deft_allocate_zeroed(ctx, places, sizeof *sell->rows, &sell->rows));
    DEFT_TRY(deft_allocate_zeroed(ctx, places, sizeof *sell->bias, &sell->bias));
    DEFT_TRY(deft_allocate_zeroed(ctx, slices + 1, sizeof *sell->begin, &sell->begin));
    int64_t partial;
    slice_rows(sell, l, order, &partial);
    size_t count = (size_t)(sell->step_count * sell->lanes);
    if (are_short(l))
        DEFT_TRY(deft_allocate_zeroed(ctx, count, sizeof *sell->short_values, &sell->short_values));
    else
        DEFT_TRY(deft_allocate_zeroed(ctx, count, sizeof *sell->values, &sell->values));
    DEFT_TRY(deft_allocate_zeroed(ctx, (size_t)sell->index_bytes, 1, &sell->indices));
    DEFT_TRY(deft_allocate_zeroed(ctx, (size_t)partial, sizeof *sell->active, &sell->active));
    fill_active(sell, l->m, order);
    for (int64_t slice = 0; slice < sell->slice_count; slice++)
        for (int lane = 0; lane < sell->lanes && sell->rows[slice * sell->lanes + lane] >= 0; lane++)
            fill_row(sell, l, slice, lane);
    return DEFT_OK;
}

deft_status deft_sell_new(deft_context *ctx, const deft_linear *l, int lanes, deft_sell **sell) {
    deft_sell *made = NULL;
    deft_sorted_row *order = NULL;
    deft_status status;
    DEFT_TRY_OR_FAIL(deft_allocate_zeroed(ctx, 1, sizeof *made, &made));
    made->lanes = lanes;
    made->slice_count = (l->m + lanes - 1) / lanes;
    DEFT_TRY_OR_FAIL(deft_allocate(ctx, (size_t)l->m * sizeof *order, &order));
    deft_rows_sort(l, (deft_rows_part){0, l->m, 0, l->k}, order);
    DEFT_TRY_OR_FAIL(fill_sell(ctx, l, order, made));
    deft_release(ctx, order);
    *sell = made;
    return DEFT_OK;
fail:
    deft_release(ctx, order);
    deft_sell_free(ctx, made);
    return status;
}

void deft_sell_free(deft_context *ctx, deft_sell *sell) {
    if (!sell) return;
    deft_release(ctx, sell->slices);
    deft_release(ctx, sell->rows);
    deft_release(ctx, sell->bias);
    deft_release(ctx, sell->begin);
    deft_release(ctx, sell->values);
    deft_release(ctx, sell->short_values);
    deft_release(ctx, sell->indices);
    deft_release(ctx, sell->active);
    deft_release(ctx, sell);
}
