/* The tuner and its cache file: what is remembered, what is ignored. Never how fast anything is. */
#include "tests/unit/graphs.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/core/cpu.h"
#include "base/core/file.h"
#include "decide/tune/cache.h"
#include "decide/tune/choose.h"
#include "decide/tune/measure.h"
#include "exec/run/executor.h"

typedef struct folder {
    char path[64], cache[80];
    int warnings;
    bool cancel;
} folder;

static void count_warning(void *user, deft_log_level level, const char *message) {
    assert_non_null(strstr(message, "not remembered"));
    if (level == DEFT_LOG_WARNING) ((folder *)user)->warnings++;
}

static bool maybe_cancel(void *user, const char *what, double done) {
    (void)what;
    assert_true(done >= 0 && done <= 1);
    return !((folder *)user)->cancel;
}

/* The cache folder does not exist yet, nor the one above it. */
static int set_up(void **state) {
    folder *f = calloc(1, sizeof *f);
    strcpy(f->path, "/tmp/deft-test-XXXXXX");
    if (!mkdtemp(f->path)) return -1;
    snprintf(f->cache, sizeof f->cache, "%s/a/b", f->path);
    *state = f;
    return 0;
}

static bool find_cache_file(const folder *f, char *out, size_t bytes) {
    DIR *directory = opendir(f->cache);
    bool found = false;
    for (struct dirent *entry; directory && (entry = readdir(directory));)
        if (strncmp(entry->d_name, "kernels-", 8) == 0) {
            snprintf(out, bytes, "%s/%s", f->cache, entry->d_name);
            found = true;
        }
    if (directory) closedir(directory);
    return found;
}

static int tear_down(void **state) {
    folder *f = *state;
    char path[400];
    if (find_cache_file(f, path, sizeof path)) unlink(path);
    rmdir(f->cache);
    snprintf(path, sizeof path, "%s/a", f->path);
    unlink(path);
    rmdir(path);
    rmdir(f->path);
    free(f);
    return 0;
}

static deft_context *context_with_cache(folder *f) {
    deft_context *ctx = NULL;
    deft_context_options options = {
        .cache_directory = f->cache, .log = count_warning, .progress = maybe_cancel, .user = f, .threads = 1};
    assert_int_equal(deft_context_new(&options, &ctx), DEFT_OK);
    return ctx;
}

/* The context keeps the name of its cache folder. */
static void free_context(deft_context *ctx) {
    assert_int_equal(atomic_load(&ctx->live_bytes), strlen(ctx->cache_directory) + 1);
    deft_context_free(ctx);
}

/* A layer 8 x 24 -> 16 as a request. */
typedef struct layer {
    float weight[24 * 16];
    deft_tensor x, w, y;
    const deft_tensor *in[2];
    deft_tensor *out[1];
    deft_attrs attrs;
    deft_request request;
} layer;

static void make_layer(deft_context *ctx, layer *l, int64_t batch) {
    for (int i = 0; i < 24 * 16; i++)
        l->weight[i] = i % 3 ? 0 : (float)i;
    l->x = (deft_tensor){DEFT_F32, 2, {batch, 24}, NULL};
    l->w = (deft_tensor){DEFT_F32, 2, {24, 16}, l->weight};
    l->y = (deft_tensor){DEFT_F32, 2, {batch, 16}, NULL};
    l->in[0] = &l->x, l->in[1] = &l->w, l->out[0] = &l->y;
    l->attrs = (deft_attrs){0};
    l->request = (deft_request){.call = {.ctx = ctx,
                                         .name = "layer",
                                         .op = DEFT_OP_MATMUL,
                                         .attrs = &l->attrs,
                                         .opset = 13,
                                         .in_count = 2,
                                         .out_count = 1,
                                         .in = l->in,
                                         .out = l->out,
                                         .threads = 1},
                                .activation = deft_activation_none,
                                .isa = ctx->isa};
}

static void choose(deft_context *ctx, bool measure, const deft_request *request, deft_choice *choice) {
    deft_tuner *tuner = NULL;
    assert_int_equal(deft_tuner_new(ctx, measure, &tuner), DEFT_OK);
    assert_int_equal(deft_tuner_choose(tuner, ctx, request, choice), DEFT_OK);
    deft_tuner_free(tuner);
}

static bool is_measured(const deft_choice *choice) {
    return strstr(choice->why, " us") != NULL && strstr(choice->why, "estimated") == NULL;
}

static void test_measures_and_remembers(void **state) {
    folder *f = *state;
    deft_context *ctx = context_with_cache(f);
    layer l;
    deft_choice first, again, other;
    char path[400];
    make_layer(ctx, &l, 8);
    choose(ctx, false, &l.request, &first);
    assert_false(is_measured(&first));
    assert_false(find_cache_file(f, path, sizeof path));
    choose(ctx, true, &l.request, &first);
    assert_true(is_measured(&first));
    assert_true(find_cache_file(f, path, sizeof path));
    choose(ctx, false, &l.request, &again);
    assert_int_equal(again.kernel, first.kernel);
    assert_string_equal(again.why, first.why);
    make_layer(ctx, &l, 9); /* another shape is another layer */
    choose(ctx, false, &l.request, &other);
    assert_false(is_measured(&other));
    assert_int_equal(f->warnings, 0);
    free_context(ctx);
}

static void test_measures_once(void **state) {
    deft_context *ctx = context_with_cache(*state);
    layer l;
    deft_choice first, again;
    deft_tuner *tuner;
    make_layer(ctx, &l, 8);
    assert_int_equal(deft_tuner_new(ctx, true, &tuner), DEFT_OK);
    assert_int_equal(deft_tuner_choose(tuner, ctx, &l.request, &first), DEFT_OK);
    long long before = atomic_load(&ctx->allocation_count);
    assert_int_equal(deft_tuner_choose(tuner, ctx, &l.request, &again), DEFT_OK);
    assert_int_equal(atomic_load(&ctx->allocation_count), before); /* nothing was prepared */
    assert_string_equal(again.why, first.why);
    deft_tuner_free(tuner);
    free_context(ctx);
}

static void test_key_depends_on_all_that_matters(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    layer l;
    make_layer(ctx, &l, 8);
    uint64_t key = deft_cache_key(&l.request);
    l.weight[0] = 5; /* it was 0: another pattern */
    assert_int_not_equal(deft_cache_key(&l.request), key);
    make_layer(ctx, &l, 8);
    l.weight[3] = 7; /* another value in the same pattern */
    assert_true(deft_cache_key(&l.request) == key);
    l.request.call.threads = 2;
    assert_true(deft_cache_key(&l.request) != key);
    make_layer(ctx, &l, 8);
    l.request.isa = l.request.isa == DEFT_ISA_C ? DEFT_ISA_AVX2 : DEFT_ISA_C;
    assert_true(deft_cache_key(&l.request) != key);
    make_layer(ctx, &l, 8);
    l.request.activation.low = 0;
    assert_true(deft_cache_key(&l.request) != key);
    make_layer(ctx, &l, 8);
    l.request.call.op = DEFT_OP_GEMM;
    uint64_t gemm = deft_cache_key(&l.request);
    assert_true(gemm != key);
    deft_attr transpose = {.name = "transB", .type = DEFT_ATTR_INT, .i = 1};
    l.attrs = (deft_attrs){&transpose, 1};
    assert_true(deft_cache_key(&l.request) != gemm);
    make_layer(ctx, &l, 8);
    l.w.data = NULL;
    assert_true(deft_cache_key(&l.request) != key);
    test_context_free(ctx);
}

/* Files that are garbage, of another version, or say what is not possible: all ignored, and replaced. */
static void test_bad_files_are_ignored(void **state) {
    folder *f = *state;
    deft_context *ctx = context_with_cache(f);
    layer l;
    deft_choice choice;
    char path[400], *good;
    size_t good_bytes;
    make_layer(ctx, &l, 8);
    choose(ctx, true, &l.request, &choice);
    assert_true(find_cache_file(f, path, sizeof path));
    assert_int_equal(deft_file_read(ctx, path, 1 << 20, (void **)&good, &good_bytes), DEFT_OK);
    char impossible[200];
    snprintf(impossible, sizeof impossible,
             "{\"version\": 3, \"choices\": {\"%016llx\": {\"kernel\": \"DENSE_CONV\", \"us\": 1}}}",
             (unsigned long long)deft_cache_key(&l.request));
    const char *const bad[] = {"",
                               "{",
                               "\xff\xfe\x00garbage",
                               "[]",
                               "{\"version\": 7, \"choices\": {}}",
                               "{\"version\": 3, \"choices\": 3}",
                               "{\"version\": 3, \"choices\": {\"xyz\": {\"kernel\": \"DENSE_MATMUL\", \"us\": 1}}}",
                               "{\"version\": 3, \"choices\": {\"0123456789abcdef\": {\"kernel\": 5, \"us\": -1}}}",
                               impossible};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(deft_file_write(ctx, path, bad[i], strlen(bad[i])), DEFT_OK);
        choose(ctx, false, &l.request, &choice);
        assert_false(is_measured(&choice));
        choose(ctx, true, &l.request, &choice);
        choose(ctx, false, &l.request, &choice);
        assert_true(is_measured(&choice));
    }
    for (size_t bytes = 0; bytes + 1 < good_bytes; bytes += 7) { /* cut anywhere */
        assert_int_equal(deft_file_write(ctx, path, good, bytes), DEFT_OK);
        choose(ctx, false, &l.request, &choice);
        assert_false(is_measured(&choice));
    }
    deft_release(ctx, good);
    assert_int_equal(f->warnings, 0);
    free_context(ctx);
}

/* What a file says of generated code comes back with its schedule, where that is possible. */
static void test_schedules_are_remembered(void **state) {
    folder *f = *state;
    if (!deft_cpu_has(DEFT_ISA_AVX2)) {
        print_message("skip: this CPU has no AVX2\n");
        skip();
    }
    deft_context *ctx = context_with_cache(f);
    layer l;
    deft_choice choice;
    char path[400], text[300];
    uint64_t schedules[DEFT_SCHEDULES];
    make_layer(ctx, &l, 40);
    choose(ctx, true, &l.request, &choice);
    assert_true(find_cache_file(f, path, sizeof path));
    int count = deft_sparse_x86_schedules(&l.request, DEFT_SCHEDULES, schedules);
    assert_true(count >= 2);
    const uint64_t told[] = {schedules[count - 1], schedules[0], 7, 0xFFFFFFFFFFFFFFFu};
    for (int i = 0; i < 4; i++) {
        snprintf(text, sizeof text,
                 "{\"version\": 3, \"choices\": {\"%016llx\": {\"kernel\": \"SPARSE_X86\", \"schedule\": %llu, "
                 "\"us\": 1}}}",
                 (unsigned long long)deft_cache_key(&l.request), (unsigned long long)told[i]);
        assert_int_equal(deft_file_write(ctx, path, text, strlen(text)), DEFT_OK);
        choose(ctx, false, &l.request, &choice);
        assert_true(i < 2 ? choice.schedule == told[i] : choice.schedule == 0);
        if (i < 2) assert_int_equal(choice.kernel, DEFT_KERNEL_SPARSE_X86);
        deft_request request = l.request;
        deft_kernel kernel;
        request.schedule = choice.schedule;
        assert_int_equal(deft_kernel_prepare(ctx, choice.kernel, &request, &kernel), DEFT_OK);
        deft_kernel_done(ctx, &kernel);
    }
    free_context(ctx);
}

static void test_file_keeps_what_others_added(void **state) {
    folder *f = *state;
    deft_context *ctx = context_with_cache(f);
    layer a, b;
    deft_choice choice;
    deft_tuner *mine;
    make_layer(ctx, &a, 8);
    make_layer(ctx, &b, 3);
    assert_int_equal(deft_tuner_new(ctx, true, &mine), DEFT_OK);
    assert_int_equal(deft_tuner_choose(mine, ctx, &a.request, &choice), DEFT_OK);
    choose(ctx, true, &b.request, &choice); /* another process, meanwhile */
    deft_tuner_free(mine);
    choose(ctx, false, &a.request, &choice);
    assert_true(is_measured(&choice));
    choose(ctx, false, &b.request, &choice);
    assert_true(is_measured(&choice));
    free_context(ctx);
}

/* Where the folder cannot be made: one warning, and the choice stands. */
static void test_unwritable_folder_costs_a_warning(void **state) {
    folder *f = *state;
    char file[80];
    snprintf(file, sizeof file, "%s/a", f->path);
    FILE *in_the_way = fopen(file, "w");
    fclose(in_the_way);
    deft_context *ctx = context_with_cache(f);
    layer l;
    deft_choice choice;
    make_layer(ctx, &l, 8);
    choose(ctx, true, &l.request, &choice);
    assert_true(is_measured(&choice));
    assert_int_equal(f->warnings, 1);
    free_context(ctx);
}

static deft_status tune(deft_context *ctx, void *user) {
    (void)user;
    layer l;
    deft_choice choice;
    deft_tuner *tuner;
    make_layer(ctx, &l, 2);
    DEFT_TRY(deft_tuner_new(ctx, true, &tuner));
    deft_status status = deft_tuner_choose(tuner, ctx, &l.request, &choice);
    deft_tuner_free(tuner);
    return status;
}

static void test_out_of_memory(void **state) {
    (void)state;
    check_every_allocation_failure(tune, NULL);
}

/* ---- measuring executors ------------------------------------------------------------------------------------- */

static deft_status run_executor(void *executor) {
    return deft_executor_run(executor);
}

static void test_measure_counts_runs(void **state) {
    folder *f = *state;
    deft_context *ctx = context_with_cache(f);
    deft_graph *graph = new_graph(ctx);
    add_graph_input(graph, "x", DIMS(-1, 8));
    NODE(graph, SIGMOID, "y", "x");
    finish_graph(graph, "y");
    deft_plan *plan;
    deft_executor *executors[2];
    deft_runnable runnables[2];
    deft_timing timings[2];
    assert_int_equal(deft_plan_new(ctx, graph, NULL, &plan), DEFT_OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(deft_executor_new(plan, &executors[i]), DEFT_OK);
        runnables[i] = (deft_runnable){run_executor, executors[i]};
    }
    assert_int_equal(deft_measure(ctx, runnables, 2, 0, 2500, timings), DEFT_OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(timings[i].runs, 2500);
        assert_true(timings[i].min > 0 && timings[i].min <= timings[i].p50 && timings[i].p50 <= timings[i].max);
    }
    f->cancel = true;
    assert_int_equal(deft_measure(ctx, runnables, 2, 60, 1, timings), DEFT_CANCELLED);
    for (int i = 0; i < 2; i++)
        deft_executor_free(executors[i]);
    deft_plan_free(plan);
    deft_graph_free(graph);
    free_context(ctx);
}

static void test_sparse_where_clearly_faster(void **state) {
    (void)state;
    const deft_candidate both[] = {{.kernel = DEFT_KERNEL_DENSE_MATMUL}, {.kernel = DEFT_KERNEL_SPARSE_X86}};
    const double alike[] = {100, 98}, apart[] = {100, 90};
    assert_int_equal(deft_verdict_of(both, alike, 2).best, DEFT_KERNEL_DENSE_MATMUL);
    assert_int_equal(deft_verdict_of(both, apart, 2).best, DEFT_KERNEL_SPARSE_X86);
}

/* Near ties are the library's. */
static void test_vectors_where_clearly_faster(void **state) {
    (void)state;
    const deft_candidate both[] = {{.kernel = DEFT_KERNEL_VECTOR_LINEAR}, {.kernel = DEFT_KERNEL_DENSE_PACKED}};
    const double alike[] = {100, 105}, apart[] = {100, 110};
    assert_int_equal(deft_verdict_of(both, alike, 2).best, DEFT_KERNEL_DENSE_PACKED);
    assert_int_equal(deft_verdict_of(both, apart, 2).best, DEFT_KERNEL_VECTOR_LINEAR);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sparse_where_clearly_faster),
        cmocka_unit_test(test_vectors_where_clearly_faster),
        cmocka_unit_test_setup_teardown(test_measures_and_remembers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_measures_once, set_up, tear_down),
        cmocka_unit_test(test_key_depends_on_all_that_matters),
        cmocka_unit_test_setup_teardown(test_bad_files_are_ignored, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_schedules_are_remembered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_file_keeps_what_others_added, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_unwritable_folder_costs_a_warning, set_up, tear_down),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test_setup_teardown(test_measure_counts_runs, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
