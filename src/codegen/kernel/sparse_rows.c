#include "codegen/kernel/sparse_rows.h"

#include <stdlib.h>

static int by_descending_length(const void *a, const void *b) {
    const deft_sorted_row *first = a, *second = b;
    if (first->length != second->length) return first->length < second->length ? 1 : -1;
    return first->row < second->row ? -1 : first->row > second->row;
}

static int64_t count_nonzeros(const deft_linear *l, int64_t row, int64_t first_column, int64_t past_column) {
    const float *weight = deft_linear_row(l, row);
    int64_t count = 0;
    for (int64_t j = first_column; j < past_column; j++)
        count += weight[j * l->column_stride] != 0;
    return count;
}

void deft_rows_sort(const deft_linear *l, deft_rows_part part, deft_sorted_row *order) {
    int64_t rows = part.past_row - part.first_row;
    for (int64_t i = 0; i < rows; i++) {
        int64_t row = part.first_row + i;
        order[i] = (deft_sorted_row){count_nonzeros(l, row, part.first_column, part.past_column), row};
    }
    qsort(order, (size_t)rows, sizeof *order, by_descending_length);
}

deft_status deft_rows_balance(deft_context *ctx, const deft_linear *l, int count, int64_t **first) {
    int64_t rows = l->groups * l->m, *shares, *before; /* costs of the rows before a row */
    DEFT_TRY(deft_allocate_zeroed(ctx, (size_t)count + 1, sizeof *shares, &shares));
    shares[count] = rows;
    *first = shares;
    if (count == 1) return DEFT_OK;
    deft_status status = deft_allocate_zeroed(ctx, (size_t)rows + 1, sizeof *before, &before);
    if (status != DEFT_OK) {
        deft_release(ctx, shares);
        return status;
    }
    for (int64_t i = 0; i < rows; i++)
        before[i + 1] = before[i] + 1 + count_nonzeros(l, i, 0, l->k);
    for (int i = 1; i < count; i++)
        shares[i] = deft_rows_share(before, rows, i, count);
    deft_release(ctx, before);
    return DEFT_OK;
}

int64_t deft_rows_share(const int64_t *begin, int64_t count, int thread, int team) {
    if (thread == team) return count;
    int64_t target = begin[count] * thread / team, low = 0, high = count;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (begin[middle] < target)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}
