#include "codegen/kernel/sparse_rows.h"

#include <stdlib.h>

static int by_descending_length(const void *a, const void *b) {
    const deft_sorted_row *first = a, *second = b;
    if (first->length != second->length) return first->length < second->length ? 1 : -1;
    return first->row < second->row ? -1 : first->row > second->row;
}

void deft_rows_sort(const deft_linear *l, deft_sorted_row *order) {
    for (int64_t row = 0; row < l->m; row++) {
        const float *weight = l->weight + row * l->row_stride;
        order[row] = (deft_sorted_row){.row = row};
        for (int64_t j = 0; j < l->k; j++)
            order[row].length += weight[j * l->column_stride] != 0;
    }
    qsort(order, (size_t)l->m, sizeof *order, by_descending_length);
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
