/* The learning rate over a run. */
#ifndef DEFT_LEARN_TRAIN_SCHEDULE_H
#define DEFT_LEARN_TRAIN_SCHEDULE_H

#include <stdint.h>

typedef enum deft_schedule_kind {
    DEFT_SCHEDULE_STEPS,  /* down by a factor now and then */
    DEFT_SCHEDULE_COSINE, /* down to 0 along half a cosine, a little with each step. source: LOSHCHILOV2017 */
    DEFT_SCHEDULE_CONSTANT
} deft_schedule_kind;

typedef struct deft_schedule {
    deft_schedule_kind kind;
    float rate; /* to begin with */
    int epochs;
    int64_t steps;       /* an epoch */
    float step_factor;   /* STEPS: the rate times this ... */
    int step_epochs;     /* ... every so many epochs; 0: after 1/2 and 3/4 of them */
    float warmup_epochs; /* of which the first steps' rates rise evenly from 0 to what they would be */
} deft_schedule;

/* The rate of a step, counted from 0 over all epochs. source of the warm-up: GOYAL2017 */
float deft_schedule_rate(const deft_schedule *schedule, int64_t step);

#endif
