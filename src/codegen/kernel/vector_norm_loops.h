/* The loops over pixels in blocks of vector_norm.c, part of vector_loops_each.h: a vector is a pixel's channels. */

enum { SUMMED = 64 /* pixels in f32, before they are added in f64 */, CHAINS = 4 /* of additions, side by side */ };

/* sum += the chains */
static inline __attribute__((always_inline)) void add_chains(const lanes *chains, double *sum) {
    lanes all = (chains[0] + chains[1]) + (chains[2] + chains[3]);
    for (int i = 0; i < LANES; i++)
        sum[i] += (double)all[i];
}

static inline __attribute__((always_inline)) lanes lanes_at(const float *x) {
    return *(const lanes *)x;
}

static void lane_sums(const float *a, const float *b, const float *center, int64_t pixels, double *sum,
                      double *product) {
    lanes middle = lanes_at(center);
    for (int64_t first = 0; first < pixels; first += SUMMED) {
        int64_t past = first + SUMMED < pixels ? first + SUMMED : pixels, i = first;
        lanes sums[CHAINS] = {{0}}, products[CHAINS] = {{0}};
        for (; i + CHAINS <= past; i += CHAINS) {
#pragma GCC unroll 4
            for (int c = 0; c < CHAINS; c++) {
                lanes value = lanes_at(a + (i + c) * LANES);
                sums[c] += value;
                products[c] += value * (lanes_at(b + (i + c) * LANES) - middle);
            }
        }
        for (; i < past; i++) {
            sums[0] += lanes_at(a + i * LANES);
            products[0] += lanes_at(a + i * LANES) * (lanes_at(b + i * LANES) - middle);
        }
        add_chains(sums, sum);
        add_chains(products, product);
    }
}

static void lane_spread(const float *x, const float *center, int64_t pixels, double *sum, double *squares) {
    lanes middle = lanes_at(center);
    for (int64_t first = 0; first < pixels; first += SUMMED) {
        int64_t past = first + SUMMED < pixels ? first + SUMMED : pixels, i = first;
        lanes sums[CHAINS] = {{0}}, products[CHAINS] = {{0}};
        for (; i + CHAINS <= past; i += CHAINS) {
#pragma GCC unroll 4
            for (int c = 0; c < CHAINS; c++) {
                lanes apart = lanes_at(x + (i + c) * LANES) - middle;
                sums[c] += apart;
                products[c] += apart * apart;
            }
        }
        for (; i < past; i++) {
            lanes apart = lanes_at(x + i * LANES) - middle;
            sums[0] += apart;
            products[0] += apart * apart;
        }
        add_chains(sums, sum);
        add_chains(products, squares);
    }
}

static void lane_scale(const float *a, const float *b, const float *a_factor, const float *b_factor, const float *level,
                       float *y, int64_t pixels) {
    lanes with_a = lanes_at(a_factor), with_b = lanes_at(b_factor), offset = lanes_at(level);
    if (!a) {
        for (int64_t i = 0; i < pixels * LANES; i += LANES)
            *(lanes *)(y + i) = lanes_at(b + i) * with_b + offset;
        return;
    }
    for (int64_t i = 0; i < pixels * LANES; i += LANES)
        *(lanes *)(y + i) = lanes_at(a + i) * with_a + (lanes_at(b + i) * with_b + offset);
}
