/* Lottery tickets: sparse parts of an untrained network that learn as well as all of it, found by training, pruning by
 * magnitude, resetting what is left to its early values, and so on. source: FRANKLE2019, FRANKLE2020, RENDA2020 */
#ifndef DEFT_LEARN_APPROX_LOTTERY_H
#define DEFT_LEARN_APPROX_LOTTERY_H

#include "learn/approx/prune.h"
#include "learn/train/train.h"

typedef enum deft_ticket_kind {
    DEFT_TICKET_WINNING,       /* the weights that survived, with their own early values */
    DEFT_TICKET_REINITIALIZED, /* the same places, other initial values: the control that must do worse */
    DEFT_TICKET_RANDOM,        /* as many weights of each layer, at random places, with their own initial values */
    DEFT_TICKET_KINDS
} deft_ticket_kind;
/* "winning", "reinitialized", "random". */
extern const char *const deft_ticket_names[DEFT_TICKET_KINDS];

/* What came of one training. */
typedef struct deft_ticket {
    int seed, round; /* of the repetition, from 0; of pruning, 0 for the dense network */
    deft_ticket_kind kind;
    double weights_left;                       /* share of the prunable ones */
    double accuracy_validation, accuracy_test; /* at the end, 0 to 1 */
    int64_t stop_step; /* where the validation loss was least: early stopping, the measure of how fast it learned */
    double stop_loss, stop_accuracy_test; /* there */
} deft_ticket;

/* A point of a training's curve, on the validation split. */
typedef struct deft_curve_point {
    int64_t step;
    double loss, accuracy;
} deft_curve_point;

typedef enum deft_lottery_reset {
    DEFT_RESET_WEIGHTS,      /* to their values after `rewind_step`, from where training is repeated */
    DEFT_RESET_LEARNING_RATE /* the weights stay as they are; training is repeated from `rewind_step` */
} deft_lottery_reset;

typedef struct deft_lottery_options {
    const char *folder; /* made where it is not there: log.jsonl, and the networks as seed-S-round-R.onnx */
    int seeds;          /* repetitions; default 1 */
    int rounds;         /* of pruning, after the dense network's; default 15 */
    double rate;        /* share of the weights left that a round prunes; default 0.2 */
    double output_rate; /* of the last layer, for the scope LAYER; default: half of `rate` */
    deft_prune_scope scope;
    deft_lottery_reset reset;
    int64_t rewind_step;                                      /* default 0: initialisation */
    bool controls[DEFT_TICKET_KINDS];                         /* which other kinds are trained too */
    int control_every;                                        /* rounds; default 1 */
    int evaluations;                                          /* points of a curve; default 50 */
    deft_train_options training;                              /* without checkpoint, hook and on_epoch */
    void (*on_ticket)(void *user, const deft_ticket *ticket); /* each one, those of the log first */
    void *user;
} deft_lottery_options;

/* Draws tickets of an untrained network. Repetition s has the seed of the context plus s; the first begins with the
 * network's own weights, another one with these shuffled within each layer, which is what drawing them anew comes to;
 * so do the reinitialised tickets. Every training writes its curve and outcome into the log, whole, when it is
 * finished; stopped at any moment, the same call goes on (from the last epoch) to the same outcomes. Seeds, rounds and
 * controls may be added later. A weight whose early value is exactly zero stays zero once others are pruned. Memory:
 * five networks beside the training. Errors: DEFT_INVALID (options; a folder of another lottery; those of deft_train),
 * DEFT_IO (the folder), DEFT_CANCELLED. */
DEFT_MUST_CHECK deft_status deft_lottery(deft_context *ctx, const deft_graph *network, const deft_dataset *data,
                                         const deft_lottery_options *options);

#endif
