/*
 * The test device of kvm-unit-tests (-l pc-testdev): an exit port, a port
 * that remembers, interrupt lines, and a page-spanning piece of memory.
 */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "bhyverun.h"
#include "debug.h"
#include "inout.h"
#include "mem.h"
#include "pctestdev.h"
#include "vmmapi.h"

#define DEBUGEXIT_BASE 0xf4
#define DEBUGEXIT_LEN 4
#define IOPORT_BASE 0xe0
#define IOPORT_LEN 4
#define IOMEM_BASE 0xff000000UL
#define IOMEM_LEN 0x10000UL

static pthread_mutex_t test_mtx = PTHREAD_MUTEX_INITIALIZER;
static uint8_t io_data[IOPORT_LEN];
static uint8_t mem_data[IOMEM_LEN];
static bool irq_level[PCTESTDEV_IRQ_PORTS];

static int
debug_exit_handler(
    struct vmctx *ctx, int in, int port, int bytes, uint32_t *eax, void *arg)
{
	if (in)
		*eax = 0;
	else
		bhyve_stop((int)((*eax << 1 | 1) & 0xff));
	return (0);
}

static int
ioport_handler(
    struct vmctx *ctx, int in, int port, int bytes, uint32_t *eax, void *arg)
{
	int offset = port - IOPORT_BASE;

	if (offset + bytes > IOPORT_LEN)
		return (-1);
	pthread_mutex_lock(&test_mtx);
	if (in) {
		*eax = 0;
		memcpy(eax, io_data + offset, (size_t)bytes);
	} else {
		memcpy(io_data + offset, eax, (size_t)bytes);
	}
	pthread_mutex_unlock(&test_mtx);
	return (0);
}

static int
irq_handler(
    struct vmctx *ctx, int in, int port, int bytes, uint32_t *eax, void *arg)
{
	int irq = port - PCTESTDEV_IRQ_PORT;
	bool level = *eax != 0;

	if (in || bytes != 1)
		return (-1);
	pthread_mutex_lock(&test_mtx);
	if (irq_level[irq] != level) {
		irq_level[irq] = level;
		if (irq >= 16 && level)
			vm_ioapic_assert_irq(ctx, irq);
		else if (irq >= 16)
			vm_ioapic_deassert_irq(ctx, irq);
		else if (level)
			vm_isa_assert_irq(ctx, irq, irq);
		else
			vm_isa_deassert_irq(ctx, irq, irq);
	}
	pthread_mutex_unlock(&test_mtx);
	return (0);
}

static int
iomem_handler(struct vcpu *vcpu, int dir, uint64_t addr, int size,
    uint64_t *val, void *arg1, long arg2)
{
	uint64_t offset = addr - IOMEM_BASE;

	if (offset > IOMEM_LEN - (uint64_t)size)
		return (-1);
	pthread_mutex_lock(&test_mtx);
	if (dir == MEM_F_READ) {
		*val = 0;
		memcpy(val, mem_data + offset, (size_t)size);
	} else {
		memcpy(mem_data + offset, val, (size_t)size);
	}
	pthread_mutex_unlock(&test_mtx);
	return (0);
}

int
pctestdev_init(struct vmctx *ctx)
{
	static const struct inout_port ports[] = {
		{ "isa-debug-exit", DEBUGEXIT_BASE, DEBUGEXIT_LEN,
		    IOPORT_F_INOUT, debug_exit_handler, NULL },
		{ "pctestdev-io", IOPORT_BASE, IOPORT_LEN, IOPORT_F_INOUT,
		    ioport_handler, NULL },
		{ "pctestdev-irq", PCTESTDEV_IRQ_PORT, PCTESTDEV_IRQ_PORTS,
		    IOPORT_F_OUT, irq_handler, NULL },
	};
	const struct mem_range iomem = {
		.name = "pctestdev-mem",
		.flags = MEM_F_RW,
		.handler = iomem_handler,
		.base = IOMEM_BASE,
		.size = IOMEM_LEN,
	};
	size_t i;
	int error;

	memset(io_data, 0, sizeof(io_data));
	memset(mem_data, 0, sizeof(mem_data));
	memset(irq_level, 0, sizeof(irq_level));
	for (i = 0; i < sizeof(ports) / sizeof(ports[0]); i++) {
		error = register_inout(&ports[i]);
		if (error != 0) {
			EPRINTLN("%s: %s", ports[i].name, strerror(error));
			return (error);
		}
	}
	error = register_mem(&iomem);
	if (error != 0)
		EPRINTLN("%s: %s", iomem.name, strerror(error));
	return (error);
}
