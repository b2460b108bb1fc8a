/* Every instruction form that the encoder can emit, over all registers and sizes of displacement, as Zydis reads it. */
#include "tests/support.h"

#include "base/core/cpu.h"
#include "codegen/x86/emit.h"
#include "codegen/x86/memory.h"

#include <Zydis/Zydis.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

typedef struct vector_case {
    const char *mnemonic;
    bool three, store;
    int memory_bytes;
} vector_case;

enum { DST_SRC_RM, DST_RM, RM_SRC };
#define VECTOR(ENUM, MNEMONIC, MAP, PREFIX, OPCODE, OPERANDS, BYTES)                                                   \
    {MNEMONIC, (OPERANDS) == DST_SRC_RM, (OPERANDS) == RM_SRC, BYTES},
static const vector_case vector_cases[] = {
#include "codegen/x86/instructions.def"
};
#define GENERAL(ENUM, MNEMONIC, ...) MNEMONIC,
static const char *const general_names[] = {
#include "codegen/x86/instructions.def"
};
#define JUMP(ENUM, MNEMONIC, ...) MNEMONIC,
static const char *const jump_names[] = {
#include "codegen/x86/instructions.def"
};

static const int32_t displacements[] = {
    0,
    1,
    -1,
    3,
    4,
    -4,
    32,
    -32,
    63,
    64,
    -64,
    127,
    128,
    -128,
    -129,
    508,
    512,
    -512,
    -516,
    2032,
    2048,
    -2048,
    -2064,
    4064,
    4096,
    -4096,
    -4128,
    8128,
    8192,
    -8192,
    -8256,
    1 << 20,
    64 << 20,
    INT32_MAX,
    INT32_MIN,
    INT32_MAX - 63,
    INT32_MIN + 64,
};

typedef struct fixture {
    deft_context *ctx;
    deft_emitter emitter;
    ZydisDecoder decoder;
} fixture;

static void fixture_init(fixture *f) {
    f->ctx = test_context();
    deft_emitter_init(&f->emitter, f->ctx);
    assert_true(ZYAN_SUCCESS(ZydisDecoderInit(&f->decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64)));
}

static void fixture_done(fixture *f) {
    assert_int_equal(f->emitter.status, DEFT_OK);
    deft_emitter_done(&f->emitter);
    test_context_free(f->ctx);
}

typedef struct decoded {
    ZydisDecodedInstruction instruction;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
} decoded;

static bool decode(const fixture *f, const uint8_t *bytes, size_t count, decoded *out) {
    return ZYAN_SUCCESS(ZydisDecoderDecodeFull(&f->decoder, bytes, count, &out->instruction, out->operands)) &&
           out->instruction.length == count;
}

static ZydisRegister vector_register(deft_vector_width width, int index) {
    static const ZydisRegister first[] = {ZYDIS_REGISTER_XMM0, ZYDIS_REGISTER_YMM0, ZYDIS_REGISTER_ZMM0};
    return (ZydisRegister)(first[width] + index);
}

static bool is_register(const ZydisDecodedOperand *operand, ZydisRegister expected) {
    return operand->type == ZYDIS_OPERAND_TYPE_REGISTER && operand->reg.value == expected;
}

static bool is_address(const ZydisDecodedOperand *operand, int base, int32_t displacement) {
    return operand->type == ZYDIS_OPERAND_TYPE_MEMORY && (int)operand->mem.base == ZYDIS_REGISTER_RAX + base &&
           operand->mem.index == ZYDIS_REGISTER_NONE && operand->mem.disp.value == displacement;
}

/* Bytes that the shortest form of [base + displacement] takes after ModRM. */
static int address_bytes(int base, int32_t displacement, int scale) {
    int sib = (base & 7) == DEFT_RSP;
    if (displacement == 0 && (base & 7) != DEFT_RBP) return sib;
    bool fits = displacement % scale == 0 && displacement / scale >= -128 && displacement / scale <= 127;
    return sib + (fits ? 1 : 4);
}

/* Whether `bytes` say exactly this instruction, in its shortest form. */
static bool vector_matches(const fixture *f, const uint8_t *bytes, size_t count, int op, deft_vector_width width,
                           int dst, int src, deft_operand operand) {
    const vector_case *form = &vector_cases[op];
    decoded d;
    if (!decode(f, bytes, count, &d)) return false;
    if (strcmp(ZydisMnemonicGetString(d.instruction.mnemonic), form->mnemonic) != 0) return false;
    const ZydisDecodedOperand *visible[3];
    int found = 0;
    for (int i = 0; i < d.instruction.operand_count_visible; i++) /* without the mask register of EVEX */
        if (d.operands[i].encoding != ZYDIS_OPERAND_ENCODING_MASK) {
            if (found == 3) return false;
            visible[found++] = &d.operands[i];
        } else if (d.operands[i].reg.value != ZYDIS_REGISTER_K0) {
            return false;
        }
    if (found != (form->three ? 3 : 2)) return false;
    const ZydisDecodedOperand *last = visible[form->store ? 0 : found - 1];
    if (!is_register(visible[form->store ? 1 : 0], vector_register(width, dst))) return false;
    if (form->three && !is_register(visible[1], vector_register(width, src))) return false;
    bool evex = d.instruction.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX;
    bool must = width == DEFT_ZMM || operand.kind == DEFT_BROADCAST || dst > 15 || operand.reg > 15 ||
                (form->three && src > 15);
    if (evex != must) return false;
    if (operand.kind == DEFT_IN_REGISTER)
        return is_register(last,
                           vector_register(strcmp(form->mnemonic, "vbroadcastss") ? width : DEFT_XMM, operand.reg));
    if (!is_address(last, operand.reg, operand.displacement)) return false;
    bool broadcast = operand.kind == DEFT_BROADCAST;
    int memory_bytes = broadcast ? 4 : form->memory_bytes ? form->memory_bytes : 16 << width;
    if (last->size != (broadcast ? 32 : memory_bytes * 8)) return false;
    if (d.instruction.avx.broadcast.mode != ZYDIS_BROADCAST_MODE_INVALID &&
        broadcast != !d.instruction.avx.broadcast.is_static)
        return false;
    if (evex && broadcast != (d.instruction.raw.evex.b != 0)) return false;
    int tail = 1 + 1 + address_bytes(operand.reg, operand.displacement, evex ? memory_bytes : 1);
    return count <= (size_t)((evex ? 4 : 3) + tail);
}

static void check_vector(fixture *f, int op, deft_vector_width width, int dst, int src, deft_operand operand) {
    f->emitter.count = 0;
    deft_emit_vector(&f->emitter, (deft_vector_op)op, width, dst, src, operand);
    if (!vector_matches(f, f->emitter.bytes, f->emitter.count, op, width, dst, src, operand))
        fail_msg("%s width %d dst %d src %d kind %d reg %d displacement %" PRId32, vector_cases[op].mnemonic,
                 (int)width, dst, src, (int)operand.kind, operand.reg, operand.displacement);
}

static void test_vector_registers(void **state) {
    (void)state;
    fixture f;
    fixture_init(&f);
    for (int op = 0; op < DEFT_VECTOR_OP_COUNT; op++)
        for (int width = DEFT_XMM; width <= DEFT_ZMM; width++)
            for (int dst = 0; dst < 32; dst++)
                for (int src = 0; src < (vector_cases[op].three ? 32 : 1); src++)
                    for (int rm = 0; rm < 32; rm++)
                        check_vector(&f, op, (deft_vector_width)width, dst, src, deft_in_register(rm));
    fixture_done(&f);
}

static void test_vector_memory(void **state) {
    (void)state;
    static const int sources[] = {0, 7, 8, 15, 16, 31};
    fixture f;
    fixture_init(&f);
    for (int op = 0; op < DEFT_VECTOR_OP_COUNT; op++)
        for (int width = DEFT_XMM; width <= DEFT_ZMM; width++)
            for (int dst = 0; dst < 32; dst++)
                for (int s = 0; s < (vector_cases[op].three ? COUNT(sources) : 1); s++)
                    for (int base = 0; base < 16; base++)
                        for (int i = 0; i < COUNT(displacements); i++) {
                            deft_gpr reg = (deft_gpr)base;
                            check_vector(&f, op, (deft_vector_width)width, dst, sources[s],
                                         deft_in_memory(reg, displacements[i]));
                            if (vector_cases[op].three)
                                check_vector(&f, op, (deft_vector_width)width, dst, sources[s],
                                             deft_broadcast_of(reg, displacements[i]));
                        }
    fixture_done(&f);
}

/* The operand that a mask register is, 0 for none. */
static int mask_of(const decoded *d) {
    for (int i = 0; i < d->instruction.operand_count_visible; i++)
        if (d->operands[i].encoding == ZYDIS_OPERAND_ENCODING_MASK)
            return (int)d->operands[i].reg.value - ZYDIS_REGISTER_K0;
    return 0;
}

static void test_masked(void **state) {
    (void)state;
    fixture f;
    fixture_init(&f);
    deft_emitter *e = &f.emitter;
    decoded d;
    for (int mask = 1; mask < 8; mask++)
        for (int reg = 0; reg < 32; reg++) {
            for (int other = 0; other < 32; other++) {
                e->count = 0;
                deft_emit_compress(e, mask, other, reg);
                assert_true(decode(&f, e->bytes, e->count, &d));
                assert_int_equal(d.instruction.mnemonic, ZYDIS_MNEMONIC_VCOMPRESSPS);
                assert_true(is_register(&d.operands[0], vector_register(DEFT_ZMM, other)));
                assert_true(is_register(&d.operands[2], vector_register(DEFT_ZMM, reg)));
                assert_int_equal(mask_of(&d), mask);
                assert_int_equal(d.instruction.avx.mask.mode, ZYDIS_MASK_MODE_ZEROING);
            }
            for (int base = 0; base < 16; base++)
                for (int i = 0; i < COUNT(displacements); i++) {
                    e->count = 0;
                    deft_emit_masked_store(e, mask, reg, (deft_gpr)base, displacements[i]);
                    assert_true(decode(&f, e->bytes, e->count, &d));
                    assert_int_equal(d.instruction.mnemonic, ZYDIS_MNEMONIC_VMOVUPS);
                    assert_true(is_address(&d.operands[0], base, displacements[i]));
                    assert_true(is_register(&d.operands[2], vector_register(DEFT_ZMM, reg)));
                    assert_int_equal(mask_of(&d), mask);
                    assert_int_equal(d.instruction.avx.mask.mode, ZYDIS_MASK_MODE_MERGING);
                    assert_int_equal(e->count, 6 + address_bytes(base, displacements[i], 64));
                    e->count = 0;
                    deft_emit_masked_load(e, mask, reg, (deft_gpr)base, displacements[i]);
                    assert_true(decode(&f, e->bytes, e->count, &d));
                    assert_int_equal(d.instruction.mnemonic, ZYDIS_MNEMONIC_VMOVUPS);
                    assert_true(is_register(&d.operands[0], vector_register(DEFT_ZMM, reg)));
                    assert_true(is_address(&d.operands[2], base, displacements[i]));
                    assert_int_equal(mask_of(&d), mask);
                    assert_int_equal(d.instruction.avx.mask.mode, ZYDIS_MASK_MODE_ZEROING);
                }
        }
    for (int mask = 0; mask < 8; mask++)
        for (int base = 0; base < 16; base++)
            for (int i = 0; i < COUNT(displacements); i++) {
                e->count = 0;
                deft_emit_load_mask(e, mask, (deft_gpr)base, displacements[i]);
                assert_true(decode(&f, e->bytes, e->count, &d));
                assert_int_equal(d.instruction.mnemonic, ZYDIS_MNEMONIC_KMOVW);
                assert_true(is_register(&d.operands[0], (ZydisRegister)(ZYDIS_REGISTER_K0 + mask)));
                assert_true(is_address(&d.operands[1], base, displacements[i]));
                assert_int_equal(d.operands[1].size, 16);
            }
    fixture_done(&f);
}

/* The checker must see a wrong instruction: any flipped bit of a right one that means something. */
static void test_planted_errors_are_seen(void **state) {
    (void)state;
    fixture f;
    fixture_init(&f);
    const deft_operand operand = deft_broadcast_of(DEFT_R9, 508);
    deft_emit_vector(&f.emitter, DEFT_VFMADD231PS, DEFT_ZMM, 17, 30, operand);
    assert_int_equal(f.emitter.count, 7);
    for (size_t bit = 0; bit < 8 * f.emitter.count; bit++) {
        uint8_t wrong[7];
        memcpy(wrong, f.emitter.bytes, sizeof wrong);
        wrong[bit / 8] ^= (uint8_t)(1 << bit % 8);
        bool ignored = bit == 14; /* X extends an index register, of which there is none */
        assert_int_equal(ignored, vector_matches(&f, wrong, sizeof wrong, DEFT_VFMADD231PS, DEFT_ZMM, 17, 30, operand));
    }
    fixture_done(&f);
}

static void check_general(fixture *f, const char *mnemonic, int first, int second) {
    decoded d;
    assert_true(decode(f, f->emitter.bytes, f->emitter.count, &d));
    assert_string_equal(ZydisMnemonicGetString(d.instruction.mnemonic), mnemonic);
    if (first >= 0) assert_true(is_register(&d.operands[0], (ZydisRegister)(ZYDIS_REGISTER_RAX + first)));
    if (second >= 0) assert_true(is_register(&d.operands[1], (ZydisRegister)(ZYDIS_REGISTER_RAX + second)));
}

static void check_general_memory(fixture *f, const char *mnemonic, int index, int base, int32_t displacement) {
    decoded d;
    assert_true(decode(f, f->emitter.bytes, f->emitter.count, &d));
    assert_string_equal(ZydisMnemonicGetString(d.instruction.mnemonic), mnemonic);
    assert_true(is_address(&d.operands[index], base, displacement));
    assert_true(f->emitter.count <= (size_t)(4 + address_bytes(base, displacement, 1)));
}

static void test_general_registers(void **state) {
    (void)state;
    fixture f;
    fixture_init(&f);
    deft_emitter *e = &f.emitter;
    for (int a = 0; a < 16; a++) {
        for (int b = 0; b < 16; b++) {
            for (int op = 0; op < DEFT_GENERAL_OP_COUNT; op++) {
                e->count = 0;
                deft_emit_general(e, (deft_general_op)op, (deft_gpr)a, (deft_gpr)b);
                check_general(&f, general_names[op], a, b);
            }
            e->count = 0;
            deft_emit_move(e, (deft_gpr)a, (deft_gpr)b);
            check_general(&f, "mov", a, b);
        }
        for (int op = 0; op < DEFT_GENERAL_OP_COUNT; op++)
            for (int i = 0; i < COUNT(displacements); i++) {
                e->count = 0;
                deft_emit_general_constant(e, (deft_general_op)op, (deft_gpr)a, displacements[i]);
                check_general(&f, general_names[op], a, -1);
                decoded d;
                assert_true(decode(&f, e->bytes, e->count, &d));
                assert_true(d.operands[1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE);
                assert_int_equal(d.operands[1].imm.value.s, displacements[i]);
            }
        e->count = 0;
        deft_emit_push(e, (deft_gpr)a);
        check_general(&f, "push", a, -1);
        e->count = 0;
        deft_emit_pop(e, (deft_gpr)a);
        check_general(&f, "pop", a, -1);
    }
    e->count = 0;
    deft_emit_ret(e);
    check_general(&f, "ret", -1, -1);
    e->count = 0;
    deft_emit_vzeroupper(e);
    check_general(&f, "vzeroupper", -1, -1);
    e->count = 0;
    deft_emit_jump_on(e);
    decoded d;
    assert_true(decode(&f, e->bytes, e->count, &d));
    assert_string_equal(ZydisMnemonicGetString(d.instruction.mnemonic), "jmp");
    assert_int_equal(d.operands[0].imm.value.s, 0);
    fixture_done(&f);
}

static void test_general_memory(void **state) {
    (void)state;
    fixture f;
    fixture_init(&f);
    deft_emitter *e = &f.emitter;
    for (int base = 0; base < 16; base++)
        for (int i = 0; i < COUNT(displacements); i++) {
            int32_t displacement = displacements[i];
            for (int reg = 0; reg < 16; reg++) {
                e->count = 0;
                deft_emit_load(e, (deft_gpr)reg, (deft_gpr)base, displacement);
                check_general_memory(&f, "mov", 1, base, displacement);
                check_general(&f, "mov", reg, -1);
                e->count = 0;
                deft_emit_add_memory(e, (deft_gpr)reg, (deft_gpr)base, displacement);
                check_general_memory(&f, "add", 1, base, displacement);
                check_general(&f, "add", reg, -1);
                e->count = 0;
                deft_emit_store(e, (deft_gpr)reg, (deft_gpr)base, displacement);
                check_general_memory(&f, "mov", 0, base, displacement);
                check_general(&f, "mov", -1, reg);
                e->count = 0;
                deft_emit_lea(e, (deft_gpr)reg, (deft_gpr)base, displacement);
                check_general_memory(&f, "lea", 1, base, displacement);
                check_general(&f, "lea", reg, -1);
            }
            e->count = 0;
            deft_emit_prefetch(e, (deft_gpr)base, displacement);
            check_general_memory(&f, "prefetcht0", 0, base, displacement);
        }
    fixture_done(&f);
}

static void test_jumps(void **state) {
    (void)state;
    fixture f;
    fixture_init(&f);
    for (int op = 0; op < DEFT_JUMP_OP_COUNT; op++)
        for (size_t before = 0; before < 300; before += 7) {
            f.emitter.count = 0;
            for (size_t i = 0; i < before; i++)
                deft_emit_ret(&f.emitter);
            deft_emit_jump(&f.emitter, (deft_jump_op)op, before / 2);
            decoded d;
            assert_true(decode(&f, f.emitter.bytes + before, f.emitter.count - before, &d));
            assert_string_equal(ZydisMnemonicGetString(d.instruction.mnemonic), jump_names[op]);
            ZyanU64 target;
            assert_true(ZYAN_SUCCESS(ZydisCalcAbsoluteAddress(&d.instruction, &d.operands[0], before, &target)));
            assert_int_equal(target, before / 2);
        }
    fixture_done(&f);
}

static deft_status emit_much(deft_context *ctx, void *user) {
    deft_emitter emitter;
    deft_emitter_init(&emitter, ctx);
    for (int i = 0; i < 10000; i++)
        deft_emit_lea(&emitter, DEFT_RAX, DEFT_RDI, i);
    deft_status status = emitter.status;
    *(size_t *)user = emitter.count;
    deft_emitter_done(&emitter);
    return status;
}

static void test_emitter_without_memory(void **state) {
    (void)state;
    size_t count = 0;
    check_every_allocation_failure(emit_much, &count);
    assert_true(count > 40000);
}

static bool mapping_has(const void *address, const char *permissions) {
    FILE *maps = fopen("/proc/self/maps", "r");
    assert_non_null(maps);
    char line[512];
    bool found = false;
    while (fgets(line, sizeof line, maps)) {
        uintptr_t begin, end;
        char text[5];
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s", &begin, &end, text) != 3) continue;
        if ((uintptr_t)address >= begin && (uintptr_t)address < end) found = strcmp(text, permissions) == 0;
    }
    fclose(maps);
    return found;
}

/* sum of 1..n, with a value kept on the stack meanwhile */
static void test_code_runs_and_is_not_writable(void **state) {
    (void)state;
    fixture f;
    fixture_init(&f);
    assert_true(deft_code_allowed());
    deft_emitter *e = &f.emitter;
    deft_emit_push(e, DEFT_RBX);
    deft_emit_move(e, DEFT_RBX, DEFT_RDI);
    deft_emit_general(e, DEFT_SUB, DEFT_RAX, DEFT_RAX);
    size_t top = e->count;
    deft_emit_general(e, DEFT_ADD, DEFT_RAX, DEFT_RBX);
    deft_emit_jump_on(e);
    deft_emit_general_constant(e, DEFT_SUB, DEFT_RBX, 1);
    deft_emit_jump(e, DEFT_JNZ, top);
    deft_emit_pop(e, DEFT_RBX);
    deft_emit_ret(e);
    deft_emit_align(e, 64);
    assert_int_equal(e->count % 64, 0);
    deft_code code = {0};
    assert_int_equal(deft_code_new(f.ctx, e->bytes, e->count, &code), DEFT_OK);
    assert_true(mapping_has(code.memory, "r-xp"));
    int64_t (*sum)(int64_t);
    memcpy(&sum, &code.memory, sizeof sum);
    assert_int_equal(sum(100), 5050);
    deft_code_done(&code);
    assert_null(code.memory);
    deft_code_done(&code);
    assert_int_equal(deft_code_new(f.ctx, e->bytes, 0, &code), DEFT_BUG);
    fixture_done(&f);
}

/* In a process that may not gain executable memory; Linux 6.3 and later can say so. */
static int try_where_refused(void) {
    enum { SET_MEMORY_DENY_WRITE_EXECUTE = 65, REFUSE_EXECUTE_GAIN = 1, CANNOT_ASK = 2 };
    if (prctl(SET_MEMORY_DENY_WRITE_EXECUTE, REFUSE_EXECUTE_GAIN, 0, 0, 0) != 0) return CANNOT_ASK;
    if (deft_code_allowed()) return 1;
    deft_context *ctx = NULL;
    if (deft_context_new(&(deft_context_options){.cache_directory = ""}, &ctx) != DEFT_OK) return 1;
    deft_code code = {0};
    const uint8_t ret = 0xC3;
    bool right = deft_code_new(ctx, &ret, 1, &code) == DEFT_DEVICE && !code.memory &&
                 strstr(deft_context_message(ctx), "refuses executable memory");
    deft_context_free(ctx);
    return right ? 0 : 1;
}

static void test_refused_memory(void **state) {
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) _exit(try_where_refused());
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 2) {
        print_message("skip: this kernel cannot refuse executable memory\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vector_registers),
        cmocka_unit_test(test_vector_memory),
        cmocka_unit_test(test_masked),
        cmocka_unit_test(test_planted_errors_are_seen),
        cmocka_unit_test(test_general_registers),
        cmocka_unit_test(test_general_memory),
        cmocka_unit_test(test_jumps),
        cmocka_unit_test(test_emitter_without_memory),
        cmocka_unit_test(test_code_runs_and_is_not_writable),
        cmocka_unit_test(test_refused_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
