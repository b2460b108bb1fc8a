#define LOOPS deft_vector_loops_avx2
#include "codegen/kernel/vector_loops_each.h"
