#define WIDTH     16
#define ENGINE_OF deft_stream_engine_avx512
#include "codegen/kernel/sparse_stream_each.h"
