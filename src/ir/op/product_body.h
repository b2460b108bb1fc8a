/* The matrix product of one floating type: see each_real.h. */

/* y[n] = sum over k of x[k] * b[k * row + n * column]. */
static void TYPED(row_product)(const REAL *x, int64_t x_stride, const REAL *b, int64_t row, int64_t column, int64_t k,
                               REAL *restrict y, int64_t n) {
    if (column == 1) {
        for (int64_t j = 0; j < n; j++)
            y[j] = 0;
        for (int64_t i = 0; i < k; i++) {
            const REAL *restrict b_row = b + i * row;
            REAL factor = x[i * x_stride];
#pragma omp simd
            for (int64_t j = 0; j < n; j++)
                y[j] += factor * b_row[j];
        }
        return;
    }
    for (int64_t j = 0; j < n; j++) {
        const REAL *b_column = b + j * column;
        REAL sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < k; i++)
            sum += x[i * x_stride] * b_column[i * row];
        y[j] = sum;
    }
}

static void TYPED(product)(const deft_op_call *call, const deft_product *product) {
    int threads = deft_rule_threads(call, product->m * product->n * product->k);
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < product->m; i++)
        TYPED(row_product)
    ((const REAL *)product->a + i * product->a_row, product->a_column, product->b, product->b_row, product->b_column,
     product->k, (REAL *)product->y + i * product->n, product->n);
}
