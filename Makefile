# Developer's entry points; users need only the README's two commands.
O ?= build/obj
CC ?= gcc
SRCS := $(sort $(shell find csrc -name '*.c'))
OBJS := $(SRCS:%.c=$(O)/%.o)
INCS := -Icsrc/include $(addprefix -I,$(sort $(dir $(SRCS))))
WARN := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes \
	-Wmissing-prototypes -Wvla -Wno-unused-parameter
CFLAGS ?= -O2 -g
ALLCFLAGS = -std=c11 -D_GNU_SOURCE -fPIC -fvisibility=hidden -pthread \
	$(WARN) $(INCS) $(CFLAGS)

.PHONY: core
core: $(O)/libcore.a

$(O)/libcore.a: $(OBJS)
	@rm -f $@ && ar rcs $@ $(OBJS)

$(O)/%.o: %.c
	@mkdir -p $(dir $@)
	$(CC) $(ALLCFLAGS) -MMD -MP -c -o $@ $<

-include $(OBJS:.o=.d)
