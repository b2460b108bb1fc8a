/* Includes BODY twice: with REAL = float and TYPED(name) = name_f32, then with REAL = double and TYPED(name) =
 * name_f64, so that a forward is written once and exists for both. Define BODY before; deft_rule_by_real chooses. No
 * include guard: this file is a loop. The mathematics of <tgmath.h> follow the type. */
#include <tgmath.h>

#define REAL        float
#define TYPED(NAME) NAME##_f32
#include BODY
#undef REAL
#undef TYPED

#define REAL        double
#define TYPED(NAME) NAME##_f64
#include BODY
#undef REAL
#undef TYPED

#undef BODY
