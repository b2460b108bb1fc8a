/* Trains a model with a loss of one's own. The model, whose input and first output are f32 with the batch in front,
 * learns to give the mean of its input as every output, by Huber's loss: squared near 0, and not more than linear far
 * from it. Writes the trained model.
 *
 *   cc 02_train.c $(pkg-config --cflags --libs deft) -o train && ./train model.onnx trained.onnx
 */
#include <deft/deft.h>
#include <stdio.h>
#include <stdlib.h>

enum { BATCH = 32, STEPS = 200 };

typedef struct problem {
    deft_tensor input;
    float targets[BATCH];
} problem;

static int64_t sample_size(const deft_tensor *tensor) {
    int64_t size = 1;
    for (int i = 1; i < tensor->rank; i++)
        size *= tensor->dims[i];
    return size;
}

/* Random inputs around a level of their own for each sample, and their means. */
static void make_batch(problem *p) {
    int64_t size = sample_size(&p->input);
    for (int i = 0; i < BATCH; i++) {
        float *x = (float *)p->input.data + i * size, level = (float)rand() / (float)RAND_MAX, sum = 0;
        for (int64_t j = 0; j < size; j++)
            sum += x[j] = level + (float)rand() / (float)RAND_MAX - 0.5f;
        p->targets[i] = sum / (float)size;
    }
}

/* The mean over all outputs, and its derivative for each of them. */
static bool huber(void *user, int count, const deft_tensor *outputs, deft_tensor *gradients, double *loss) {
    const problem *p = user;
    int64_t size = sample_size(&outputs[0]), elements = BATCH * size;
    (void)count; /* the other outputs, if there are any, do not matter */
    *loss = 0;
    for (int64_t i = 0; i < elements; i++) {
        float error = ((const float *)outputs[0].data)[i] - p->targets[i / size];
        float slope = error > 1 ? 1 : error < -1 ? -1 : error;
        *loss += (slope * error - slope * slope / 2) / (double)elements;
        ((float *)gradients[0].data)[i] = slope / (float)elements;
    }
    return true;
}

static deft_status train(deft_context *context, const char *from, const char *to) {
    deft_model *model = NULL, *trained = NULL;
    deft_session *shapes = NULL;
    deft_train_session *session = NULL;
    problem p;
    double first = 0, loss = 0;
    deft_train_session_options options = {
        .batch = BATCH, .optimizer = {.kind = DEFT_OPTIMIZER_ADAM, .average = 0.9f}, .function = huber, .user = &p};

    deft_status status = deft_model_load(context, from, &model);
    if (status == DEFT_OK) status = deft_session_new(model, NULL, &shapes); /* it knows the names */
    if (status == DEFT_OK) status = deft_train_session_new(model, &options, &session);
    if (status == DEFT_OK) status = deft_train_session_input(session, deft_session_input_name(shapes, 0), &p.input);
    for (int step = 0; step < STEPS && status == DEFT_OK; step++) {
        make_batch(&p);
        status = deft_train_session_step(session, 0.002, &loss);
        if (step == 0) first = loss;
    }
    if (status == DEFT_OK) status = deft_train_session_model(session, &trained);
    if (status == DEFT_OK) status = deft_model_save(trained, to);
    if (status == DEFT_OK)
        printf("after %d steps the loss is %.5f, at first it was %.5f: it %s\n", STEPS, loss, first,
               loss < first ? "fell" : "did not fall");
    deft_model_free(trained);
    deft_train_session_free(session);
    deft_session_free(shapes);
    deft_model_free(model);
    return status;
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: %s MODEL TRAINED\n", argv[0]);
        return 2;
    }
    deft_context *context;
    if (deft_context_new(NULL, &context) != DEFT_OK) return 3;
    deft_status status = train(context, argv[1], argv[2]);
    if (status != DEFT_OK) fprintf(stderr, "%s: %s\n", deft_status_name(status), deft_context_message(context));
    deft_context_free(context);
    return status == DEFT_OK ? 0 : 1;
}
