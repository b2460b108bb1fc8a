/* Makes a trained model faster, within half a percentage point of its accuracy, and writes the fast one.
 *
 *   cc 01_optimize.c $(pkg-config --cflags --libs deft) -o optimize && ./optimize model.onnx digits fast.deft
 */
#include <deft/deft.h>
#include <stdio.h>

static void print_point(void *user, const deft_point *point) {
    (void)user;
    printf("%5.1f%% zeros: %+.2f points, %.1f times as fast at batch 64%s\n", 100 * point->zeros, -point->drop,
           point->speedup, point->chosen ? "  <- chosen" : "");
}

static deft_status optimize(deft_context *context, const char *path, const char *data, const char *fast_path) {
    deft_model *model = NULL, *fast = NULL;
    deft_optimize_options options = {.max_drop = 0.5, .point = print_point};
    deft_status status = deft_model_load(context, path, &model);
    if (status == DEFT_OK) status = deft_optimize(model, data, &options, &fast, NULL);
    if (status == DEFT_OK) status = deft_model_save(fast, fast_path);
    deft_model_free(fast);
    deft_model_free(model);
    return status;
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: %s MODEL DATA FAST\n", argv[0]);
        return 2;
    }
    deft_context *context;
    if (deft_context_new(NULL, &context) != DEFT_OK) return 3;
    deft_status status = optimize(context, argv[1], argv[2], argv[3]);
    if (status != DEFT_OK) fprintf(stderr, "%s: %s\n", deft_status_name(status), deft_context_message(context));
    deft_context_free(context);
    return status == DEFT_OK ? 0 : 1;
}
