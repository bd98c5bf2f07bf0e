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

.PHONY: core guests dev check format lint types test slow bench asan clean
core: $(O)/libcore.a

$(O)/libcore.a: $(OBJS)
	@rm -f $@ && ar rcs $@ $(OBJS)

$(O)/%.o: %.c
	@mkdir -p $(dir $@)
	$(CC) $(ALLCFLAGS) -MMD -MP -c -o $@ $<

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

# An editable install in the running interpreter's environment.
dev:
	$(PYTHON) -m pip install -q --no-build-isolation -e '.[test,dev]'

# All that must hold before a commit.
check: lint types core dev test

format:
	ruff format .
	clang-format -i $(shell git ls-files 'csrc/*.c' 'csrc/*.h')

lint:
	ruff check .
	ruff format --check .

types:
	mypy

test:
	$(PYTHON) -m pytest -q

slow:
	$(PYTHON) -m pytest -q -m 'slow and not hours'

bench: guests
	$(PYTHON) tests/bench/bench.py
	$(PYTHON) tests/bench/engine.py -n 3 -o engine-results.json

# The same tests with AddressSanitizer and UBSan inside the extension.
asan:
	VMM_ASAN=1 $(PYTHON) -m pip install -q --no-build-isolation -e .
	LD_PRELOAD=$$($(CC) -print-file-name=libasan.so) \
	    ASAN_OPTIONS=detect_leaks=0 $(PYTHON) -m pytest -q

clean:
	rm -rf build libvmmapi/_vmm*.so

-include $(OBJS:.o=.d)
