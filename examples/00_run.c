/* Loads a model whose input is f32, fills it with a constant, runs it, and prints the largest element of the first
 * output.
 *
 *   cc 00_run.c $(pkg-config --cflags --libs deft) -o run && ./run model.onnx
 */
#include <deft/deft.h>
#include <stdio.h>

static deft_status run(deft_context *context, const char *path) {
    deft_session *session = NULL;
    deft_tensor input, output;
    int64_t input_count = 1, output_count = 1, top = 0;

    deft_status status = deft_session_load(context, path, NULL, &session);
    if (status == DEFT_OK) status = deft_session_input(session, deft_session_input_name(session, 0), &input);
    if (status != DEFT_OK) goto done;

    for (int i = 0; i < input.rank; i++)
        input_count *= input.dims[i];
    for (int64_t i = 0; i < input_count; i++)
        ((float *)input.data)[i] = 0.5f;

    status = deft_session_run(session);
    if (status == DEFT_OK) status = deft_session_output(session, deft_session_output_name(session, 0), &output);
    if (status != DEFT_OK) goto done;

    for (int i = 0; i < output.rank; i++)
        output_count *= output.dims[i];
    const float *values = output.data;
    for (int64_t i = 1; i < output_count; i++)
        if (values[i] > values[top]) top = i;
    printf("%s: element %lld of %lld is the largest: %g\n", deft_session_output_name(session, 0), (long long)top,
           (long long)output_count, values[top]);
done:
    deft_session_free(session);
    return status;
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s MODEL\n", argv[0]);
        return 2;
    }
    deft_context *context;
    if (deft_context_new(NULL, &context) != DEFT_OK) return 3;
    deft_status status = run(context, argv[1]);
    if (status != DEFT_OK) fprintf(stderr, "%s: %s\n", deft_status_name(status), deft_context_message(context));
    deft_context_free(context);
    return status == DEFT_OK ? 0 : 1;
}
