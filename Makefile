# Developers' entry points; users need only the README's two commands.
O ?= build/obj
CC ?= gcc
PYTHON ?= python3
SRCS := $(sort $(shell find csrc -name '*.c'))
OBJS := $(SRCS:%.c=$(O)/%.o)
INCS := -Icsrc/include $(addprefix -I,$(sort $(dir $(SRCS))))
WARN := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes \
	-Wmissing-prototypes -Wvla -Wno-unused-parameter
CFLAGS ?= -O2 -g
ALLCFLAGS = -std=c11 -D_GNU_SOURCE -fPIC -fvisibility=hidden -pthread \
	$(WARN) $(INCS) $(CFLAGS)
GUESTS := $(patsubst tests/guests/%.S,$(O)/guests/%.elf,\
	$(wildcard tests/guests/*.S)) \
	$(patsubst tests/guests/%.c,$(O)/guests/%.elf,\
	$(wildcard tests/guests/*.c))
GUESTFLAGS = -m32 -std=c11 -O2 -g -ffreestanding -fno-pic -fno-stack-protector \
	-fno-asynchronous-unwind-tables -mgeneral-regs-only -Wall -Wextra -Werror

# The machine without its processor: what plays the hostile guest (rows), and
# the fuzz targets, which libFuzzer drives (fuzz) or files do (replay).
CLANG ?= $(firstword $(shell which clang clang-14 clang-15 clang-16 2>/dev/null))
FUZZ_TIME ?= 60
SAN := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all \
	-fno-omit-frame-pointer
# Optimised as they are, some warnings of other builds mean nothing.
LOOSE := -Werror=incompatible-pointer-types
MACHINE := $(filter-out %/bhyverun.o,$(OBJS))
UNPROCESSED := $(filter-out $(O)/csrc/vmm/soft/% $(O)/csrc/vmm/kvm/%,\
	$(MACHINE)) $(O)/tests/core/vmm_null.o
FUZZ := $(patsubst %.c,$(O)/%.o,$(filter-out %/replay.c,\
	$(wildcard tests/fuzz/*.c)))
ROWS := $(patsubst %.c,$(O)/%.o,$(wildcard tests/hostile/*.c)) \
	$(O)/tests/fuzz/machine.o $(O)/tests/fuzz/wire.o
LINK = $(CC) $(CFLAGS) -pthread -Wl,-z,start-stop-visibility=hidden \
	-Wl,--wrap=vm_map_gpa -o $@ $^ -lm -lz

.PHONY: core guests dev check format lint types test slow bench asan fuzz \
	corpus fuzz-program clean
core: $(O)/libcore.a

$(O)/libcore.a: $(OBJS)
	@rm -f $@ && ar rcs $@ $(OBJS)

$(O)/%.o: %.c
	@mkdir -p $(dir $@)
	$(CC) $(ALLCFLAGS) -MMD -MP -c -o $@ $<

$(O)/tests/%.o: INCS += -Itests/fuzz -Itests/hostile

$(O)/rows: $(ROWS) $(UNPROCESSED)
	$(LINK)

$(O)/replay: $(FUZZ) $(O)/tests/fuzz/replay.o $(MACHINE)
	$(LINK)

$(O)/fuzz: $(FUZZ) $(MACHINE)
	$(LINK) -fsanitize=fuzzer

# Every target for FUZZ_TIME seconds (of one: FUZZ_TARGET=nvme); what it
# learns is kept in build/corpus, a finding stays beside it as crash-*.
fuzz: fuzz-program
	@for t in $${FUZZ_TARGET:-$$(FUZZ_TARGET=list build/fuzz/fuzz)}; do \
	    echo "== $$t"; \
	    $(PYTHON) tests/fuzz/corpus.py unpack tests/fuzz/corpus/$$t.pack \
		build/corpus/$$t && \
	    FUZZ_TARGET=$$t build/fuzz/fuzz $(CURDIR)/build/corpus/$$t \
		-artifact_prefix=$(CURDIR)/build/corpus/ \
		-max_len=4096 -len_control=10 \
		-max_total_time=$(FUZZ_TIME) -timeout=100 -rss_limit_mb=3000 \
		-malloc_limit_mb=300 -detect_leaks=0 -verbosity=0 \
		-close_fd_mask=2 -print_final_stats=1 || exit 1; \
	    FUZZ_TARGET=$$t build/fuzz/fuzz $(CURDIR)/build/corpus/$$t \
		-max_len=4096 -runs=0 -detect_leaks=0 -close_fd_mask=2 2>&1 | \
		grep -a INITED; \
	done

# What the repository keeps of build/corpus: inputs that differ, a small pack
# of them for each target.
corpus: fuzz-program
	@for t in $${FUZZ_TARGET:-$$(FUZZ_TARGET=list build/fuzz/fuzz)}; do \
	    rm -rf build/corpus/merged && mkdir -p build/corpus/merged && \
	    FUZZ_TARGET=$$t $(CURDIR)/build/fuzz/fuzz -merge=1 \
		-max_len=1024 -detect_leaks=0 -verbosity=0 \
		-close_fd_mask=2 $(CURDIR)/build/corpus/merged \
		$(CURDIR)/build/corpus/$$t && \
	    $(PYTHON) tests/fuzz/corpus.py pack build/corpus/merged \
		tests/fuzz/corpus/$$t.pack || exit 1; \
	done

fuzz-program:
	@test -n "$(CLANG)" || { echo "make fuzz needs clang and its" \
	    "compiler-rt (apt install clang-14 libclang-rt-14-dev)"; exit 1; }
	$(MAKE) -s -j$$(nproc) O=build/fuzz CC="$(CLANG)" WARN=$(LOOSE) \
	    CFLAGS="$(SAN) -fsanitize=fuzzer-no-link" build/fuzz/fuzz

# Guests are 32-bit multiboot images; those that go on to 64-bit mode switch
# by themselves.
guests: $(GUESTS)

$(O)/guests/%.elf: tests/guests/%.S tests/guests/guest.ld $(wildcard tests/guests/*.inc)
	@mkdir -p $(dir $@)
	$(CC) -m32 -c -g -Itests/guests -o $(@:.elf=.o) $<
	ld -m elf_i386 -nostdlib --no-warn-rwx-segments -T tests/guests/guest.ld -o $@ $(@:.elf=.o)

$(O)/guests/%.elf: tests/guests/%.c tests/guests/guest.ld $(wildcard tests/guests/*.h)
	@mkdir -p $(dir $@)
	$(CC) $(GUESTFLAGS) -Itests/guests -c -o $(@:.elf=.o) $<
	ld -m elf_i386 -nostdlib --no-warn-rwx-segments -T tests/guests/guest.ld -o $@ $(@:.elf=.o)

# An editable install in the running interpreter's environment, as .ci/setup
# makes it: without an import hook, which would cost start-up time.
dev:
	$(PYTHON) -m pip install -q --no-build-isolation \
	    --config-settings editable_mode=compat -e '.[test,dev]'

# All that must hold before a commit.
check: lint types core dev test

C_FILES = $(shell git ls-files '*.c' '*.h')

format:
	ruff format .
	clang-format -i $(C_FILES)

lint:
	ruff check .
	ruff format --check .
	clang-format --dry-run -Werror $(C_FILES)

types:
	mypy

test:
	$(PYTHON) -m pytest -q

slow:
	$(PYTHON) -m pytest -q -m 'slow and not hours'

bench: guests
	$(PYTHON) tests/bench/bench.py
	$(PYTHON) tests/bench/engine.py -n 3 -o engine-results.json

# The quick tests (or ASAN_TESTS) with AddressSanitizer and UBSan inside the
# extension.  They run in a copy of the tree below build/asan, so that the
# installed extension stays what it is.  It needs what the tests need, gcc's
# libasan and libubsan, about 4 GB of memory and several times their time.
# tests/cpu is left out: its programs are compared with the host's processor
# and have nothing of the extension.
ASAN_O := build/san-address-undefined
ASAN_TESTS ?= -m 'not slow' --ignore=tests/cpu
asan:
	$(MAKE) -s -j$$(nproc) O=$(ASAN_O) WARN=$(LOOSE) CFLAGS="$(SAN)" \
	    $(ASAN_O)/_vmm.abi3.so
	rm -rf build/asan
	mkdir -p build/asan/build build/guest
	git ls-files -co --exclude-standard -z | \
	    xargs -0 cp -p --parents -t build/asan
	cp $(ASAN_O)/_vmm.abi3.so build/asan/libvmmapi/
	ln -s $(CURDIR)/build/guest build/asan/build/
	cp -a $(ASAN_O) build/asan/build/
	cd build/asan && PYTHONPATH=$(CURDIR)/build/asan PYTHONMALLOC=malloc \
	    LD_PRELOAD=$$($(CC) -print-file-name=libasan.so) \
	    ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 \
	    UBSAN_OPTIONS=print_stacktrace=1 \
	    $(PYTHON) -m pytest -q $(ASAN_TESTS)

# The extension from objects of a kind, beside them.
$(O)/_vmm.abi3.so: $(OBJS) $(wildcard csrc/cdef/*.h csrc/cffi/*.py)
	$(PYTHON) -c 'import sys; sys.path.insert(0, "csrc/cffi"); \
	    from ffi_build import build; build().emit_c_code("$(O)/_vmm.c")'
	$(CC) -O1 -fPIC -D_GNU_SOURCE -DPy_LIMITED_API -w $(CFLAGS) $(INCS) \
	    -I$$($(PYTHON) -c 'import sysconfig as s; print(s.get_path("include"))') \
	    -c -o $(O)/_vmm.o $(O)/_vmm.c
	$(CC) -shared -pthread $(CFLAGS) -Wl,-z,start-stop-visibility=hidden \
	    -o $@ $(O)/_vmm.o $(OBJS) -lm -lz

clean:
	rm -rf build libvmmapi/_vmm*.so

-include $(patsubst %.o,%.d,$(OBJS) $(FUZZ) $(ROWS) $(O)/tests/fuzz/replay.o \
	$(O)/tests/core/vmm_null.o)
