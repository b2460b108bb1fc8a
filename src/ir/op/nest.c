#include "ir/op/nest.h"

#include <string.h>

static bool can_merge(const deft_nest *nest, int64_t dim, int next, int count, const int64_t strides[][DEFT_MAX_RANK]) {
    for (int i = 0; i < count; i++)
        if (nest->strides[i][nest->rank - 1] != strides[i][next] * dim) return false;
    return true;
}

void deft_nest_init_many(deft_nest *nest, int rank, const int64_t *dims, int count,
                         const int64_t strides[][DEFT_MAX_RANK]) {
    *nest = (deft_nest){.rank = 0, .count = 1};
    for (int i = 0; i < rank; i++) {
        nest->count *= dims[i];
        if (dims[i] == 1) continue;
        if (nest->rank > 0 && can_merge(nest, dims[i], i, count, strides))
            nest->dims[nest->rank - 1] *= dims[i];
        else
            nest->dims[nest->rank++] = dims[i];
        for (int j = 0; j < count; j++)
            nest->strides[j][nest->rank - 1] = strides[j][i];
    }
    if (nest->rank == 0) nest->dims[nest->rank++] = 1;
}

void deft_nest_init(deft_nest *nest, int rank, const int64_t *dims, const int64_t *a, const int64_t *b) {
    int64_t strides[2][DEFT_MAX_RANK];
    memcpy(strides[0], a, sizeof *a * (size_t)rank);
    if (b) memcpy(strides[1], b, sizeof *b * (size_t)rank);
    deft_nest_init_many(nest, rank, dims, b ? 2 : 1, (const int64_t(*)[DEFT_MAX_RANK])strides);
}

deft_nest_row deft_nest_row_at(const deft_nest *nest, int64_t begin, int64_t end) {
    int64_t rest = begin, row_length = nest->dims[nest->rank - 1];
    deft_nest_row row = {.begin = begin, .length = row_length - begin % row_length};
    if (row.length > end - begin) row.length = end - begin;
    for (int i = nest->rank - 1; i >= 0; i--) {
        int64_t index = rest % nest->dims[i];
        rest /= nest->dims[i];
        for (int j = 0; j < DEFT_NEST_OPERANDS; j++)
            row.offset[j] += index * nest->strides[j][i];
    }
    return row;
}

int64_t deft_nest_rows_at(const deft_nest *nest, int64_t begin, int64_t end) {
    int64_t row_length = nest->dims[nest->rank - 1], row = begin / row_length;
    if (nest->rank < 2 || begin % row_length || end - begin < row_length) return 1;
    int64_t left = nest->dims[nest->rank - 2] - row % nest->dims[nest->rank - 2], fit = (end - begin) / row_length;
    return left < fit ? left : fit;
}
