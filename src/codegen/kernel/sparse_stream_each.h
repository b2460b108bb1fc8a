/* The loops over a stream for 4 to 32 lanes, in the compiler's vectors, which it makes of whatever the target has. Who
 * includes this defines WIDTH, the lanes of the widest vector, and ENGINE_OF, the function that picks a loop. */
#include "codegen/kernel/sparse_stream.h"

#include <string.h>

enum { STEP = 4, HALF = 8, QUARTER = 4, PAIR = 2 };

typedef struct offsets {
    uint64_t of[STEP];
} offsets;

static inline offsets load_offsets(const uint16_t *from) {
    uint64_t four;
    memcpy(&four, from, sizeof four);
    return (offsets){{four & 0xffff, four >> 16 & 0xffff, four >> 32 & 0xffff, four >> 48}};
}

/* The first `count` lanes, 2 to 15, by two copies that overlap. */
static inline void store_lanes(float *to, const float *lanes, int64_t count) {
    if (count >= HALF) {
        memcpy(to, lanes, HALF * sizeof *to);
        memcpy(to + count - HALF, lanes + count - HALF, HALF * sizeof *to);
    } else if (count >= QUARTER) {
        memcpy(to, lanes, QUARTER * sizeof *to);
        memcpy(to + count - QUARTER, lanes + count - QUARTER, QUARTER * sizeof *to);
    } else {
        memcpy(to, lanes, PAIR * sizeof *to);
        memcpy(to + count - PAIR, lanes + count - PAIR, PAIR * sizeof *to);
    }
}

#define LANES(N) (WIDTH < (N) ? WIDTH : (N))
typedef float vector_4 __attribute__((vector_size(4 * LANES(4))));
typedef int32_t mask_4 __attribute__((vector_size(4 * LANES(4))));
typedef float vector_8 __attribute__((vector_size(4 * LANES(8))));
typedef int32_t mask_8 __attribute__((vector_size(4 * LANES(8))));
typedef float vector_16 __attribute__((vector_size(4 * LANES(16))));
typedef int32_t mask_16 __attribute__((vector_size(4 * LANES(16))));

#define LANED(NAME) NAME##_4
#define VECTOR      vector_4
#define MASK        mask_4
#define COUNT       (4 / LANES(4))
#include "codegen/kernel/sparse_stream_body.h"
#undef LANED
#undef VECTOR
#undef MASK
#undef COUNT

#define LANED(NAME) NAME##_8
#define VECTOR      vector_8
#define MASK        mask_8
#define COUNT       (8 / LANES(8))
#include "codegen/kernel/sparse_stream_body.h"
#undef LANED
#undef COUNT

#define LANED(NAME) NAME##_24
#define COUNT       (24 / LANES(8))
#include "codegen/kernel/sparse_stream_body.h"
#undef LANED
#undef VECTOR
#undef MASK
#undef COUNT

#define LANED(NAME) NAME##_16
#define VECTOR      vector_16
#define MASK        mask_16
#define COUNT       (16 / LANES(16))
#include "codegen/kernel/sparse_stream_body.h"
#undef LANED
#undef COUNT

#define LANED(NAME) NAME##_32
#define COUNT       (32 / LANES(16))
#include "codegen/kernel/sparse_stream_body.h"
#undef LANED
#undef VECTOR
#undef MASK
#undef COUNT

deft_stream_engine ENGINE_OF(int lanes) {
    switch (lanes) {
    case 4:
        return run_4;
    case 8:
        return run_8;
    case 16:
        return run_16;
    case 24:
        return run_24;
    default:
        return run_32;
    }
}
