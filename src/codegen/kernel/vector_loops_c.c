#define LOOPS deft_vector_loops_c
#include "codegen/kernel/vector_loops_each.h"
