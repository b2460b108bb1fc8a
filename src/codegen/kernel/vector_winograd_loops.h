/* The passes of Winograd's algorithm over tiles of 4x4 (vector_winograd.c), part of vector_loops_each.h: a pass goes
 * over one dimension of as many channels as a vector has lanes. source: LAVIN2016 */

/* Products of polynomials, interpolated at 0, +-a, +-b and infinity. */
static const float point_a = 5.0f / 8, point_b = 3.0f / 2;

/* y[6] = B' x[6]; vectors `from` and `to` apart. */
static inline __attribute__((always_inline)) void pass_in(const lanes *x, int from, lanes *y, int to) {
    const float a = point_a, b = point_b, aa = a * a, bb = b * b;
    lanes even_a = x[4 * from] - bb * x[2 * from], odd_a = a * (x[3 * from] - bb * x[from]);
    lanes even_b = x[4 * from] - aa * x[2 * from], odd_b = b * (x[3 * from] - aa * x[from]);
    y[0] = aa * bb * x[0] - (aa + bb) * x[2 * from] + x[4 * from];
    y[to] = even_a + odd_a;
    y[2 * to] = even_a - odd_a;
    y[3 * to] = even_b + odd_b;
    y[4 * to] = even_b - odd_b;
    y[5 * to] = aa * bb * x[from] - (aa + bb) * x[3 * from] + x[5 * from];
}

/* y[6] = G x[3] */
static inline __attribute__((always_inline)) void pass_weights(const lanes *x, int from, lanes *y, int to) {
    const float a = point_a, b = point_b, aa = a * a, bb = b * b;
    const float at_a = 1 / (2 * aa * (aa - bb)), at_b = 1 / (2 * bb * (bb - aa));
    lanes even_a = at_a * (x[0] + aa * x[2 * from]), odd_a = at_a * a * x[from];
    lanes even_b = at_b * (x[0] + bb * x[2 * from]), odd_b = at_b * b * x[from];
    y[0] = 1 / (aa * bb) * x[0];
    y[to] = even_a + odd_a;
    y[2 * to] = even_a - odd_a;
    y[3 * to] = even_b + odd_b;
    y[4 * to] = even_b - odd_b;
    y[5 * to] = x[2 * from];
}

/* y[4] = A' x[6] */
static inline __attribute__((always_inline)) void pass_out(const lanes *x, int from, lanes *y, int to) {
    const float a = point_a, b = point_b, aa = a * a, bb = b * b;
    lanes even_a = x[from] + x[2 * from], odd_a = x[from] - x[2 * from];
    lanes even_b = x[3 * from] + x[4 * from], odd_b = x[3 * from] - x[4 * from];
    y[0] = x[0] + even_a + even_b;
    y[to] = a * odd_a + b * odd_b;
    y[2 * to] = aa * even_a + bb * even_b;
    y[3 * to] = aa * a * odd_a + bb * b * odd_b + x[5 * from];
}

static void winograd_in(const float *x, int64_t x_row, float *to, int64_t point) {
    lanes columns[36], row[6];
    for (int c = 0; c < 6; c++) {
#pragma GCC unroll 6
        for (int r = 0; r < 6; r++)
            row[r] = *(const lanes *)(x + r * x_row + c * LANES);
        pass_in(row, 1, columns + c, 6);
    }
    for (int r = 0; r < 6; r++) {
        pass_in(columns + 6 * r, 1, row, 1);
#pragma GCC unroll 6
        for (int c = 0; c < 6; c++)
            *(lanes *)(to + (6 * r + c) * point) = row[c];
    }
}

static void winograd_weights(const float *w, int64_t filter, float *to, int64_t point) {
    lanes taps[9], rows[18], row[6];
    for (int i = 0; i < 9; i++)
        for (int l = 0; l < LANES; l++)
            taps[i][l] = w[l * filter + i];
    for (int c = 0; c < 3; c++)
        pass_weights(taps + c, 3, rows + c, 3);
    for (int r = 0; r < 6; r++) {
        pass_weights(rows + 3 * r, 1, row, 1);
        for (int c = 0; c < 6; c++)
            *(lanes *)(to + (6 * r + c) * point) = row[c];
    }
}

static void winograd_out(const float *sums, int64_t point, const float *bias, float *y, float *not_finite) {
    lanes columns[24], row[6], tests = *(lanes *)not_finite, start = *(const lanes *)bias;
    for (int c = 0; c < 6; c++) {
#pragma GCC unroll 6
        for (int r = 0; r < 6; r++)
            row[r] = *(const lanes *)(sums + (6 * r + c) * point);
        pass_out(row, 1, columns + c, 6);
    }
    for (int r = 0; r < 4; r++) {
        pass_out(columns + 6 * r, 1, row, 1);
#pragma GCC unroll 4
        for (int c = 0; c < 4; c++) {
            *(lanes *)(y + (4 * r + c) * LANES) = row[c] + start;
            tests += 0 * row[c];
        }
    }
    *(lanes *)not_finite = tests;
}
