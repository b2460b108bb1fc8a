#include "learn/train/schedule.h"

#include <math.h>

/* How often the rate has been stepped down by epoch `epoch`, from 0. */
static int64_t steps_down(const deft_schedule *schedule, int64_t epoch) {
    if (schedule->step_epochs) return epoch / schedule->step_epochs;
    return (2 * epoch >= schedule->epochs) + (4 * epoch >= 3 * (int64_t)schedule->epochs);
}

/* What the rate at the start is multiplied by. The cosine begins where the warm-up ends. */
static double decay(const deft_schedule *schedule, int64_t step, double warmup_steps) {
    static const double pi = 3.14159265358979323846;
    double left = (double)schedule->epochs * (double)schedule->steps - warmup_steps;
    switch (schedule->kind) {
    case DEFT_SCHEDULE_STEPS:
        return pow((double)schedule->step_factor, (double)steps_down(schedule, step / schedule->steps));
    case DEFT_SCHEDULE_COSINE:
        return 0.5 * (1 + cos(pi * fmin(1, fmax(0, ((double)step - warmup_steps) / left))));
    case DEFT_SCHEDULE_CONSTANT:
        break;
    }
    return 1;
}

float deft_schedule_rate(const deft_schedule *schedule, int64_t step) {
    double warmup_steps = (double)schedule->warmup_epochs * (double)schedule->steps;
    double warm = (double)step + 1 < warmup_steps ? ((double)step + 1) / warmup_steps : 1;
    return (float)((double)schedule->rate * warm * decay(schedule, step, warmup_steps));
}
