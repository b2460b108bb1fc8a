#define WIDTH     4
#define ENGINE_OF deft_stream_engine_c
#include "codegen/kernel/sparse_stream_each.h"
