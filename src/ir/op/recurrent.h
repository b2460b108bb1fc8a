/* What RNN, GRU and LSTM share with their gradients: a node, resolved. */
#ifndef DEFT_IR_OP_RECURRENT_H
#define DEFT_IR_OP_RECURRENT_H

#include "ir/op/product.h"

/* Inputs; operators of the gradients have R to P in the same places. */
enum { DEFT_RNN_X, DEFT_RNN_W, DEFT_RNN_R, DEFT_RNN_B, DEFT_RNN_LENGTHS, DEFT_RNN_H, DEFT_RNN_C, DEFT_RNN_P };

typedef enum deft_squash { DEFT_SQUASH_SIGMOID, DEFT_SQUASH_TANH, DEFT_SQUASH_RELU, DEFT_SQUASHES } deft_squash;

/* Strides in elements: of X, of Y, and of a state. */
typedef struct deft_recurrent {
    deft_op op;
    int64_t steps, batch, inputs, directions, hidden, gates;
    bool reverse;     /* the only direction is */
    bool batch_first; /* X [batch, steps, inputs], Y [batch, steps, directions, hidden], states [batch, directions,
                         hidden]; else X [steps, batch, inputs], Y [steps, directions, batch, hidden], states
                         [directions, batch, hidden] */
    int64_t x_step, x_batch, y_step, y_batch, y_direction, h_batch, h_direction;
    deft_squash squashes[2][3]; /* by direction: f, g, h */
    double clip;
    bool linear_before_reset, input_forget;
} deft_recurrent;

/* Reads the attributes of a node of operator `op`, whose sizes are given. Errors: DEFT_INVALID, DEFT_UNSUPPORTED. */
DEFT_MUST_CHECK deft_status deft_recurrent_resolve(const deft_op_call *call, deft_op op, int64_t steps, int64_t batch,
                                                   int64_t inputs, int64_t hidden, deft_recurrent *out);
/* The same for a forward node, from its inputs. */
DEFT_MUST_CHECK deft_status deft_recurrent_read(const deft_op_call *call, deft_recurrent *out);
/* The same for a RecurrentGrad. */
DEFT_MUST_CHECK deft_status deft_recurrent_grad_read(const deft_op_call *call, deft_recurrent *out);
/* Sigmoid for gates, else tanh, no clip, no coupled gates. */
bool deft_recurrent_is_usual(const deft_recurrent *r);
/* The forward of RecurrentGrad, its products by `product`: rows of A and of B lie together, unless it is of a GRU that
 * is not linear before reset. */
DEFT_MUST_CHECK deft_status deft_recurrent_grad_run(const deft_op_call *call, deft_product_fn product);
bool deft_recurrent_is_batch_first(const deft_op_call *call);
/* The shapes of Y and of a state. */
deft_tensor deft_recurrent_y_shape(const deft_recurrent *r, deft_dtype dtype);
deft_tensor deft_recurrent_state_shape(const deft_recurrent *r, deft_dtype dtype);
/* R, B, the lengths, initial states and peepholes, where they are given. Error: DEFT_INVALID. */
DEFT_MUST_CHECK deft_status deft_recurrent_check_inputs(const deft_op_call *call, const deft_recurrent *r);

/* How many steps sequence `batch` has, by input `lengths` (may be absent); a length outside of what there is has all.
 */
int64_t deft_recurrent_length(const deft_op_call *call, int lengths, const deft_recurrent *r, int64_t batch);
/* Whether `direction` goes from the last step to the first. */
static inline bool deft_recurrent_goes_back(const deft_recurrent *r, int64_t direction) {
    return r->reverse || direction == 1;
}

#endif
