#include "ir/op/nest.h"

static bool can_merge(const deft_nest *nest, int64_t dim, int64_t a, int64_t b) {
    int last = nest->rank - 1;
    return nest->strides[0][last] == a * dim && nest->strides[1][last] == b * dim;
}

void deft_nest_init(deft_nest *nest, int rank, const int64_t *dims, const int64_t *a, const int64_t *b) {
    *nest = (deft_nest){.rank = 0, .count = 1};
    for (int i = 0; i < rank; i++) {
        int64_t stride_b = b ? b[i] : 0;
        nest->count *= dims[i];
        if (dims[i] == 1) continue;
        if (nest->rank > 0 && can_merge(nest, dims[i], a[i], stride_b))
            nest->dims[nest->rank - 1] *= dims[i];
        else
            nest->dims[nest->rank++] = dims[i];
        nest->strides[0][nest->rank - 1] = a[i];
        nest->strides[1][nest->rank - 1] = stride_b;
    }
    if (nest->rank == 0) nest->dims[nest->rank++] = 1;
}

deft_nest_row deft_nest_row_at(const deft_nest *nest, int64_t begin, int64_t end) {
    int64_t rest = begin, row_length = nest->dims[nest->rank - 1];
    deft_nest_row row = {.begin = begin, .length = row_length - begin % row_length};
    if (row.length > end - begin) row.length = end - begin;
    for (int i = nest->rank - 1; i >= 0; i--) {
        int64_t index = rest % nest->dims[i];
        rest /= nest->dims[i];
        row.offset[0] += index * nest->strides[0][i];
        row.offset[1] += index * nest->strides[1][i];
    }
    return row;
}
