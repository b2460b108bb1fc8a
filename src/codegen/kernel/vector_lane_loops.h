/* The loops over pixels in blocks of vector_norm.c, vector_pool_grad.c and vector_lrn.c, part of vector_loops_each.h: a
 * vector is a block of a pixel's channels. */

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

/* Inlined with an `a` that is known to be NULL or not: b - center then. */
static inline __attribute__((always_inline)) void add_pixel(const float *a, const float *b, lanes center, int64_t pixel,
                                                            lanes *sum, lanes *product) {
    lanes apart = lanes_at(b + pixel * LANES) - center, value = a ? lanes_at(a + pixel * LANES) : apart;
    *sum += value;
    *product += value * apart;
}

static inline __attribute__((always_inline)) void add_pixels(const float *a, const float *b, const float *center,
                                                             int64_t pixels, double *sum, double *product) {
    lanes middle = lanes_at(center);
    for (int64_t first = 0; first < pixels; first += SUMMED) {
        int64_t past = first + SUMMED < pixels ? first + SUMMED : pixels, i = first;
        lanes sums[CHAINS] = {{0}}, products[CHAINS] = {{0}};
        for (; i + CHAINS <= past; i += CHAINS) {
#pragma GCC unroll 4
            for (int c = 0; c < CHAINS; c++)
                add_pixel(a, b, middle, i + c, &sums[c], &products[c]);
        }
        for (; i < past; i++)
            add_pixel(a, b, middle, i, &sums[0], &products[0]);
        add_chains(sums, sum);
        add_chains(products, product);
    }
}

static void lane_sums(const float *a, const float *b, const float *center, int64_t pixels, double *sum,
                      double *product) {
    if (a)
        add_pixels(a, b, center, pixels, sum, product);
    else
        add_pixels(NULL, b, center, pixels, sum, product);
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

static void lane_max_slopes(const float *x, const int64_t *taps, int count, const float *dy, float *dx) {
    typedef int32_t masks __attribute__((vector_size(4 * LANES)));
    lanes best = (lanes){0} - __builtin_inff();
    masks left = (masks)lanes_at(dy);
    for (int i = 0; i < count; i++)
        best = larger(best, lanes_at(x + taps[i]));
    for (int i = 0; i < count; i++) {
        lanes value = lanes_at(x + taps[i]);
        masks takes = (masks)((value == best) | (value != value));
        *(lanes *)(dx + taps[i]) += (lanes)(takes & left);
        left &= ~takes;
    }
}

static void lane_add(const float *a, const int64_t *taps, int count, float *x) {
    lanes value = lanes_at(a);
    for (int i = 0; i < count; i++)
        *(lanes *)(x + taps[i]) += value;
}

/* ---- LRN ---- */

/* A pixel's channels, zeros before and behind them. */
typedef struct pixel_row {
    float data[DEFT_RESPONSE_NEIGHBOURS + DEFT_RESPONSE_CHANNELS + DEFT_RESPONSE_NEIGHBOURS];
} pixel_row;

static inline __attribute__((always_inline)) float *channels_of(pixel_row *row) {
    return row->data + DEFT_RESPONSE_NEIGHBOURS;
}

static void clear_edges(pixel_row *row, int64_t channels) {
    for (int i = 0; i < DEFT_RESPONSE_NEIGHBOURS; i++)
        row->data[i] = row->data[DEFT_RESPONSE_NEIGHBOURS + channels + i] = 0;
}

/* sums[c] = row[c - before] + ... + row[c + after] */
static inline __attribute__((always_inline)) void add_neighbours(const float *row, int64_t before, int64_t after,
                                                                 int64_t channels, float *restrict sums) {
    for (int64_t c = 0; c < channels; c += LANES) {
        lanes sum = lanes_at(row + c - before);
        for (int64_t k = 1 - before; k <= after; k++)
            sum += lanes_at(row + c + k);
        *(lanes *)(sums + c) = sum;
    }
}

/* With s = bias + share * (the sum of x^2 over the neighbours): y = x s^-3/4; of slopes dy, dx = dy s^-3/4 - factor x
 * (the sum of t over those of whose neighbours x is), t = dy x s^-7/4. */
static void lrn_pixel(const deft_response *r, const float *dy, const float *x, float *out, pixel_row *squares,
                      pixel_row *slopes) {
    float sums[DEFT_RESPONSE_CHANNELS], powers[DEFT_RESPONSE_CHANNELS], *square = channels_of(squares),
                                                                        *t = channels_of(slopes);
    const int64_t channels = r->channels, block = r->block;
    for (int64_t c = 0; c < channels; c += LANES) {
        lanes value = lanes_at(x + c / LANES * block);
        *(lanes *)(square + c) = value * value;
    }
    add_neighbours(square, r->before, r->after, channels, sums);
#pragma omp simd
    for (int64_t c = 0; c < channels; c++) {
        float s = r->bias + r->share * sums[c], root = __builtin_sqrtf(s);
        sums[c] = s;
        powers[c] = 1.0f / (root * __builtin_sqrtf(root));
    }
    if (!dy) {
        for (int64_t c = 0; c < channels; c += LANES)
            *(lanes *)(out + c / LANES * block) = lanes_at(x + c / LANES * block) * lanes_at(powers + c);
        return;
    }
    for (int64_t c = 0; c < channels; c += LANES) {
        lanes direct = lanes_at(dy + c / LANES * block) * lanes_at(powers + c);
        *(lanes *)(powers + c) = direct;
        *(lanes *)(t + c) = direct * lanes_at(x + c / LANES * block) / lanes_at(sums + c);
    }
    add_neighbours(t, r->after, r->before, channels, sums);
    for (int64_t c = 0; c < channels; c += LANES)
        *(lanes *)(out + c / LANES * block) =
            lanes_at(powers + c) - 1.5f * r->share * lanes_at(x + c / LANES * block) * lanes_at(sums + c);
}

static void lrn(const deft_response *r, const float *dy, const float *x, float *out, int64_t pixels) {
    pixel_row squares, slopes;
    clear_edges(&squares, r->channels);
    clear_edges(&slopes, r->channels);
    for (int64_t i = 0; i < pixels * LANES; i += LANES)
        lrn_pixel(r, dy ? dy + i : NULL, x + i, out + i, &squares, &slopes);
}
