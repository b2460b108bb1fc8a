/* The options of training that train, prune and lottery have in common. */
#ifndef DEFT_FACE_CLI_TRAINING_H
#define DEFT_FACE_CLI_TRAINING_H

#include "face/cli/options.h"
#include "learn/train/train.h"

typedef struct deft_training_settings {
    int epochs;
    int64_t batch;
    deft_optimizer optimizer;
    deft_schedule_kind schedule;
    deft_loss loss;
    double learning_rate, momentum, weight_decay, clip, average, warmup, label_smoothing, teacher_share, temperature;
} deft_training_settings;

/* The defaults of those options, to begin the defaults of a command with. */
#define DEFT_TRAINING_DEFAULTS                                                                                         \
    .epochs = 10, .batch = 64, .momentum = 0.9, .weight_decay = -1, .clip = 1, .teacher_share = 0.5, .temperature = 1

/* They set deft_training_settings; the one without the options of a teacher. */
extern const deft_option_table deft_training_table, deft_teacherless_training_table;

/* What they ask for; no teacher, checkpoint or hook. */
deft_train_options deft_training_options(const deft_training_settings *wanted);

#endif
