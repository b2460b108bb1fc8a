#include "ir/op/product.h"

#include "ir/op/rule.h"

#define BODY "ir/op/product_body.h"
#include "ir/op/each_real.h"

void deft_product_run(const deft_op_call *call, deft_dtype dtype, const deft_product *product) {
    if (dtype == DEFT_F64)
        product_f64(call, product);
    else
        product_f32(call, product);
}
