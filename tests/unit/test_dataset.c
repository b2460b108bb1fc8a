#include "tests/support.h"

#include "base/core/file.h"
#include "base/tensor/npy.h"
#include "learn/data/dataset.h"
#include "learn/data/digits.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void expect_failure(deft_context *ctx, const char *spec, deft_status wanted, const char *message) {
    deft_dataset *set = NULL;
    deft_status status = deft_dataset_open(ctx, spec, &set);
    if (status != wanted || !strstr(deft_context_message(ctx), message))
        fail_msg("%s: %s (%s), expected %s (...%s...)", spec, deft_status_name(status), deft_context_message(ctx),
                 deft_status_name(wanted), message);
    assert_null(set);
    assert_int_equal(atomic_load(&ctx->live_bytes), 0);
}

static deft_dataset *open_set(deft_context *ctx, const char *spec) {
    deft_dataset *set = NULL;
    if (deft_dataset_open(ctx, spec, &set) != DEFT_OK) fail_msg("%s", deft_context_message(ctx));
    assert_string_equal(set->spec, spec);
    return set;
}

static void expect_counts(const deft_dataset *set, int64_t train, int64_t validation, int64_t test) {
    assert_int_equal(set->split[DEFT_TRAIN].count, train);
    assert_int_equal(set->split[DEFT_VALIDATION].count, validation);
    assert_int_equal(set->split[DEFT_TEST].count, test);
}

/* All samples of a split; to be freed. */
static float *read_all(const deft_dataset *set, deft_split split) {
    int64_t count = set->split[split].count;
    float *x = calloc((size_t)(count * set->sample_count), sizeof *x);
    assert_non_null(x);
    if (deft_dataset_gather(set, split, NULL, 0, count, x) != DEFT_OK) fail_msg("%s", deft_context_message(set->ctx));
    return x;
}

/* Whether the two have the same samples and labels. */
static bool same_split(const deft_dataset *a, const deft_dataset *b, deft_split split) {
    assert_int_equal(a->split[split].count, b->split[split].count);
    size_t count = (size_t)a->split[split].count;
    float *x = read_all(a, split), *other = read_all(b, split);
    bool same = memcmp(x, other, count * (size_t)a->sample_count * sizeof *x) == 0 &&
                memcmp(a->split[split].y, b->split[split].y, count * sizeof(int32_t)) == 0;
    free(x);
    free(other);
    return same;
}

static bool same_sets(const deft_dataset *a, const deft_dataset *b) {
    return same_split(a, b, DEFT_TRAIN) && same_split(a, b, DEFT_VALIDATION) && same_split(a, b, DEFT_TEST);
}

static void test_specs(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    static const char *const unknown[] = {"", "mnist", "mnist:", "npz:", "digit", "digits2", "Digits", "csv:a"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        expect_failure(ctx, unknown[i], DEFT_INVALID, "expected mnist:DIR, cifar10:DIR, ");
    static const char *const numbers[] = {"digits:",        "digits:0",   "digits:9",
                                          "digits:-20",     "digits: 20", "digits:20x",
                                          "digits:1000001", "digits:1e3", "digits:99999999999999999999"};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        expect_failure(ctx, numbers[i], DEFT_INVALID, "expected a number of pictures, 10 to 1000000");
    test_context_free(ctx);
}

/* ---- digits ---------------------------------------------------------------------------------------------------- */

static bool holds(const float *samples, int64_t count, const float *x, int64_t size) {
    for (int64_t i = 0; i < count; i++)
        if (memcmp(samples + i * size, x, (size_t)size * sizeof *x) == 0) return true;
    return false;
}

static void test_digits(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_dataset *small = open_set(ctx, "digits:205"), *large = open_set(ctx, "digits:600");
    expect_counts(small, 165, 20, 20);
    expect_counts(large, 480, 60, 60);
    assert_int_equal(small->classes, 10);
    assert_int_equal(small->sample_rank, 3);
    assert_memory_equal(small->sample_dims, ((int64_t[]){1, 28, 28}), 3 * sizeof(int64_t));
    assert_int_equal(small->sample_count, 784);
    float *few[DEFT_SPLITS], *many[DEFT_SPLITS];
    for (int split = 0; split < DEFT_SPLITS; split++) {
        few[split] = read_all(small, (deft_split)split);
        many[split] = read_all(large, (deft_split)split);
    }
    for (int split = 0; split < DEFT_SPLITS; split++) {
        /* A smaller set is the beginning of a larger one, split by split, and shares nothing with its other splits. */
        size_t count = (size_t)small->split[split].count;
        assert_memory_equal(few[split], many[split], count * 784 * sizeof(float));
        assert_memory_equal(small->split[split].y, large->split[split].y, count * sizeof(int32_t));
        for (int other = 0; other < DEFT_SPLITS; other++)
            assert_int_equal(holds(many[other], large->split[other].count, few[split], 784), other == split);
    }
    for (int split = 0; split < DEFT_SPLITS; split++) {
        free(few[split]);
        free(many[split]);
    }
    deft_dataset_free(small);
    deft_dataset_free(large);
    deft_dataset_free(NULL);
    test_context_free(ctx);
}

/* The same pictures with any number of threads and any seed of the context. */
static void test_digits_depend_on_nothing_else(void **state) {
    (void)state;
    deft_context *one, *three;
    deft_context_options options = {.cache_directory = "", .threads = 1, .seed = 1};
    assert_int_equal(deft_context_new(&options, &one), DEFT_OK);
    options.threads = 3;
    options.seed = 2;
    assert_int_equal(deft_context_new(&options, &three), DEFT_OK);
    deft_dataset *a = open_set(one, "digits:100"), *b = open_set(three, "digits:100");
    assert_true(same_sets(a, b));
    deft_dataset_free(a);
    deft_dataset_free(b);
    test_context_free(one);
    test_context_free(three);
}

static bool stop(void *user, const char *what, double done) {
    (void)user;
    (void)what;
    (void)done;
    return false;
}

static void test_digits_can_be_stopped(void **state) {
    (void)state;
    deft_context *ctx;
    deft_context_options options = {.cache_directory = "", .progress = stop};
    assert_int_equal(deft_context_new(&options, &ctx), DEFT_OK);
    expect_failure(ctx, "digits:3000", DEFT_CANCELLED, "drawing digits");
    test_context_free(ctx);
}

static void test_gather(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_dataset *set = open_set(ctx, "digits:100");
    const int64_t order[] = {7, 3, 3, 79, 0};
    float *x = calloc(3 * 784, sizeof *x), *all = read_all(set, DEFT_TRAIN), *test = read_all(set, DEFT_TEST);
    assert_int_equal(deft_dataset_gather(set, DEFT_TRAIN, order, 1, 3, x), DEFT_OK);
    for (int i = 0; i < 3; i++)
        assert_memory_equal(x + i * 784, all + order[1 + i] * 784, 784 * sizeof *x);
    assert_int_equal(deft_dataset_gather(set, DEFT_TEST, order, 4, 1, x), DEFT_OK);
    assert_memory_equal(x, test, 784 * sizeof *x);
    free(x);
    free(all);
    free(test);
    deft_dataset_free(set);
    test_context_free(ctx);
}

/* ---- mnist ----------------------------------------------------------------------------------------------------- */

/* An IDX file of `count` pictures of 2 x 3 (rank 3) or labels (rank 1): pixel p of picture i is i + p, label i is i
 * % 10. */
static void write_idx(deft_context *ctx, const char *path, int rank, int count) {
    unsigned char data[4096] = {0, 0, 8, (unsigned char)rank, 0, 0, (unsigned char)(count >> 8), (unsigned char)count};
    int used = 4 + 4 * rank, pixels = rank == 3 ? 6 : 1;
    if (rank == 3) {
        data[11] = 2;
        data[15] = 3;
    }
    for (int i = 0; i < count; i++)
        for (int p = 0; p < pixels; p++)
            data[used++] = (unsigned char)(rank == 3 ? i + p : i % 10);
    assert_int_equal(deft_file_write(ctx, path, data, (size_t)used), DEFT_OK);
}

static void write_mnist(deft_context *ctx, int train, int test) {
    mkdir("m", 0755);
    write_idx(ctx, "m/train-images-idx3-ubyte", 3, train);
    write_idx(ctx, "m/train-labels-idx1-ubyte", 1, train);
    write_idx(ctx, "m/t10k-images-idx3-ubyte", 3, test);
    write_idx(ctx, "m/t10k-labels-idx1-ubyte", 1, test);
}

static void test_mnist(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    write_mnist(ctx, 50, 12);
    deft_dataset *set = open_set(ctx, "mnist:m");
    expect_counts(set, 45, 5, 12);
    assert_int_equal(set->classes, 10);
    assert_int_equal(set->sample_rank, 3);
    assert_memory_equal(set->sample_dims, ((int64_t[]){1, 2, 3}), 3 * sizeof(int64_t));
    float *x[] = {read_all(set, DEFT_TRAIN), read_all(set, DEFT_VALIDATION), read_all(set, DEFT_TEST)};
    for (int64_t i = 0; i < 50; i++) {
        deft_split split = i < 45 ? DEFT_TRAIN : DEFT_VALIDATION;
        int64_t at = i < 45 ? i : i - 45;
        assert_int_equal(set->split[split].y[at], i % 10);
        for (int p = 0; p < 6; p++)
            assert_true(x[split][at * 6 + p] == (float)(i + p) / 255.0f);
    }
    assert_true(x[DEFT_TEST][0] == 0 && set->split[DEFT_TEST].y[11] == 1);
    for (int split = 0; split < DEFT_SPLITS; split++)
        free(x[split]);
    deft_dataset *found = open_set(ctx, "m");
    assert_true(same_sets(set, found));
    deft_dataset_free(found);
    deft_dataset_free(set);
    test_context_free(ctx);
}

static void test_mnist_malformed(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    expect_failure(ctx, "mnist:missing", DEFT_INVALID, "missing/train-images-idx3-ubyte: cannot open");
    write_mnist(ctx, 50, 12);
    write_idx(ctx, "m/train-labels-idx1-ubyte", 1, 49);
    expect_failure(ctx, "mnist:m", DEFT_INVALID, "train-images has 50 pictures but train-labels 49 labels");
    write_mnist(ctx, 50, 12);
    write_idx(ctx, "m/t10k-images-idx3-ubyte", 3, 0);
    expect_failure(ctx, "mnist:m", DEFT_INVALID, "m/t10k-images-idx3-ubyte: shape 0x2x3");
    write_mnist(ctx, 50, 12);
    write_idx(ctx, "m/t10k-labels-idx1-ubyte", 3, 12);
    expect_failure(ctx, "mnist:m", DEFT_INVALID, "m/t10k-labels-idx1-ubyte: shape 12x2x3: expected labels");
    write_mnist(ctx, 1, 1);
    expect_failure(ctx, "mnist:m", DEFT_INVALID, "two or more are needed");
    write_mnist(ctx, 50, 12);
    assert_int_equal(deft_file_write(ctx, "m/train-labels-idx1-ubyte", "\0\0\10\1\0\0\0\1\12", 9), DEFT_OK);
    write_idx(ctx, "m/train-images-idx3-ubyte", 3, 1);
    expect_failure(ctx, "mnist:m", DEFT_INVALID, "label 0 of train-labels is 10, not 0 to 9");
    write_mnist(ctx, 50, 12);
    assert_int_equal(deft_file_write(ctx, "m/t10k-labels-idx1-ubyte", "\37\213\10\0", 4), DEFT_OK);
    expect_failure(ctx, "mnist:m", DEFT_INVALID, "m/t10k-labels-idx1-ubyte: IDX header: cut off");
    write_mnist(ctx, 50, 12);
    unsigned char taller[16 + 12 * 8] = {0, 0, 8, 3, 0, 0, 0, 12, 0, 0, 0, 4, 0, 0, 0, 2};
    assert_int_equal(deft_file_write(ctx, "m/t10k-images-idx3-ubyte", taller, sizeof taller), DEFT_OK);
    expect_failure(ctx, "mnist:m", DEFT_INVALID, "the training pictures are 2x3, the test pictures 4x2");
    test_context_free(ctx);
}

/* The real one, where it is at hand. */
static void test_real_mnist(void **state) {
    (void)state;
    const char *data = getenv("DEFT_DATA");
    char spec[4096];
    snprintf(spec, sizeof spec, "mnist:%s/mnist", data ? data : "");
    if (!data || access(spec + strlen("mnist:"), R_OK) != 0) {
        print_message("skip: no MNIST in $DEFT_DATA/mnist\n");
        skip();
    }
    deft_context *ctx = test_context();
    deft_dataset *set = open_set(ctx, spec);
    expect_counts(set, 55000, 5000, 10000);
    assert_int_equal(set->sample_count, 784);
    assert_int_equal(set->classes, 10);
    double sum = 0;
    int64_t seen[10] = {0};
    for (int split = 0; split < DEFT_SPLITS; split++)
        for (int64_t i = 0; i < set->split[split].count; i++) {
            float x[784];
            assert_int_equal(deft_dataset_read(set, ctx, (deft_split)split, i, x), DEFT_OK);
            seen[set->split[split].y[i]]++;
            for (int64_t j = 0; split != DEFT_TEST && j < 784; j++)
                sum += (double)x[j];
        }
    /* MNIST's known mean, and the number of ones in it. */
    assert_true(fabs(sum / (60000 * 784) - 0.1307) < 0.0001);
    assert_int_equal(seen[1], 6742 + 1135);
    deft_dataset_free(set);
    test_context_free(ctx);
}

/* ---- npz ------------------------------------------------------------------------------------------------------- */

enum { NPZ_COUNT = 40 };

/* Sample i of 2 x 3 holds 6 i, 6 i + 1, ...; its label is i % 7. */
typedef struct npz_fixture {
    float x[NPZ_COUNT * 6];
    int64_t y[NPZ_COUNT];
    deft_npz_entry entries[2];
} npz_fixture;

static void npz_fill(npz_fixture *f) {
    for (int i = 0; i < NPZ_COUNT * 6; i++)
        f->x[i] = (float)i;
    for (int i = 0; i < NPZ_COUNT; i++)
        f->y[i] = i % 7;
    f->entries[0] = (deft_npz_entry){"x", {DEFT_F32, 3, {NPZ_COUNT, 2, 3}, f->x}};
    f->entries[1] = (deft_npz_entry){"y", {DEFT_I64, 1, {NPZ_COUNT}, f->y}};
}

static void npz_write(deft_context *ctx, const npz_fixture *f, int entries) {
    assert_int_equal(deft_npz_save(ctx, "a.npz", f->entries, entries), DEFT_OK);
}

static void test_npz(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    npz_fixture f;
    npz_fill(&f);
    npz_write(ctx, &f, 2);
    deft_dataset *set = open_set(ctx, "npz:a.npz");
    expect_counts(set, 32, 4, 4);
    assert_int_equal(set->classes, 7);
    assert_int_equal(set->sample_rank, 2);
    assert_memory_equal(set->sample_dims, ((int64_t[]){2, 3}), 2 * sizeof(int64_t));
    /* Every sample once, in some order, whole and with its own label. */
    bool seen[NPZ_COUNT] = {false};
    int in_place = 0;
    for (int split = 0; split < DEFT_SPLITS; split++)
        for (int64_t i = 0; i < set->split[split].count; i++) {
            float x[6];
            assert_int_equal(deft_dataset_read(set, ctx, (deft_split)split, i, x), DEFT_OK);
            int number = (int)x[0] / 6;
            assert_true(number >= 0 && number < NPZ_COUNT && !seen[number]);
            seen[number] = true;
            assert_memory_equal(x, f.x + number * 6, 6 * sizeof *x);
            assert_int_equal(set->split[split].y[i], number % 7);
            in_place += split == DEFT_TRAIN && number == i;
        }
    assert_true(in_place < 10);
    deft_dataset *again = open_set(ctx, "a.npz");
    assert_true(same_sets(again, set));
    deft_dataset_free(again);
    deft_dataset_free(set);
    test_context_free(ctx);
}

static void test_npz_types(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    npz_fixture f;
    npz_fill(&f);
    /* Without labels. */
    npz_write(ctx, &f, 1);
    deft_dataset *set = open_set(ctx, "npz:a.npz");
    assert_int_equal(set->classes, 0);
    assert_null(set->split[DEFT_TRAIN].y);
    deft_dataset_free(set);

    /* f64 samples and whole f32 labels; u8 samples are not scaled. */
    double wide[NPZ_COUNT * 6];
    uint8_t bytes[NPZ_COUNT * 6];
    float labels[NPZ_COUNT];
    for (int i = 0; i < NPZ_COUNT * 6; i++) {
        wide[i] = i;
        bytes[i] = (uint8_t)i;
    }
    for (int i = 0; i < NPZ_COUNT; i++)
        labels[i] = (float)(i % 7);
    f.entries[0].tensor = (deft_tensor){DEFT_F64, 2, {NPZ_COUNT, 6}, wide};
    f.entries[1].tensor = (deft_tensor){DEFT_F32, 1, {NPZ_COUNT}, labels};
    npz_write(ctx, &f, 2);
    set = open_set(ctx, "npz:a.npz");
    f.entries[0].tensor = (deft_tensor){DEFT_U8, 2, {NPZ_COUNT, 6}, bytes};
    npz_write(ctx, &f, 2);
    deft_dataset *other = open_set(ctx, "npz:a.npz");
    assert_int_equal(other->classes, 7);
    assert_true(same_sets(set, other));
    deft_dataset_free(set);
    deft_dataset_free(other);

    /* The fewest samples. */
    f.entries[0].tensor.dims[0] = 3;
    npz_write(ctx, &f, 1);
    set = open_set(ctx, "npz:a.npz");
    expect_counts(set, 1, 1, 1);
    deft_dataset_free(set);
    test_context_free(ctx);
}

/* Numbers to learn go with their samples. */
static void test_npz_targets(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    npz_fixture f;
    double wide[NPZ_COUNT * 2];
    float narrow[NPZ_COUNT * 2];
    npz_fill(&f);
    for (int i = 0; i < NPZ_COUNT * 2; i++)
        wide[i] = narrow[i] = (float)i - 3.5f;
    for (int type = 0; type < 2; type++) {
        f.entries[1] = (deft_npz_entry){"targets", {DEFT_F64, 2, {NPZ_COUNT, 2}, wide}};
        if (type == 1) f.entries[1].tensor = (deft_tensor){DEFT_F32, 3, {NPZ_COUNT, 1, 2}, narrow};
        npz_write(ctx, &f, 2);
        deft_dataset *set = open_set(ctx, "npz:a.npz");
        expect_counts(set, 32, 4, 4);
        assert_true(set->classes == 0 && set->target_count == 2);
        for (int split = 0; split < DEFT_SPLITS; split++)
            for (int64_t i = 0; i < set->split[split].count; i++) {
                float x[6];
                assert_int_equal(deft_dataset_read(set, ctx, (deft_split)split, i, x), DEFT_OK);
                int number = (int)x[0] / 6;
                assert_memory_equal(set->split[split].targets + 2 * i, narrow + 2 * number, 2 * sizeof *narrow);
            }
        deft_dataset_free(set);
    }
    test_context_free(ctx);
}

/* An x that is not compressed stays in the file: it takes no memory, and what happens to the file is told. */
static void test_npz_streams(void **state) {
    (void)state;
    enum { COUNT = 1000, SIZE = 3000 };
    deft_context *ctx = test_context();
    float *x = malloc((size_t)COUNT * SIZE * sizeof *x), sample[SIZE];
    for (int i = 0; i < COUNT * SIZE; i++)
        x[i] = (float)i;
    deft_npz_entry entry = {"x", {DEFT_F32, 2, {COUNT, SIZE}, x}};
    assert_int_equal(deft_npz_save(ctx, "a.npz", &entry, 1), DEFT_OK);
    deft_dataset *set = open_set(ctx, "npz:a.npz");
    assert_in_range(atomic_load(&ctx->live_bytes), 0, COUNT * SIZE);
    assert_false(set->source.in_memory);
    for (int64_t i = set->split[DEFT_TRAIN].count - 1; i >= 0; i -= 37) { /* not in order */
        assert_int_equal(deft_dataset_read(set, ctx, DEFT_TRAIN, i, sample), DEFT_OK);
        assert_memory_equal(sample, x + (int)sample[0], sizeof sample);
        assert_int_equal((int)sample[0] % SIZE, 0);
    }
    assert_int_equal(truncate("a.npz", 1000), 0);
    deft_status status = DEFT_OK;
    for (int64_t i = 0; i < set->split[DEFT_TRAIN].count && status == DEFT_OK; i++)
        status = deft_dataset_read(set, ctx, DEFT_TRAIN, i, sample);
    assert_int_equal(status, DEFT_INVALID);
    assert_non_null(strstr(deft_context_message(ctx), "a.npz: it is damaged"));
    deft_dataset_free(set);
    /* A byte that is not what it was: the checksum tells. */
    assert_int_equal(deft_npz_save(ctx, "a.npz", &entry, 1), DEFT_OK);
    FILE *file = fopen("a.npz", "r+b");
    assert_int_equal(fseek(file, 1000, SEEK_SET), 0);
    assert_int_equal(fputc(77, file), 77);
    fclose(file);
    expect_failure(ctx, "npz:a.npz", DEFT_INVALID, "it is damaged");
    free(x);
    test_context_free(ctx);
}

static void test_npz_malformed(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    expect_failure(ctx, "npz:missing.npz", DEFT_INVALID, "missing.npz: cannot open");
    assert_int_equal(deft_file_write(ctx, "a.npz", "no zip", 6), DEFT_OK);
    expect_failure(ctx, "npz:a.npz", DEFT_INVALID, "a.npz: not an .npz");
    npz_fixture f;
#define EXPECT(change, status, message)                                                                                \
    do {                                                                                                               \
        npz_fill(&f);                                                                                                  \
        change;                                                                                                        \
        npz_write(ctx, &f, 2);                                                                                         \
        expect_failure(ctx, "npz:a.npz", status, "a.npz: " message);                                                   \
    } while (0)
    EXPECT(f.entries[0].name = "z", DEFT_INVALID, "no array 'x'");
    EXPECT(f.entries[0].tensor.dtype = DEFT_I32, DEFT_UNSUPPORTED, "x is of type i32");
    EXPECT(f.entries[0].tensor.dims[0] = 0, DEFT_INVALID, "x has shape 0x2x3");
    EXPECT(f.entries[0].tensor.dims[0] = 2, DEFT_INVALID, "x has shape 2x2x3");
    EXPECT(f.entries[0].tensor.dims[1] = 0, DEFT_INVALID, "x has shape 40x0x3");
    EXPECT(f.entries[0].tensor.rank = 1, DEFT_INVALID, "x has shape 40: expected");
    EXPECT(f.entries[1].tensor.dims[0] = 39, DEFT_INVALID, "y has shape 39: expected one label for each of the 40");
    EXPECT((f.entries[1].tensor.rank = 2, f.entries[1].tensor.dims[1] = 1), DEFT_INVALID, "y has shape 40x1");
    EXPECT(f.entries[1].tensor.rank = 0, DEFT_INVALID, "y has shape scalar");
    EXPECT(f.y[5] = -1, DEFT_INVALID, "y[5] is -1 (i64)");
    EXPECT(f.y[39] = 1000000, DEFT_INVALID, "y[39] is 1000000 (i64)");
    EXPECT(f.y[0] = INT64_MIN, DEFT_INVALID, "y[0] is -9.2233720368547758e+18 (i64)");
    EXPECT((f.entries[1].tensor.dtype = DEFT_F64, f.entries[1].tensor.data = (double[NPZ_COUNT]){0, 0, 0, 1.5}),
           DEFT_INVALID, "y[3] is 1.5 (f64)");
    EXPECT((f.entries[1].tensor.dtype = DEFT_F32, f.entries[1].tensor.data = (float[NPZ_COUNT]){0, NAN}), DEFT_INVALID,
           "y[1] is nan (f32)");
    EXPECT(f.entries[1].tensor.dtype = DEFT_F16, DEFT_INVALID, "y[");
#define TARGETS(...)                                                                                                   \
    f.entries[1] = (deft_npz_entry) {                                                                                  \
        "targets", {                                                                                                   \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
    }
    EXPECT(TARGETS(DEFT_I64, 1, {NPZ_COUNT}, f.y), DEFT_UNSUPPORTED, "targets is of type i64");
    EXPECT(TARGETS(DEFT_F32, 1, {NPZ_COUNT - 1}, f.x), DEFT_INVALID, "targets has shape 39: expected numbers");
    EXPECT(TARGETS(DEFT_F32, 2, {NPZ_COUNT, 0}, f.x), DEFT_INVALID, "targets has shape 40x0");
    EXPECT(TARGETS(DEFT_F32, 0, {0}, f.x), DEFT_INVALID, "targets has shape scalar");
    EXPECT(TARGETS(DEFT_F64, 1, {NPZ_COUNT}, ((double[NPZ_COUNT]){0, 0, 1e39})), DEFT_INVALID,
           "targets: sample 2, element 0 is not a finite float32");
#undef TARGETS
    EXPECT(f.x[20] = NAN, DEFT_INVALID, "x: sample 3, element 2 is not a finite float32");
    EXPECT(f.x[239] = -INFINITY, DEFT_INVALID, "x: sample 39, element 5 is not a finite float32");
    EXPECT((f.entries[0].tensor = (deft_tensor){DEFT_F64, 2, {3, 1}, (double[]){0, 1e39, 0}}), DEFT_INVALID,
           "y has shape 40");
#undef EXPECT
    npz_fill(&f);
    f.entries[0].tensor = (deft_tensor){DEFT_F64, 2, {3, 1}, (double[]){0, 1e39, 0}};
    npz_write(ctx, &f, 1);
    expect_failure(ctx, "npz:a.npz", DEFT_INVALID, "x: sample 1, element 0 is not a finite float32");
    test_context_free(ctx);
}

/* ---- cifar ----------------------------------------------------------------------------------------------------- */

enum { CIFAR_PIXELS = 3 * 32 * 32 };

/* Records of which number i of the file has the class (first + i) % 10 and the pixels i + p, and after a coarse label,
 * where the file has them. */
static void write_cifar(deft_context *ctx, const char *path, int count, int first, bool coarse) {
    size_t size = (size_t)(1 + coarse + CIFAR_PIXELS);
    uint8_t *data = calloc((size_t)count, size), *at = data;
    for (int i = 0; i < count; i++) {
        if (coarse) *at++ = 77;
        *at++ = (uint8_t)((first + i) % 10);
        for (int p = 0; p < CIFAR_PIXELS; p++)
            *at++ = (uint8_t)(first + i + p);
    }
    assert_int_equal(deft_file_write(ctx, path, data, (size_t)count * size), DEFT_OK);
    free(data);
}

static void write_cifar10(deft_context *ctx) {
    mkdir("c", 0755);
    for (int file = 0; file < 5; file++) {
        char path[64];
        snprintf(path, sizeof path, "c/data_batch_%d.bin", file + 1);
        write_cifar(ctx, path, 3 + file, 100 * file, false);
    }
    write_cifar(ctx, "c/test_batch.bin", 4, 50, false);
}

static void expect_cifar(const deft_dataset *set, deft_split split, int64_t index, int number) {
    float x[CIFAR_PIXELS];
    assert_int_equal(set->split[split].y[index], number % 10);
    assert_int_equal(deft_dataset_read(set, set->ctx, split, index, x), DEFT_OK);
    for (int p = 0; p < CIFAR_PIXELS; p++)
        assert_true(x[p] == (float)((number + p) % 256) / 255.0f);
}

static void test_cifar10(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    write_cifar10(ctx);
    deft_dataset *set = open_set(ctx, "cifar10:c"), *found = open_set(ctx, "c");
    expect_counts(set, 23, 2, 4);
    assert_int_equal(set->classes, 10);
    assert_int_equal(set->sample_rank, 3);
    assert_memory_equal(set->sample_dims, ((int64_t[]){3, 32, 32}), 3 * sizeof(int64_t));
    /* 3 + 4 + 5 + 6 + 7 of training; the last two are held out. */
    expect_cifar(set, DEFT_TRAIN, 0, 0);
    expect_cifar(set, DEFT_TRAIN, 3, 100);
    expect_cifar(set, DEFT_TRAIN, 22, 404);
    expect_cifar(set, DEFT_VALIDATION, 0, 405);
    expect_cifar(set, DEFT_VALIDATION, 1, 406);
    expect_cifar(set, DEFT_TEST, 3, 53);
    assert_true(same_sets(set, found));
    deft_dataset_free(found);
    /* What is cut off while it is read is told. */
    float x[CIFAR_PIXELS];
    assert_int_equal(truncate("c/data_batch_1.bin", 5000), 0);
    assert_int_equal(deft_dataset_read(set, ctx, DEFT_TRAIN, 2, x), DEFT_INVALID);
    assert_non_null(strstr(deft_context_message(ctx), "c/data_batch_1.bin: cut off"));
    deft_dataset_free(set);
    test_context_free(ctx);
}

static void test_cifar100(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    mkdir("c100", 0755);
    write_cifar(ctx, "c100/train.bin", 11, 20, true);
    write_cifar(ctx, "c100/test.bin", 2, 0, true);
    deft_dataset *set = open_set(ctx, "c100");
    expect_counts(set, 10, 1, 2);
    assert_int_equal(set->classes, 100);
    expect_cifar(set, DEFT_TRAIN, 9, 29);
    expect_cifar(set, DEFT_VALIDATION, 0, 30);
    expect_cifar(set, DEFT_TEST, 1, 1);
    deft_dataset_free(set);
    test_context_free(ctx);
}

static void test_cifar_malformed(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    expect_failure(ctx, "cifar10:missing", DEFT_INVALID, "missing/data_batch_1.bin: cannot open");
    write_cifar10(ctx);
    assert_int_equal(unlink("c/data_batch_4.bin"), 0);
    expect_failure(ctx, "cifar10:c", DEFT_INVALID, "c/data_batch_4.bin: cannot open");
    assert_int_equal(mkdir("c/data_batch_4.bin", 0755), 0);
    expect_failure(ctx, "cifar10:c", DEFT_INVALID, "c/data_batch_4.bin: is not a regular file");
    assert_int_equal(rmdir("c/data_batch_4.bin"), 0);
    write_cifar10(ctx);
    assert_int_equal(truncate("c/data_batch_2.bin", 3073 * 3 + 1), 0);
    expect_failure(ctx, "cifar10:c", DEFT_INVALID, "c/data_batch_2.bin: 9220 bytes are not a whole number of records");
    assert_int_equal(truncate("c/data_batch_2.bin", 0), 0);
    expect_failure(ctx, "cifar10:c", DEFT_INVALID, "c/data_batch_2.bin: 0 bytes");
    write_cifar10(ctx);
    uint8_t record[2 * 3073] = {9};
    record[3073] = 10;
    assert_int_equal(deft_file_write(ctx, "c/test_batch.bin", record, sizeof record), DEFT_OK);
    expect_failure(ctx, "cifar10:c", DEFT_INVALID, "c/test_batch.bin: record 1 has the label 10, not 0 to 9");
    mkdir("nothing", 0755);
    expect_failure(ctx, "nothing", DEFT_INVALID, "data 'nothing': holds none of the formats");
    expect_failure(ctx, "nowhere", DEFT_INVALID, "data 'nowhere': no such format, and no such folder or file");
    test_context_free(ctx);
}

/* ---- normalize ------------------------------------------------------------------------------------------------- */

static void test_normalize(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    write_cifar10(ctx);
    deft_dataset *plain = open_set(ctx, "cifar10:c"), *set = open_set(ctx, "normalize:c");
    float *before = read_all(plain, DEFT_TRAIN), *x = read_all(set, DEFT_TRAIN);
    int64_t count = set->split[DEFT_TRAIN].count;
    for (int c = 0; c < 3; c++) {
        double sum = 0, squares = 0, all = (double)count * 1024;
        for (int64_t i = 0; i < count; i++)
            for (int p = 0; p < 1024; p++) {
                double value = (double)x[(i * 3 + c) * 1024 + p];
                sum += value;
                squares += value * value;
            }
        assert_true(fabs(sum / all) < 1e-5);
        assert_true(fabs(squares / all - 1) < 1e-4);
    }
    deft_dataset_free(set);
    free(x);
    /* By numbers, for every split. */
    set = open_set(ctx, "normalize=0.5,0,-1/0.25,1,2:cifar10:c");
    x = read_all(set, DEFT_TRAIN);
    for (int64_t i = 0; i < count; i++)
        for (int p = 0; p < 1024; p++) {
            const float *from = before + i * CIFAR_PIXELS + p, *to = x + i * CIFAR_PIXELS + p;
            assert_true(to[0] == (from[0] - 0.5f) * 4 && to[1024] == from[1024] && to[2048] == (from[2048] + 1) * 0.5f);
        }
    free(x);
    free(before);
    deft_dataset_free(set);
    deft_dataset_free(plain);
    test_context_free(ctx);
}

static void test_normalize_malformed(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    write_cifar10(ctx);
    static const char *const numbers[] = {
        "",          "0,0,0",        "0,0,0/1,1",   "0,0,0/1,1,0",   "0,0,0/1,1,",     "0,0,0/1,1,1,1",
        "0,0/1,1,1", "0,0,0/1,1,-1", "0,0,x/1,1,1", "0,0,inf/1,1,1", "0,0,0/1,1,1e99", "0,0,0/1,1,1e-99"};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        char spec[128];
        snprintf(spec, sizeof spec, "normalize=%s:c", numbers[i]);
        expect_failure(ctx, spec, DEFT_INVALID,
                       "expected, for each of the 3 channels, a mean and a positive deviation");
    }
    expect_failure(ctx, "normalize:", DEFT_INVALID, "no such format");
    expect_failure(ctx, "normalize", DEFT_INVALID, "no such format");
    expect_failure(ctx, "normalizer:c", DEFT_INVALID, "no such format");
    npz_fixture f;
    npz_fill(&f);
    npz_write(ctx, &f, 1);
    expect_failure(ctx, "normalize:a.npz", DEFT_INVALID, "normalize:a.npz: samples of 2 dimensions have no channels");
    memset(f.x, 0, sizeof f.x);
    f.entries[0].tensor = (deft_tensor){DEFT_F32, 4, {NPZ_COUNT, 1, 2, 3}, f.x};
    npz_write(ctx, &f, 1);
    expect_failure(ctx, "normalize:a.npz", DEFT_INVALID, "channel 0 is the same everywhere");
    test_context_free(ctx);
}

/* ---- memory ---------------------------------------------------------------------------------------------------- */

static deft_status open_and_free(deft_context *ctx, void *user) {
    deft_dataset *set;
    DEFT_TRY(deft_dataset_open(ctx, user, &set));
    deft_dataset_free(set);
    return DEFT_OK;
}

static void test_out_of_memory(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    npz_fixture f;
    npz_fill(&f);
    npz_write(ctx, &f, 2);
    write_mnist(ctx, 20, 10);
    write_cifar10(ctx);
    test_context_free(ctx);
    check_every_allocation_failure(open_and_free, "npz:a.npz");
    check_every_allocation_failure(open_and_free, "mnist:m");
    check_every_allocation_failure(open_and_free, "digits:10");
    check_every_allocation_failure(open_and_free, "normalize:cifar10:c");
    check_every_allocation_failure(open_and_free, "normalize=0,0,0/1,1,1:c");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_specs),
        cmocka_unit_test(test_digits),
        cmocka_unit_test(test_digits_depend_on_nothing_else),
        cmocka_unit_test(test_digits_can_be_stopped),
        cmocka_unit_test(test_gather),
        cmocka_unit_test(test_mnist),
        cmocka_unit_test(test_mnist_malformed),
        cmocka_unit_test(test_real_mnist),
        cmocka_unit_test(test_npz),
        cmocka_unit_test(test_npz_types),
        cmocka_unit_test(test_npz_targets),
        cmocka_unit_test(test_npz_streams),
        cmocka_unit_test(test_npz_malformed),
        cmocka_unit_test(test_cifar10),
        cmocka_unit_test(test_cifar100),
        cmocka_unit_test(test_cifar_malformed),
        cmocka_unit_test(test_normalize),
        cmocka_unit_test(test_normalize_malformed),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
