#define WIDTH     8
#define ENGINE_OF deft_stream_engine_avx2
#include "codegen/kernel/sparse_stream_each.h"
