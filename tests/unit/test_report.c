/* Tables and lines of JSON: what is printed, to the character. */
#include "tests/support.h"

#include "face/report/points.h"
#include "face/report/report.h"
#include "face/report/shape.h"

#include <math.h>
#include <string.h>

typedef struct fruit {
    const char *name;
    int count;
    int64_t big;
    double price, share;
    bool ripe;
} fruit;

static const deft_column columns[] = {
    {"name", "name", DEFT_FIELD_TEXT, offsetof(fruit, name), 0, NULL, 0, NULL},
    {"count", "count", DEFT_FIELD_INT, offsetof(fruit, count), 0, NULL, 0, "numbers"},
    {"big", "big", DEFT_FIELD_INT64, offsetof(fruit, big), 0, NULL, 0, "numbers"},
    {"price", "price", DEFT_FIELD_REAL, offsetof(fruit, price), 2, "x", 0, NULL},
    {"share", "share", DEFT_FIELD_SHARE, offsetof(fruit, share), 1, NULL, 0, NULL},
    {"ripe", "ripe", DEFT_FIELD_BOOL, offsetof(fruit, ripe), 0, NULL, 0, NULL},
    {"hidden", NULL, DEFT_FIELD_INT, offsetof(fruit, count), 0, NULL, 0, NULL},
};
enum { COLUMNS = sizeof columns / sizeof *columns };

static const fruit fruits[] = {
    {"apple", 3, 1234567, 1.005, 0.9, true},
    {NULL, -1000, -12, NAN, NAN, false},
    {"gr\033\nape", 0, 999, INFINITY, 0, true},
};

/* What a report of the fruits prints. */
static void print_fruits(bool json, bool live, const char *kind, char *out, size_t bytes) {
    deft_context *ctx = test_context();
    FILE *file = fmemopen(out, bytes, "w");
    deft_report report;
    deft_report_init(&report, ctx, file, json, columns, COLUMNS);
    report.live = live;
    report.kind = kind;
    for (int i = 0; i < 3; i++)
        assert_int_equal(deft_report_row(&report, &fruits[i]), DEFT_OK);
    deft_report_flush(&report);
    deft_report_done(&report);
    fclose(file);
    test_context_free(ctx);
}

static void test_a_table_is_aligned(void **state) {
    (void)state;
    char text[1024];
    print_fruits(false, false, NULL, text, sizeof text);
    assert_string_equal(text, "         numbers\n"
                              "name      count        big  price  share  ripe\n"
                              "apple         3  1,234,567  1.00x  90.0%  yes\n"
                              "-        -1,000        -12      -      -  no\n"
                              "gr??ape       0        999    inf   0.0%  yes\n");
}

static void test_a_live_table_goes_by_its_titles(void **state) {
    (void)state;
    char text[1024];
    print_fruits(false, true, NULL, text, sizeof text);
    assert_non_null(strstr(text, "name  count  big  price  share  ripe\napple     3  1,234,567  1.00x  90.0%  yes\n"));
}

static void test_json_is_an_object_a_line(void **state) {
    (void)state;
    char text[1024];
    print_fruits(true, false, "fruit", text, sizeof text);
    assert_string_equal(
        text, "{\"kind\":\"fruit\",\"name\":\"apple\",\"count\":3,\"big\":1234567,\"price\":1.005,\"share\":0.9,"
              "\"ripe\":true,\"hidden\":3}\n"
              "{\"kind\":\"fruit\",\"name\":null,\"count\":-1000,\"big\":-12,\"price\":null,\"share\":null,"
              "\"ripe\":false,\"hidden\":-1000}\n"
              "{\"kind\":\"fruit\",\"name\":\"gr\\u001B\\nape\",\"count\":0,\"big\":999,\"price\":null,\"share\":0.0,"
              "\"ripe\":true,\"hidden\":0}\n");
}

static void test_names_that_are_not_utf8_stay_json(void **state) {
    (void)state;
    char text[256] = "";
    deft_context *ctx = test_context();
    FILE *file = fmemopen(text, sizeof text, "w");
    deft_report report;
    deft_report_init(&report, ctx, file, true, columns, 1);
    assert_int_equal(deft_report_row(&report, &(fruit){.name = "a\xff\xc3"}), DEFT_OK);
    deft_report_done(&report);
    fclose(file);
    assert_string_equal(text, "{\"name\":\"a??\"}\n");
    test_context_free(ctx);
}

static void test_a_table_without_rows_prints_nothing(void **state) {
    (void)state;
    char text[64] = "";
    deft_context *ctx = test_context();
    FILE *file = fmemopen(text, sizeof text, "w");
    deft_report report;
    deft_report_init(&report, ctx, file, false, columns, COLUMNS);
    deft_report_flush(&report);
    deft_report_done(&report);
    fclose(file);
    assert_string_equal(text, "");
    test_context_free(ctx);
}

static void test_long_texts_are_cut_between_characters(void **state) {
    (void)state;
    char name[2 * DEFT_CELL_BYTES + 1], cell[DEFT_CELL_BYTES];
    for (size_t i = 0; i + 2 < sizeof name; i += 2)
        memcpy(name + i, "\xc3\xa9", 2); /* e with an accent */
    name[sizeof name - 1] = '\0';
    fruit row = {.name = name};
    deft_cell_text(&columns[0], &row, cell);
    assert_int_equal(strlen(cell), DEFT_CELL_BYTES - 2);
    assert_int_equal(deft_text_width(cell), DEFT_CELL_BYTES / 2 - 1);
}

static deft_status print_rows(deft_context *ctx, void *user) {
    deft_report report;
    deft_report_init(&report, ctx, user, false, columns, COLUMNS);
    deft_status status = DEFT_OK;
    for (int i = 0; status == DEFT_OK && i < 100; i++)
        status = deft_report_row(&report, &fruits[i % 3]);
    deft_report_flush(&report);
    deft_report_done(&report);
    return status;
}

static void test_every_allocation_may_fail(void **state) {
    (void)state;
    FILE *file = fopen("/dev/null", "w");
    check_every_allocation_failure(print_rows, file);
    fclose(file);
}

static void test_the_sentence_says_how_much_faster_at_what_accuracy(void **state) {
    (void)state;
    char text[512];
    deft_point point = {.zeros = 0.92,
                        .accuracy_dense = 0.981,
                        .accuracy_test = 0.9795,
                        .drop = 0.15,
                        .speedup = 4.26,
                        .speedup_b1 = 0.9};
    assert_string_equal(deft_points_sentence(&point, "fast.deft", false, text, sizeof text),
                        "fast.deft: 4.3 times as fast at batch 64, 0.90 times as fast at batch 1, with 92.0% zeros; "
                        "test accuracy 97.95%, 0.15 points below the original's 98.10%.");
    point.drop = -0.05;
    assert_non_null(strstr(deft_points_sentence(&point, "f", false, text, sizeof text), "0.05 points above"));
    point.drop = 0;
    assert_non_null(strstr(deft_points_sentence(&point, "f", false, text, sizeof text), "97.95%, the original's too"));
    assert_non_null(
        strstr(deft_points_sentence(&point, "f", true, text, sizeof text), "agree with the original's to 97.95%"));
    assert_true(strlen(deft_points_sentence(&point, "f", true, text, 8)) == 7);
}

static void test_shapes_show_their_symbols(void **state) {
    (void)state;
    char text[64];
    deft_value value = {.desc = {.dtype = DEFT_F32, .rank = 3, .dims = {1, 28, 5}}, .dim_names = {"N", NULL, ""}};
    assert_string_equal(deft_shape_symbols(&value, text, sizeof text), "Nx28x?");
    value.desc.rank = 0;
    assert_string_equal(deft_shape_symbols(&value, text, sizeof text), "scalar");
    value.desc.rank = 3;
    assert_string_equal(deft_shape_symbols(&value, text, 4), "Nx2");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_table_is_aligned),
        cmocka_unit_test(test_a_live_table_goes_by_its_titles),
        cmocka_unit_test(test_json_is_an_object_a_line),
        cmocka_unit_test(test_names_that_are_not_utf8_stay_json),
        cmocka_unit_test(test_a_table_without_rows_prints_nothing),
        cmocka_unit_test(test_long_texts_are_cut_between_characters),
        cmocka_unit_test(test_every_allocation_may_fail),
        cmocka_unit_test(test_the_sentence_says_how_much_faster_at_what_accuracy),
        cmocka_unit_test(test_shapes_show_their_symbols),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
