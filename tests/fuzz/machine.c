/*
 * The machine of machine.h.  bhyverun.c is taken in as text: building and
 * ending the machine are its own business.
 */
#include <fcntl.h>
#include <sys/stat.h>

#include "bhyverun.c" /* NOLINT */

#include "../support/shared.h"
#include "machine.h"
#include "vmm.h"
#include "vmmapi_local.h"

#ifdef __SANITIZE_THREAD__
const char *__tsan_default_suppressions(void);

/* A socket is connected again while it is watched: the kernel's affair. */
const char *
__tsan_default_suppressions(void)
{
	return ("race:^connect$\n");
}
#endif

void (*_Atomic machine_dma_hook)(uint64_t gpa, void *host, size_t len);

static char scratch[200] = "/tmp";

void
check_failed(const char *file, int line, const char *func, const char *cond)
{
	fprintf(stderr, "%s:%d: %s: %s\n", file, line, func, cond);
	abort();
}

/* ---- the way of all DMA: the linker puts this before vm_map_gpa() ---- */

void *__real_vm_map_gpa(struct vmctx *ctx, vm_paddr_t gpa, size_t len);
void *__wrap_vm_map_gpa(struct vmctx *ctx, vm_paddr_t gpa, size_t len);

void *
__wrap_vm_map_gpa(struct vmctx *ctx, vm_paddr_t gpa, size_t len)
{
	void (*hook)(uint64_t, void *, size_t) = machine_dma_hook;
	void *host;

	host = __real_vm_map_gpa(ctx, gpa, len);
	if (host != NULL && hook != NULL)
		hook(gpa, host, len);
	return (host);
}

/* ---- life ---- */

void
machine_scratch(const char *path)
{
	snprintf(scratch, sizeof(scratch), "%s", path);
	(void)mkdir(scratch, 0700);
	CHECK(setenv("VMM_DIR", machine_file("vmm"), 1) == 0);
	(void)mkdir(machine_file("vmm"), 0700);
}

const char *
machine_file(const char *name)
{
	static char path[256];

	snprintf(path, sizeof(path), "%s/%s", scratch, name);
	return (path);
}

void
machine_disk(const char *name, size_t size)
{
	uint8_t sector[512];
	size_t i;
	int fd;

	fd = open(machine_file(name), O_RDWR | O_CREAT | O_TRUNC, 0600);
	CHECK(fd >= 0);
	for (i = 0; i < size / sizeof(sector); i++) {
		memset(sector, (int)i, sizeof(sector));
		CHECK(write(fd, sector, sizeof(sector)) == sizeof(sector));
	}
	close(fd);
}

void
machine_up(const char *const *settings)
{
	init_config();
	set_defaults();
	CHECK(set_config_value("memory.size", "8M") == 0);
	CHECK(set_config_value("destroy_on_poweroff", "true") == 0);
	for (; *settings != NULL; settings++) {
		if (strncmp(*settings, "-s ", 3) == 0)
			CHECK(pci_parse_slot(*settings + 3) == 0);
		else
			CHECK(parse_config_option(*settings) == 0);
	}
	memset(&machine, 0, sizeof(machine));
	atomic_store(&exit_status, NO_STATUS);
	CHECK(vm_create("guest") == 0);
	CHECK(build("guest") == 0);
	GUEST_MEMORY(ram(0, RAM_SIZE), RAM_SIZE);
	CHECK(vmm_start(machine.ctx->vm) == 0);
	CHECK(mevent_start() == 0);
}

void
machine_run(void)
{
	CHECK(start_vcpus() == 0);
}

void
machine_down(void)
{
	machine_dma_hook = NULL;
	if (machine.vcpus[0].started) {
		bhyve_stop(BHYVE_EXIT_POWEROFF);
		join_vcpus();
	}
	teardown(BHYVE_EXIT_POWEROFF);
}

struct vmctx *
machine_ctx(void)
{
	return (machine.ctx);
}

struct vm *
machine_vm(void)
{
	return (machine.ctx->vm);
}

/* ---- accesses ---- */

static struct vcpu *
processor(void)
{
	return (vmm_vcpu(machine.ctx->vm, 0));
}

static void
port(bool in, int number, int bytes, uint32_t *val)
{
	struct vm_inout io = {
		.bytes = (uint8_t)bytes,
		.in = in,
		.port = (uint16_t)number,
		.eax = *val,
	};

	if (vmm_handle_inout(processor(), in, (uint16_t)number, bytes, val))
		return;
	CHECK(emulate_inout(machine.ctx, &io, 0) == 0);
	*val = io.eax;
}

uint32_t
pio_in(int number, int bytes)
{
	uint32_t val = 0;

	port(true, number, bytes, &val);
	return (val);
}

void
pio_out(int number, int bytes, uint32_t val)
{
	port(false, number, bytes, &val);
}

uint64_t
mem_read(uint64_t gpa, int bytes)
{
	uint64_t val = 0;

	if (!vmm_handle_mmio(processor(), gpa, false, &val, bytes))
		(void)emulate_mem(
		    machine.vcpus[0].vcpu, gpa, true, bytes, &val);
	return (val);
}

void
mem_write(uint64_t gpa, int bytes, uint64_t val)
{
	if (!vmm_handle_mmio(processor(), gpa, true, &val, bytes))
		(void)emulate_mem(
		    machine.vcpus[0].vcpu, gpa, false, bytes, &val);
}

uint32_t
cfg_read(int slot, int off, int bytes)
{
	pio_out(0xcf8, 4,
	    0x80000000u | (uint32_t)slot << 11 | ((uint32_t)off & 0xfc));
	return (pio_in(0xcfc + (off & 3), bytes));
}

void
cfg_write(int slot, int off, int bytes, uint32_t val)
{
	pio_out(0xcf8, 4,
	    0x80000000u | (uint32_t)slot << 11 | ((uint32_t)off & 0xfc));
	pio_out(0xcfc + (off & 3), bytes, val);
}

void *
ram(uint64_t gpa, size_t len)
{
	void *p;

	p = __real_vm_map_gpa(machine.ctx, gpa, len);
	CHECK(p != NULL);
	return (p);
}

void
ram_put(uint64_t gpa, uint64_t val, size_t len)
{
	memcpy(ram(gpa, len), &val, len);
}

uint64_t
ram_get(uint64_t gpa, size_t len)
{
	uint64_t val = 0;

	memcpy(&val, ram(gpa, len), len);
	return (val);
}

uint64_t
bar_addr(int slot, int bar)
{
	uint32_t low = cfg_read(slot, 0x10 + bar * 4, 4);

	if ((low & 1) != 0)
		return (low & ~3u);
	if ((low & 6) == 4)
		return ((low & ~15u) |
		    (uint64_t)cfg_read(slot, 0x14 + bar * 4, 4) << 32);
	return (low & ~15u);
}

/* ---- interrupts and time ---- */

void
lapic_on(void)
{
	mem_write(LAPIC + 0xf0, 4, 0x1ff);
	mem_write(LAPIC + 0x80, 4, 0);
}

bool
irq_taken(int vector)
{
	uint64_t reg = LAPIC + 0x200 + (uint64_t)vector / 32 * 16;
	struct vcpu *vcpu = processor();
	int next;

	if ((mem_read(reg, 4) & (1u << vector % 32)) == 0)
		return (false);
	while ((next = vmm_intr_pending(vcpu)) >= 0) {
		vmm_intr_accepted(vcpu, next);
		mem_write(LAPIC + 0xb0, 4, 0);
		if (next == vector)
			return (true);
	}
	return (false);
}

static int64_t
clock_us(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ((int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000);
}

int64_t
now_us(void)
{
	return (clock_us(CLOCK_MONOTONIC));
}

int64_t
worked_us(void)
{
	return (clock_us(CLOCK_THREAD_CPUTIME_ID));
}
