# Deft. `make demo` and `make check` install what is missing (tools/install-deps), build and run; `make help` lists the rest.
MODE ?= release
BUILD := build/$(MODE)
CC ?= gcc
PREFIX ?= /usr/local
VERSION := $(shell sed -n 's/^\#define DEFT_VERSION "\(.*\)"/\1/p' include/deft/deft.h)
SONAME := libdeft.so.$(firstword $(subst ., ,$(VERSION)))
ONNX_PROTO ?= /usr/include/onnx/onnx.proto

PACKAGES := libprotobuf-c libzip zlib jansson libpng libturbojpeg
CFLAGS_release := -O2 -g -DNDEBUG
CFLAGS_debug := -O0 -g3
CFLAGS_asan := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
CFLAGS_fuzz := $(CFLAGS_asan) -fsanitize=fuzzer-no-link
ifeq ($(filter $(MODE),release debug asan fuzz),)
$(error MODE is release, debug, asan or fuzz, not '$(MODE)')
endif

CPPFLAGS += -Iinclude -Isrc -I. -I$(BUILD)/gen -D_GNU_SOURCE $(shell pkg-config --cflags $(PACKAGES) 2>/dev/null)
CFLAGS += -std=c17 $(CFLAGS_$(MODE)) -march=x86-64-v2 -fopenmp -fPIC -fvisibility=hidden -ffp-contract=off -fno-math-errno \
  -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wno-unknown-pragmas -Wno-pass-failed $(WERROR)
LDLIBS += $(shell pkg-config --libs $(PACKAGES) 2>/dev/null) -ldnnl -lm
LDFLAGS += $(CFLAGS_$(MODE)) -fopenmp

# Files that use more than the baseline say so in their name; they are entered only after a check of the CPU. They are
# kernels, whose products and sums are to be fused.
%_avx512.o: CFLAGS += -mavx512f -mavx512vl -mavx512bw -mavx512dq -mfma -ffp-contract=fast -mprefer-vector-width=512
%_avx2.o: CFLAGS += -mavx2 -mfma -ffp-contract=fast
# Loops that are to become vector code.
$(BUILD)/obj/src/codegen/kernel/vector_loops_%.o: CFLAGS += -O3

SOURCES := $(sort $(shell find src -name '*.c'))
LIB_SOURCES := $(filter-out src/face/cli/%,$(SOURCES))
CLI_SOURCES := $(filter src/face/cli/%,$(SOURCES))
TESTS := $(sort $(shell find tests -name 'test_*.c'))
TEST_SCRIPTS := $(sort $(shell find tests -name 'test_*.py' -o -name 'test_*.sh'))
FUZZERS := $(sort $(wildcard tests/fuzz/fuzz_*.c))
REPLAYS := $(patsubst tests/fuzz/fuzz_%.c,$(BUILD)/tests/fuzz/replay_%,$(FUZZERS))
object = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
LIB_OBJECTS := $(call object,$(LIB_SOURCES)) $(BUILD)/obj/onnx.pb-c.o
CLI_OBJECTS := $(call object,$(CLI_SOURCES))
TEST_PROGRAMS := $(patsubst tests/%.c,$(BUILD)/tests/%,$(TESTS))

.PHONY: all help deps check check-includes check-models demo bench accept reproduce reproduce-cifar install clean format tests fuzzers
.SECONDARY:
all: $(BUILD)/libdeft.a $(BUILD)/$(SONAME) $(if $(filter release,$(MODE)),build/deft,$(BUILD)/deft)

help:
	@echo "make            build build/deft and libdeft (MODE=release|debug|asan|fuzz)"
	@echo "make demo       train, optimise and measure on the built-in digits; DATA=mnist for MNIST"
	@echo "make check      build and run every test; the last line is 'N passed, N failed'"
	@echo "make bench      measure, and write docs/BENCHMARKS.md, in about 20 minutes (BENCH_FLAGS=--full for LeNet-5 too)"
	@echo "make check-models  models that their makers trained, from PyPI, against ONNX Runtime"
	@echo "make accept     what takes long: the bars on MNIST, long fuzzing, 100,000 hostile models"
	@echo "make reproduce  the figures of the papers beside ours (needs MNIST)"
	@echo "make reproduce-cifar  CifarNet and ResNet-20, trained and pruned; hours (CIFAR10=DIR, in its binary version)"
	@echo "make install    to PREFIX (default /usr/local) under DESTDIR"
	@echo "make format     clang-format over the sources"
	@echo "make clean"

deps:
	@tools/install-deps

$(BUILD)/gen/onnx.pb-c.c: $(ONNX_PROTO)
	@mkdir -p $(@D)
	protoc-c --c_out=$(@D) --proto_path=$(dir $<) $<
$(BUILD)/gen/onnx.pb-c.h: $(BUILD)/gen/onnx.pb-c.c
$(BUILD)/obj/onnx.pb-c.o: $(BUILD)/gen/onnx.pb-c.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -w -c $< -o $@
$(filter $(BUILD)/obj/src/ir/model/%.o,$(LIB_OBJECTS)) $(call object,tests/unit/test_onnx.c $(wildcard tests/fuzz/*.c)): | $(BUILD)/gen/onnx.pb-c.h

$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/libdeft.a: $(LIB_OBJECTS)
	@rm -f $@
	$(AR) rcs $@ $^
$(BUILD)/$(SONAME): $(LIB_OBJECTS)
	$(CC) -shared -Wl,-soname,$(SONAME) -Wl,--no-undefined $(LDFLAGS) $^ -o $@ $(LDLIBS)
$(BUILD)/deft: $(CLI_OBJECTS) $(BUILD)/libdeft.a
	$(CC) $(LDFLAGS) $^ -o $@ $(LDLIBS)
build/deft: build/release/deft
	@ln -sf release/deft $@
ifneq ($(MODE),release)
build/release/deft:
	$(MAKE) MODE=release build/release/deft
endif

MUTATION := $(BUILD)/obj/tests/fuzz/mutate.o
HOSTILE := $(call object,tests/fuzz/hostile_make.c tests/fuzz/hostile_use.c)
$(BUILD)/tests/fuzz/test_hostile: $(HOSTILE) $(MUTATION)
$(BUILD)/tests/%: $(BUILD)/obj/tests/%.o $(BUILD)/libdeft.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) $(filter %.o,$^) $(filter %.a,$^) -o $@ $(LDLIBS) -lcmocka -lZydis
tests: $(TEST_PROGRAMS) $(REPLAYS)

# A fuzz target, with libFuzzer (MODE=fuzz CC=clang) and, for `make check`, with a main that replays its corpus.
$(BUILD)/fuzz/%: $(BUILD)/obj/tests/fuzz/%.o $(MUTATION) $(BUILD)/libdeft.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -fsanitize=fuzzer $^ -o $@ $(LDLIBS)
$(BUILD)/tests/fuzz/replay_%: $(BUILD)/obj/tests/fuzz/fuzz_%.o $(BUILD)/obj/tests/fuzz/replay.o $(MUTATION) $(BUILD)/libdeft.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) $^ -o $@ $(LDLIBS)
fuzzers: $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(FUZZERS))

check-includes:
	@tools/check-includes src

# Builds in a second make, so that what `deps` installs is seen.
check: deps
	@$(MAKE) --no-print-directory check-includes
	@$(MAKE) -s --no-print-directory -j$$(nproc) all tests
	@tools/venv >/dev/null || true
	@tools/run-tests --build $(BUILD) $(TEST_PROGRAMS) $(REPLAYS) $(TEST_SCRIPTS)

DATA ?= digits
demo: deps
	@$(MAKE) -s --no-print-directory -j$$(nproc) build/deft
	@tools/demo $(DATA)

bench: deps
	@$(MAKE) -s --no-print-directory -j$$(nproc) build/deft
	@tools/bench $(BENCH_FLAGS)

# What takes long: the bars of the main job, ten minutes of fuzzing a target, 100,000 mutated models. ACCEPT_FLAGS="--fuzz 60 --only demo"
accept:
	@tools/install-deps ci
	@$(MAKE) -s --no-print-directory -j$$(nproc) build/deft
	@tools/accept $(ACCEPT_FLAGS)

# Real models beside ONNX Runtime. CHECK_MODELS_FLAGS="--threads 1 silero"
check-models: deps
	@$(MAKE) -s --no-print-directory -j$$(nproc) build/deft
	@tools/check-models $(CHECK_MODELS_FLAGS)

# The seeds' figures beside ours: a script for each figure or table in bench/reproduce.
MNIST ?= $(or $(DEFT_DATA),../shared/data)/mnist
reproduce: deps
	@$(MAKE) -s --no-print-directory -j$$(nproc) build/deft
	@bench/reproduce/lenet_pruning.py $(MNIST)
	@bench/reproduce/lenet_lottery.py $(MNIST)
	@bench/reproduce/calibrated_pruning.py $(MNIST)

# Hours: CifarNet and ResNet-20, three seeds and one. CIFAR-10 in its binary version; called again, it goes on.
CIFAR10 ?= $(or $(DEFT_DATA),../shared/data)/cifar10-bin
reproduce-cifar: deps
	@$(MAKE) -s --no-print-directory -j$$(nproc) build/deft
	@bench/reproduce/cifar_pruning.py $(CIFAR10)

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/pkgconfig $(DESTDIR)$(PREFIX)/include/deft \
	  $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 755 $(BUILD)/deft $(DESTDIR)$(PREFIX)/bin/deft
	install -m 644 include/deft/deft.h $(DESTDIR)$(PREFIX)/include/deft/deft.h
	install -m 755 $(BUILD)/$(SONAME) $(DESTDIR)$(PREFIX)/lib/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(PREFIX)/lib/libdeft.so
	install -m 644 docs/deft.1 $(DESTDIR)$(PREFIX)/share/man/man1/deft.1
	sed -e 's,@PREFIX@,$(PREFIX),' -e 's,@VERSION@,$(VERSION),' tools/deft.pc.in > $(DESTDIR)$(PREFIX)/lib/pkgconfig/deft.pc

format:
	clang-format -i $$(git ls-files '*.c' '*.h')

clean:
	rm -rf build

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)
