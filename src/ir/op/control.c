/* If, Loop, Scan: not computed themselves. Inference puts the nodes of their graphs in their place. */
#include "ir/op/rule.h"

deft_status deft_shape_control(const deft_op_call *call) {
    return deft_rule_fail(call, DEFT_UNSUPPORTED, "control flow must be replaced before shapes are asked for");
}

deft_status deft_forward_control(const deft_op_call *call) {
    return deft_shape_control(call);
}
