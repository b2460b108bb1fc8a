/* Making the bitmap of a sparse matrix: see sparse_vector.h. */
#include "codegen/kernel/sparse_vector.h"

enum { LANES = 16 };

static void fill_bitmap(deft_bitmap *bitmap, const deft_linear *l) {
    int64_t count = 0;
    for (int64_t row = 0; row < l->m; row++) {
        const float *weight = l->weight + row * l->row_stride;
        uint64_t *bits = bitmap->bits + row * bitmap->words;
        bitmap->begin[row] = count;
        bitmap->bias[row] = l->bias ? l->bias_scale * l->bias[row * l->bias_stride] : 0;
        for (int64_t j = 0; j < l->k; j++) {
            if (weight[j * l->column_stride] == 0) continue;
            bits[j / DEFT_BITMAP_BITS] |= (uint64_t)1 << j % DEFT_BITMAP_BITS;
            bitmap->values[count++] = l->scale * weight[j * l->column_stride];
        }
    }
    bitmap->begin[l->m] = count;
}

deft_status deft_bitmap_new(deft_context *ctx, const deft_linear *l, deft_bitmap **bitmap) {
    deft_bitmap *made = NULL;
    size_t rows = (size_t)l->m;
    deft_status status;
    DEFT_TRY_OR_FAIL(deft_allocate_zeroed(ctx, 1, sizeof *made, &made));
    made->words = (l->k + DEFT_BITMAP_BITS - 1) / DEFT_BITMAP_BITS;
    DEFT_TRY_OR_FAIL(deft_allocate_zeroed(ctx, rows * (size_t)made->words, sizeof *made->bits, &made->bits));
    DEFT_TRY_OR_FAIL(deft_allocate_zeroed(ctx, rows, sizeof *made->bias, &made->bias));
    DEFT_TRY_OR_FAIL(deft_allocate_zeroed(ctx, (size_t)l->nonzeros + LANES, sizeof *made->values, &made->values));
    DEFT_TRY_OR_FAIL(deft_allocate_zeroed(ctx, rows + 1, sizeof *made->begin, &made->begin));
    fill_bitmap(made, l);
    *bitmap = made;
    return DEFT_OK;
fail:
    deft_bitmap_free(ctx, made);
    return status;
}

void deft_bitmap_free(deft_context *ctx, deft_bitmap *bitmap) {
    if (!bitmap) return;
    deft_release(ctx, bitmap->bits);
    deft_release(ctx, bitmap->bias);
    deft_release(ctx, bitmap->values);
    deft_release(ctx, bitmap->begin);
    deft_release(ctx, bitmap);
}
