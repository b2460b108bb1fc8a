#include "codegen/x86/emit.h"

#include <assert.h>
#include <string.h>

enum { LONGEST_INSTRUCTION = 15 };
enum { MAP_0F = 1, MAP_0F38 = 2 };
enum { PREFIX_NONE = 0, PREFIX_66 = 1 };

typedef enum operands { DST_SRC_RM, DST_RM, RM_SRC } operands;

typedef struct vector_form {
    uint8_t map, prefix, opcode;
    operands operands;
    uint8_t memory_bytes;
} vector_form;

typedef struct general_form {
    uint8_t opcode, digit;
} general_form;

#define VECTOR(ENUM, MNEMONIC, MAP, PREFIX, OPCODE, OPERANDS, BYTES) {MAP, PREFIX, OPCODE, OPERANDS, BYTES},
static const vector_form vector_forms[] = {
#include "codegen/x86/instructions.def"
};
#define GENERAL(ENUM, MNEMONIC, OPCODE, DIGIT) {OPCODE, DIGIT},
static const general_form general_forms[] = {
#include "codegen/x86/instructions.def"
};
#define JUMP(ENUM, MNEMONIC, OPCODE) OPCODE,
static const uint8_t jump_opcodes[] = {
#include "codegen/x86/instructions.def"
};

void deft_emitter_init(deft_emitter *emitter, deft_context *ctx) {
    *emitter = (deft_emitter){.ctx = ctx};
}

void deft_emitter_done(deft_emitter *emitter) {
    deft_release(emitter->ctx, emitter->bytes);
    *emitter = (deft_emitter){.ctx = emitter->ctx};
}

/* Room for one more instruction, or NULL after a failure. */
static uint8_t *reserve(deft_emitter *emitter) {
    if (emitter->status != DEFT_OK) return NULL;
    if (emitter->capacity - emitter->count < LONGEST_INSTRUCTION) {
        size_t capacity = emitter->capacity ? 2 * emitter->capacity : 4096;
        emitter->status = deft_reallocate(emitter->ctx, capacity, &emitter->bytes);
        if (emitter->status != DEFT_OK) return NULL;
        emitter->capacity = capacity;
    }
    return emitter->bytes + emitter->count;
}

static void commit(deft_emitter *emitter, const uint8_t *end) {
    emitter->count = (size_t)(end - emitter->bytes);
}

static uint8_t *put_u32(uint8_t *at, uint32_t value) {
    memcpy(at, &value, 4); /* little-endian, as is all that runs this code */
    return at + 4;
}

static uint8_t *put_register(uint8_t *at, int reg, int rm) {
    *at++ = (uint8_t)(0xC0 | (reg & 7) << 3 | (rm & 7));
    return at;
}

/* ModRM, SIB and displacement of [base + displacement]; an 8-bit displacement counts units of `scale` bytes. */
static uint8_t *put_memory(uint8_t *at, int reg, int base, int32_t displacement, int32_t scale) {
    int32_t units = displacement / scale;
    bool short_form = units * scale == displacement && units >= -128 && units <= 127;
    bool none = displacement == 0 && (base & 7) != DEFT_RBP; /* mod 0 with rbp or r13 means another thing */
    int mod = none ? 0 : short_form ? 1 : 2;
    *at++ = (uint8_t)(mod << 6 | (reg & 7) << 3 | (base & 7));
    if ((base & 7) == DEFT_RSP) *at++ = 0x24; /* rm 4 announces a SIB byte: no index, this base */
    if (mod == 1) *at++ = (uint8_t)units;
    return mod == 2 ? put_u32(at, (uint32_t)displacement) : at;
}

static uint8_t *put_vex(uint8_t *at, const vector_form *form, deft_vector_width width, int reg, int src, int rm) {
    int low = (~src & 15) << 3 | (width == DEFT_YMM) << 2 | form->prefix;
    if (form->map == MAP_0F && rm < 8) {
        *at++ = 0xC5;
        *at++ = (uint8_t)((reg < 8) << 7 | low);
    } else {
        *at++ = 0xC4;
        *at++ = (uint8_t)((reg < 8) << 7 | 1 << 6 | (rm < 8) << 5 | form->map);
        *at++ = (uint8_t)low;
    }
    return at;
}

static uint8_t *put_evex(uint8_t *at, const vector_form *form, deft_vector_width width, int reg, int src,
                         deft_operand operand) {
    int rm = operand.reg;
    *at++ = 0x62;
    /* the fifth bit of a register in rm stands in X, which is the index of a memory operand: we have none */
    *at++ = (uint8_t)(!(reg & 8) << 7 | !(rm & 16) << 6 | !(rm & 8) << 5 | !(reg & 16) << 4 | form->map);
    *at++ = (uint8_t)((~src & 15) << 3 | 1 << 2 | form->prefix);
    *at++ = (uint8_t)(width << 5 | (operand.kind == DEFT_BROADCAST) << 4 | !(src & 16) << 3);
    return at;
}

void deft_emit_vector(deft_emitter *emitter, deft_vector_op op, deft_vector_width width, int dst, int src,
                      deft_operand operand) {
    const vector_form *form = &vector_forms[op];
    assert(operand.kind != DEFT_BROADCAST || form->operands == DST_SRC_RM);
    uint8_t *at = reserve(emitter);
    if (!at) return;
    if (form->operands != DST_SRC_RM) src = 0;
    bool evex = width == DEFT_ZMM || operand.kind == DEFT_BROADCAST || (dst | src) > 15 || operand.reg > 15;
    at = evex ? put_evex(at, form, width, dst, src, operand) : put_vex(at, form, width, dst, src, operand.reg);
    *at++ = form->opcode;
    int vector_bytes = 16 << width;
    int element_bytes = operand.kind == DEFT_BROADCAST ? 4 : form->memory_bytes ? form->memory_bytes : vector_bytes;
    at = operand.kind == DEFT_IN_REGISTER
             ? put_register(at, dst, operand.reg)
             : put_memory(at, dst, operand.reg, operand.displacement, evex ? element_bytes : 1);
    commit(emitter, at);
}

/* An AVX-512 instruction under the mask register `mask`; what it leaves out stays or, with `zeroing`, becomes 0. */
static void emit_masked(deft_emitter *emitter, const vector_form *form, int mask, bool zeroing, int reg,
                        deft_operand operand) {
    uint8_t *at = reserve(emitter);
    if (!at) return;
    at = put_evex(at, form, DEFT_ZMM, reg, 0, operand);
    at[-1] |= (uint8_t)(zeroing << 7 | mask);
    *at++ = form->opcode;
    at = operand.kind == DEFT_IN_REGISTER ? put_register(at, reg, operand.reg)
                                          : put_memory(at, reg, operand.reg, operand.displacement, 64);
    commit(emitter, at);
}

void deft_emit_masked_store(deft_emitter *emitter, int mask, int src, deft_gpr base, int32_t displacement) {
    emit_masked(emitter, &vector_forms[DEFT_VMOVUPS_STORE], mask, false, src, deft_in_memory(base, displacement));
}

void deft_emit_masked_load(deft_emitter *emitter, int mask, int dst, deft_gpr base, int32_t displacement) {
    emit_masked(emitter, &vector_forms[DEFT_VMOVUPS], mask, true, dst, deft_in_memory(base, displacement));
}

void deft_emit_compress(deft_emitter *emitter, int mask, int dst, int src) {
    static const vector_form vcompressps = {MAP_0F38, PREFIX_66, 0x8A, RM_SRC, 0};
    emit_masked(emitter, &vcompressps, mask, true, src, deft_in_register(dst));
}

void deft_emit_load_mask(deft_emitter *emitter, int mask, deft_gpr base, int32_t displacement) {
    static const vector_form kmovw = {MAP_0F, PREFIX_NONE, 0x90, DST_RM, 0};
    uint8_t *at = reserve(emitter);
    if (!at) return;
    at = put_vex(at, &kmovw, DEFT_XMM, mask, 0, (int)base);
    *at++ = kmovw.opcode;
    commit(emitter, put_memory(at, mask, (int)base, displacement, 1));
}

static uint8_t *put_rex(uint8_t *at, int reg, int rm) {
    *at++ = (uint8_t)(0x48 | (reg >> 3) << 2 | rm >> 3); /* 64-bit operands */
    return at;
}

static void emit_registers(deft_emitter *emitter, uint8_t opcode, int reg, int rm) {
    uint8_t *at = reserve(emitter);
    if (!at) return;
    at = put_rex(at, reg, rm);
    *at++ = opcode;
    commit(emitter, put_register(at, reg, rm));
}

static void emit_memory(deft_emitter *emitter, uint8_t opcode, int reg, int base, int32_t displacement) {
    uint8_t *at = reserve(emitter);
    if (!at) return;
    at = put_rex(at, reg, base);
    *at++ = opcode;
    commit(emitter, put_memory(at, reg, base, displacement, 1));
}

void deft_emit_general(deft_emitter *emitter, deft_general_op op, deft_gpr dst, deft_gpr src) {
    emit_registers(emitter, general_forms[op].opcode, (int)src, (int)dst);
}

void deft_emit_general_constant(deft_emitter *emitter, deft_general_op op, deft_gpr dst, int32_t constant) {
    uint8_t *at = reserve(emitter);
    if (!at) return;
    bool short_form = constant >= -128 && constant <= 127;
    at = put_rex(at, 0, (int)dst);
    *at++ = short_form ? 0x83 : 0x81;
    at = put_register(at, general_forms[op].digit, (int)dst);
    if (short_form)
        *at++ = (uint8_t)constant;
    else
        at = put_u32(at, (uint32_t)constant);
    commit(emitter, at);
}

void deft_emit_move(deft_emitter *emitter, deft_gpr dst, deft_gpr src) {
    emit_registers(emitter, 0x89, (int)src, (int)dst);
}

void deft_emit_load(deft_emitter *emitter, deft_gpr dst, deft_gpr base, int32_t displacement) {
    emit_memory(emitter, 0x8B, (int)dst, (int)base, displacement);
}

void deft_emit_add_memory(deft_emitter *emitter, deft_gpr dst, deft_gpr base, int32_t displacement) {
    emit_memory(emitter, 0x03, (int)dst, (int)base, displacement);
}

void deft_emit_store(deft_emitter *emitter, deft_gpr src, deft_gpr base, int32_t displacement) {
    emit_memory(emitter, 0x89, (int)src, (int)base, displacement);
}

void deft_emit_lea(deft_emitter *emitter, deft_gpr dst, deft_gpr base, int32_t displacement) {
    emit_memory(emitter, 0x8D, (int)dst, (int)base, displacement);
}

static void emit_bytes(deft_emitter *emitter, const uint8_t *bytes, int count) {
    uint8_t *at = reserve(emitter);
    if (!at) return;
    memcpy(at, bytes, (size_t)count);
    commit(emitter, at + count);
}

void deft_emit_prefetch(deft_emitter *emitter, deft_gpr base, int32_t displacement) {
    uint8_t *at = reserve(emitter);
    if (!at) return;
    if (base > DEFT_RDI) *at++ = 0x41;
    *at++ = 0x0F;
    *at++ = 0x18;
    commit(emitter, put_memory(at, 1, (int)base, displacement, 1));
}

static void emit_stack(deft_emitter *emitter, uint8_t opcode, deft_gpr reg) {
    const uint8_t bytes[] = {0x41, (uint8_t)(opcode | ((int)reg & 7))};
    bool high = reg > DEFT_RDI;
    emit_bytes(emitter, high ? bytes : bytes + 1, high ? 2 : 1);
}

void deft_emit_push(deft_emitter *emitter, deft_gpr reg) {
    emit_stack(emitter, 0x50, reg);
}

void deft_emit_pop(deft_emitter *emitter, deft_gpr reg) {
    emit_stack(emitter, 0x58, reg);
}

void deft_emit_vzeroupper(deft_emitter *emitter) {
    emit_bytes(emitter, (const uint8_t[]){0xC5, 0xF8, 0x77}, 3);
}

void deft_emit_ret(deft_emitter *emitter) {
    emit_bytes(emitter, (const uint8_t[]){0xC3}, 1);
}

void deft_emit_jump(deft_emitter *emitter, deft_jump_op op, size_t target) {
    uint8_t *at = reserve(emitter);
    if (!at) return;
    int64_t distance = (int64_t)target - (int64_t)(emitter->count + 6); /* from the end of the instruction */
    assert(distance >= INT32_MIN && distance <= INT32_MAX);
    *at++ = 0x0F;
    *at++ = jump_opcodes[op];
    commit(emitter, put_u32(at, (uint32_t)distance));
}

void deft_emit_jump_on(deft_emitter *emitter) {
    emit_bytes(emitter, (const uint8_t[]){0xEB, 0x00}, 2);
}

void deft_emit_align(deft_emitter *emitter, size_t bytes) {
    while (emitter->status == DEFT_OK && emitter->count % bytes)
        emit_bytes(emitter, (const uint8_t[]){0xCC}, 1);
}
