/* An encoder for the x86-64 instructions that our kernels are made of. The forms are the rows of instructions.def; each
 * is checked against a disassembler in tests/unit/test_x86_encoder.c. Vector instructions take the VEX form where it
 * can say what is asked and EVEX elsewhere (zmm, registers 16-31, embedded broadcast); displacements take the fewest
 * bytes, in EVEX compressed to multiples of the memory operand (disp8*N). */
#ifndef DEFT_CODEGEN_X86_EMIT_H
#define DEFT_CODEGEN_X86_EMIT_H

#include "base/core/context.h"

typedef enum deft_gpr {
    DEFT_RAX,
    DEFT_RCX,
    DEFT_RDX,
    DEFT_RBX,
    DEFT_RSP,
    DEFT_RBP,
    DEFT_RSI,
    DEFT_RDI,
    DEFT_R8,
    DEFT_R9,
    DEFT_R10,
    DEFT_R11,
    DEFT_R12,
    DEFT_R13,
    DEFT_R14,
    DEFT_R15
} deft_gpr;

typedef enum deft_vector_width { DEFT_XMM, DEFT_YMM, DEFT_ZMM } deft_vector_width;

#define VECTOR(ENUM, ...) DEFT_##ENUM,
typedef enum deft_vector_op {
#include "codegen/x86/instructions.def"
    DEFT_VECTOR_OP_COUNT
} deft_vector_op;
#define GENERAL(ENUM, ...) DEFT_##ENUM,
typedef enum deft_general_op {
#include "codegen/x86/instructions.def"
    DEFT_GENERAL_OP_COUNT
} deft_general_op;
#define JUMP(ENUM, ...) DEFT_##ENUM,
typedef enum deft_jump_op {
#include "codegen/x86/instructions.def"
    DEFT_JUMP_OP_COUNT
} deft_jump_op;

/* The last operand of a vector instruction: a register, a vector in memory, or one f32 in memory for all lanes. */
typedef enum deft_operand_kind { DEFT_IN_REGISTER, DEFT_IN_MEMORY, DEFT_BROADCAST } deft_operand_kind;
typedef struct deft_operand {
    deft_operand_kind kind;
    int reg; /* vector register 0-31, or the base, a deft_gpr */
    int32_t displacement;
} deft_operand;
static inline deft_operand deft_in_register(int reg) {
    return (deft_operand){.kind = DEFT_IN_REGISTER, .reg = reg};
}
static inline deft_operand deft_in_memory(deft_gpr base, int32_t displacement) {
    return (deft_operand){DEFT_IN_MEMORY, (int)base, displacement};
}
static inline deft_operand deft_broadcast_of(deft_gpr base, int32_t displacement) {
    return (deft_operand){DEFT_BROADCAST, (int)base, displacement};
}

/* Machine code as it grows. The first failure to get memory sticks in `status`, and what is emitted after it is lost:
 * check once, at the end. */
typedef struct deft_emitter {
    deft_context *ctx;
    uint8_t *bytes;
    size_t count, capacity;
    deft_status status;
} deft_emitter;

void deft_emitter_init(deft_emitter *emitter, deft_context *ctx);
void deft_emitter_done(deft_emitter *emitter);

/* dst = op(src, operand). `src` is ignored by instructions without one; of a store, `dst` is what is stored. Embedded
 * broadcast is for instructions of three operands; VBROADCASTSS takes plain memory. */
void deft_emit_vector(deft_emitter *emitter, deft_vector_op op, deft_vector_width width, int dst, int src,
                      deft_operand operand);
/* zmm, under a mask register k1-k7, only the 32-bit lanes whose bits are set: stored; loaded, the others zero, from
 * memory that need not exist where bits are clear; moved together to the lowest lanes of `dst`, the others zero. And a
 * mask of 16 bits out of memory. */
void deft_emit_masked_load(deft_emitter *emitter, int mask, int dst, deft_gpr base, int32_t displacement);
void deft_emit_masked_store(deft_emitter *emitter, int mask, int src, deft_gpr base, int32_t displacement);
void deft_emit_compress(deft_emitter *emitter, int mask, int dst, int src);
void deft_emit_load_mask(deft_emitter *emitter, int mask, deft_gpr base, int32_t displacement);
void deft_emit_general(deft_emitter *emitter, deft_general_op op, deft_gpr dst, deft_gpr src);
void deft_emit_general_constant(deft_emitter *emitter, deft_general_op op, deft_gpr dst, int32_t constant);
void deft_emit_move(deft_emitter *emitter, deft_gpr dst, deft_gpr src);
void deft_emit_load(deft_emitter *emitter, deft_gpr dst, deft_gpr base, int32_t displacement);
void deft_emit_store(deft_emitter *emitter, deft_gpr src, deft_gpr base, int32_t displacement);
/* dst += the 64 bits at base + displacement */
void deft_emit_add_memory(deft_emitter *emitter, deft_gpr dst, deft_gpr base, int32_t displacement);
/* dst = base + displacement */
void deft_emit_lea(deft_emitter *emitter, deft_gpr dst, deft_gpr base, int32_t displacement);
void deft_emit_prefetch(deft_emitter *emitter, deft_gpr base, int32_t displacement);
void deft_emit_push(deft_emitter *emitter, deft_gpr reg);
void deft_emit_pop(deft_emitter *emitter, deft_gpr reg);
void deft_emit_vzeroupper(deft_emitter *emitter);
void deft_emit_ret(deft_emitter *emitter);
/* Jumps to `target`, a position in the code that is already emitted. */
void deft_emit_jump(deft_emitter *emitter, deft_jump_op op, size_t target);
/* Jumps to the next instruction. */
void deft_emit_jump_on(deft_emitter *emitter);
/* Pads with int3, which is never reached, to a multiple of `bytes`. */
void deft_emit_align(deft_emitter *emitter, size_t bytes);

#endif
