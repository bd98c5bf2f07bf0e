/*
 * libFuzzer's entry: one program, a target by the name it is called by
 * (fuzz-NAME) or by $FUZZ_TARGET.  Built with replay.c instead of libFuzzer,
 * it plays files.
 *
 * The machine is built anew for every input when $FUZZ_EXACT is set, else
 * for one in 32, which is faster but lets state pass between inputs.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fuzz.h"
#include "pci_emul.h"

#define MAX_OPS 600
#define REBUILD 32
#define NRECENT 16
#define DMA_FILL 512
#define OP_BUDGET_US 3000000

SET_DECLARE(fuzz_target_set, const struct fuzz_target);

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const struct fuzz_target *target;
static bool exact, up;
static unsigned int inputs;
static _Thread_local bool guest_thread;
static struct input *dma_in;
static uint64_t recent[NRECENT];
static unsigned int nrecent;
static char folder[64];

/* ---- the input ---- */

void
in_bytes(struct input *in, void *buf, size_t len)
{
	size_t n = (size_t)(in->end - in->at);

	if (n > len)
		n = len;
	memcpy(buf, in->at, n);
	memset((uint8_t *)buf + n, 0, len - n);
	in->at += n;
}

#define IN(bits)                                  \
	uint##bits##_t in##bits(struct input *in) \
	{                                         \
		uint##bits##_t val;               \
                                                  \
		in_bytes(in, &val, sizeof(val));  \
		return (val);                     \
	}
IN(8)
IN(16)
IN(32)
IN(64)

uint64_t
in_addr(struct input *in)
{
	static const uint64_t odd[16] = { 0, RAM_SIZE, RAM_SIZE - 0x1000,
		0xc0000000, 0xe0000000, 0xfee00000, 0xfec00000, 0xfffff000,
		0x100000000, 0xfffffffffffff000, 0xfffffffffffffff0,
		0x7fffffffffffffff, 0xa0000, 0xf0000, 0x1000, ~0UL };
	uint8_t sel = in8(in);

	if (sel < 0xd0)
		return (HOT + (uint64_t)(sel % HOT_PAGES) * 4096 +
		    (sel >= 0x80 ? in8(in) * 8UL : 0));
	if (sel < 0xf0)
		return (recent[sel % NRECENT] + in8(in));
	return (odd[sel & 15] + (int8_t)in8(in));
}

uint32_t
in_value(struct input *in)
{
	uint8_t sel = in8(in);

	switch (sel & 7) {
	case 0:
	case 1:
		return (in32(in));
	case 2:
		return ((uint32_t)in_addr(in));
	case 3:
		return (1u << (sel >> 3));
	case 4:
		return (0xffffffffu >> (sel >> 3));
	default:
		return (in16(in) & (sel < 0x80 ? 0xff : 0xffff));
	}
}

/* A device is about to look at memory: it finds the input there. */
static void
fill_dma(uint64_t gpa, void *host, size_t len)
{
	size_t left, n;

	if (!guest_thread || dma_in == NULL)
		return;
	recent[nrecent++ % NRECENT] = gpa;
	left = (size_t)(dma_in->end - dma_in->at);
	n = len < DMA_FILL ? len : DMA_FILL;
	/* What the target's driver put there, mostly stays. */
	if (left == 0 || (dma_in->end[-1] & 3) != 0) {
		if (left != 0)
			dma_in->end--;
		return;
	}
	if (n > left)
		n = left;
	dma_in->end -= n;
	memcpy(host, dma_in->end, n);
}

/* ---- the bus ---- */

static struct pci_devinst *
device(void)
{
	return (pci_devinst_at(0, SLOT, 0));
}

void
bar_write(int bar, uint64_t off, int bytes, uint64_t val)
{
	struct pci_devinst *pi = device();

	if (pi == NULL)
		return;
	if (pi->pi_bar[bar].type == PCIBAR_IO)
		pio_out((int)((pi->pi_bar[bar].addr + off) & 0xffff),
		    bytes > 4 ? 4 : bytes, (uint32_t)val);
	else if (pi->pi_bar[bar].type == PCIBAR_MEM32 ||
	    pi->pi_bar[bar].type == PCIBAR_MEM64)
		mem_write(pi->pi_bar[bar].addr + off, bytes, val);
}

uint64_t
bar_read(int bar, uint64_t off, int bytes)
{
	struct pci_devinst *pi = device();

	if (pi == NULL)
		return (~0UL);
	if (pi->pi_bar[bar].type == PCIBAR_IO)
		return (pio_in((int)((pi->pi_bar[bar].addr + off) & 0xffff),
		    bytes > 4 ? 4 : bytes));
	if (pi->pi_bar[bar].type == PCIBAR_MEM32 ||
	    pi->pi_bar[bar].type == PCIBAR_MEM64)
		return (mem_read(pi->pi_bar[bar].addr + off, bytes));
	return (~0UL);
}

int
scratch_connect(const char *name)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int s;

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/%s", folder, name);
	s = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s >= 0 && connect(s, (struct sockaddr *)&sun, sizeof(sun)) != 0) {
		close(s);
		s = -1;
	}
	return (s);
}

/* ---- operations that every target has ---- */

static void
op_bar(struct input *in, bool write)
{
	struct pci_devinst *pi = device();
	uint8_t sel = in8(in);
	int bar = sel & 7, bytes = 1 << (sel >> 3 & 3);
	uint64_t off;

	if (pi == NULL || bar > PCI_BARMAX || pi->pi_bar[bar].size == 0)
		return;
	off = in16(in);
	if ((sel & 0x20) != 0)
		off = off << 4 | in8(in);
	if ((sel & 0x40) == 0)
		off &= ~(uint64_t)(bytes - 1);
	off %= pi->pi_bar[bar].size;
	if (write)
		bar_write(bar, off, bytes, in_value(in));
	else
		(void)bar_read(bar, off, bytes);
}

static void
op_config(struct input *in, bool write)
{
	int off = in8(in), bytes = 1 << (off & 1 ? 0 : off & 2 ? 1 : 2);

	if (write)
		cfg_write(SLOT, off, bytes, in_value(in));
	else
		(void)cfg_read(SLOT, off, bytes);
}

static void
op_ports(struct input *in, bool write)
{
	const struct fuzz_range *r = &target->ports[in8(in) & 7];
	int bytes = 1 << in8(in) % 3;
	uint8_t off = in8(in);
	int port;

	if (r->size == 0)
		return;
	port = (int)r->base + off % (int)r->size;
	if (write)
		pio_out(port, bytes, in_value(in));
	else
		(void)pio_in(port, bytes);
}

static void
op_mmio(struct input *in, bool write)
{
	const struct fuzz_range *r = &target->mmio[in8(in) & 3];
	int bytes = 1 << (in8(in) & 3);
	uint16_t off = in16(in);
	uint64_t gpa;

	if (r->size == 0)
		return;
	gpa = r->base + off % r->size;
	if (write)
		mem_write(gpa, bytes, bytes == 8 ? in64(in) : in_value(in));
	else
		(void)mem_read(gpa, bytes);
}

static void
op_memory(struct input *in)
{
	uint64_t gpa = in_addr(in);
	uint8_t buf[256];
	size_t len = in8(in) % sizeof(buf) + 1;

	in_bytes(in, buf, len);
	if (gpa < RAM_SIZE && len <= RAM_SIZE - gpa && gpa >= HOT)
		memcpy(ram(gpa, len), buf, len);
}

static void
operation(struct input *in)
{
	uint8_t sel = in8(in);

	switch (sel & 15) {
	case 0:
	case 1:
		op_bar(in, true);
		break;
	case 2:
		op_bar(in, false);
		break;
	case 3:
		op_config(in, true);
		break;
	case 4:
		op_config(in, false);
		break;
	case 5:
	case 6:
		op_ports(in, (sel & 0x40) != 0);
		break;
	case 7:
		op_mmio(in, (sel & 0x40) != 0);
		break;
	case 8:
		op_memory(in);
		break;
	case 9:
		if (target->event != NULL)
			target->event(in);
		break;
	case 10: /* time passes */
		usleep((useconds_t)(sel >> 4) * 20);
		break;
	default:
		if (target->op != NULL)
			target->op(in);
		break;
	}
}

/* ---- runs ---- */

static void
bring_up(void)
{
	if (up)
		machine_down();
	machine_up(target->settings);
	up = true;
	if (target->up != NULL)
		target->up();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = { data, data + len };
	int64_t start;
	int i;

	if (target->whole != NULL) {
		target->whole(data, len);
		return (0);
	}
	if (!up || exact || ++inputs % REBUILD == 0 ||
	    (target->alive != NULL && !target->alive()))
		bring_up();
	memset(ram(HOT, HOT_PAGES * 4096), 0, HOT_PAGES * 4096);
	guest_thread = true;
	dma_in = &in;
	machine_dma_hook = fill_dma;
	for (i = 0; i < MAX_OPS && in.at < in.end; i++) {
		start = worked_us();
		if (target->only != NULL)
			target->only(&in);
		else
			operation(&in);
		/* A kick does a bounded amount of work. */
		CHECK(worked_us() - start < OP_BUDGET_US);
	}
	machine_dma_hook = NULL;
	dma_in = NULL;
	return (0);
}

static void
leave(void)
{
	char command[100];

	if (up)
		machine_down();
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	(void)!system(command);
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	const struct fuzz_target *const *t;
	const char *name;

	name = getenv("FUZZ_TARGET");
	if (name == NULL) {
		name = strrchr((*argv)[0], '/');
		name = name != NULL ? name + 1 : (*argv)[0];
		if (strncmp(name, "fuzz-", 5) == 0)
			name += 5;
	}
	SET_FOREACH(t, fuzz_target_set)
	{
		if (strcmp((*t)->name, name) == 0)
			target = *t;
	}
	if (target == NULL) {
		SET_FOREACH(t, fuzz_target_set)
		printf("%s\n", (*t)->name);
		exit(strcmp(name, "list") == 0 ? 0 : 1);
	}
	exact = getenv("FUZZ_EXACT") != NULL;
	snprintf(folder, sizeof(folder), "/dev/shm/fuzz.%d", (int)getpid());
	machine_scratch(folder);
	setenv("BHYVE_BACKEND", "soft", 1);
	atexit(leave);
	if (target->init != NULL)
		target->init();
	return (0);
}
