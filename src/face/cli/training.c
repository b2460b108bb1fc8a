#include "face/cli/training.h"

/* Those of a teacher first. */
enum { TEACHER_OPTIONS = 2 };
static const deft_option options[] = {
    {"teacher-share", 0, DEFT_OPTION_REAL, offsetof(deft_training_settings, teacher_share), "S",
     "of the loss; labels have the rest (default 0.5)", 1e-6, 1, false},
    {"temperature", 0, DEFT_OPTION_REAL, offsetof(deft_training_settings, temperature), "T",
     "softens the teacher's classes (default 1)", 0.01, 1000, false},
    {"epochs", 0, DEFT_OPTION_INT, offsetof(deft_training_settings, epochs), "E", "passes over the data (default 10)",
     1, 1e6, false},
    {"batch", 0, DEFT_OPTION_INT64, offsetof(deft_training_settings, batch), "N", "samples a step (default 64)", 1, 1e6,
     false},
    {"optimizer", 0, DEFT_OPTION_CHOICE, offsetof(deft_training_settings, optimizer), "sgd|nesterov|adam|adamw",
     "(default sgd)", 0, 0, false},
    {"learning-rate", 0, DEFT_OPTION_REAL, offsetof(deft_training_settings, learning_rate), "R",
     "at the start (default 0.05; adam, adamw: 0.001)", 1e-12, 1e6, false},
    {"schedule", 0, DEFT_OPTION_CHOICE, offsetof(deft_training_settings, schedule), "steps|cosine|constant",
     "of the rate (default steps)", 0, 0, false},
    {"warmup", 0, DEFT_OPTION_REAL, offsetof(deft_training_settings, warmup), "E",
     "epochs over which the rate rises from 0 (default 0)", 0, 1e6, false},
    {"momentum", 0, DEFT_OPTION_REAL, offsetof(deft_training_settings, momentum), "M", "0 for none (default 0.9)", 0,
     0.9999, false},
    {"weight-decay", 0, DEFT_OPTION_REAL, offsetof(deft_training_settings, weight_decay), "W",
     "L2 penalty; 0 for none (default 5e-4; adamw: 0.01)", 0, 1e6, false},
    {"clip", 0, DEFT_OPTION_REAL, offsetof(deft_training_settings, clip), "G",
     "largest norm of the gradient; 0 for any (default 1)", 0, 1e6, false},
    {"average", 0, DEFT_OPTION_REAL, offsetof(deft_training_settings, average), "A",
     "keep a moving average of the weights: 0.999, say", 0, 0.999999, false},
    {"loss", 0, DEFT_OPTION_CHOICE, offsetof(deft_training_settings, loss),
     "auto|cross-entropy|squared-error|percentage", "(auto)", 0, 0, false},
    {"label-smoothing", 0, DEFT_OPTION_REAL, offsetof(deft_training_settings, label_smoothing), "S",
     "share of a label given to all classes (default 0)", 0, 0.9999, false},
};
enum { OPTIONS = sizeof options / sizeof *options };
const deft_option_table deft_training_table = {options, OPTIONS};
const deft_option_table deft_teacherless_training_table = {options + TEACHER_OPTIONS, OPTIONS - TEACHER_OPTIONS};

/* The library's number, where 0 is the default and a negative one is none; here, 0 is none and a negative one the
 * default. */
static float number(double wanted) {
    return wanted > 0 ? (float)wanted : wanted < 0 ? 0 : -1;
}

deft_train_options deft_training_options(const deft_training_settings *wanted) {
    const deft_optimizer_options optimizer = {.kind = wanted->optimizer,
                                              .momentum = number(wanted->momentum),
                                              .weight_decay = number(wanted->weight_decay),
                                              .max_gradient_norm = number(wanted->clip),
                                              .average = (float)wanted->average};
    return (deft_train_options){.epochs = wanted->epochs,
                                .batch = wanted->batch,
                                .optimizer = optimizer,
                                .learning_rate = (float)wanted->learning_rate,
                                .schedule = wanted->schedule,
                                .warmup_epochs = (float)wanted->warmup,
                                .loss = wanted->loss,
                                .label_smoothing = (float)wanted->label_smoothing,
                                .teacher_share = (float)wanted->teacher_share,
                                .teacher_temperature = (float)wanted->temperature};
}
