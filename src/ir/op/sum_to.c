/* SumTo: the gradient of broadcasting. */
#include "ir/op/nest.h"
#include "ir/op/rule.h"

#define BODY "ir/op/sum_to_body.h"
#include "ir/op/each_real.h"

deft_status deft_shape_sum_to(const deft_op_call *call) {
    const deft_tensor *x = call->in[0], *like = call->in[1];
    deft_tensor broadcast = {0};
    DEFT_TRY(deft_rule_require_real(call, 0, 1));
    if (!deft_broadcast(x, like, &broadcast) || !deft_shape_equal(&broadcast, x)) {
        char x_text[DEFT_SHAPE_TEXT_BYTES], like_text[DEFT_SHAPE_TEXT_BYTES];
        return deft_rule_fail(call, DEFT_INVALID, "shape %s does not broadcast to %s, so nothing can be summed to it",
                              deft_shape_text(like, like_text, sizeof like_text),
                              deft_shape_text(x, x_text, sizeof x_text));
    }
    return deft_rule_set_out_like(call, 0, like);
}

deft_status deft_forward_sum_to(const deft_op_call *call) {
    return deft_rule_by_real(call, sum_to_f32, sum_to_f64);
}
