/*
 * The whole machine without its processor: the real buses, chips, PCI core
 * and devices over real guest memory.  Whoever uses it is the guest.
 */
#ifndef _FUZZ_MACHINE_H_
#define _FUZZ_MACHINE_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RAM_SIZE (8UL << 20)
#define ECAM 0xe0000000UL
#define LAPIC 0xfee00000UL
#define IOAPIC 0xfec00000UL
#define HPET 0xfed00000UL

#define CHECK(cond)                                                        \
	do {                                                               \
		if (!(cond))                                               \
			check_failed(__FILE__, __LINE__, __func__, #cond); \
	} while (0)
void check_failed(const char *file, int line, const char *func,
    const char *cond) __attribute__((__noreturn__));

/* Folder for files and VMs, made anew; the process's VMM_DIR. */
void machine_scratch(const char *path);
const char *machine_file(const char *name); /* a path there; static */
void machine_disk(const char *name, size_t size);

/* Configuration values "path=value"; a NULL ends them. */
void machine_up(const char *const *settings);
void machine_run(void); /* with a processor, after all: its vCPUs' threads */
void machine_down(void);
struct vmctx *machine_ctx(void);
struct vm *machine_vm(void); /* what is behind it */

/* The guest's accesses, in the order in which an exit meets them. */
uint32_t pio_in(int port, int bytes);
void pio_out(int port, int bytes, uint32_t val);
uint64_t mem_read(uint64_t gpa, int bytes);
void mem_write(uint64_t gpa, int bytes, uint64_t val);
uint32_t cfg_read(int slot, int off, int bytes);
void cfg_write(int slot, int off, int bytes, uint32_t val);
/* RAM; the range must be there. */
void *ram(uint64_t gpa, size_t len);
void ram_put(uint64_t gpa, uint64_t val, size_t len);
uint64_t ram_get(uint64_t gpa, size_t len);

/* The address that the BAR's registers hold. */
uint64_t bar_addr(int slot, int bar);
/* A vector waits in the local APIC; asking takes it. */
bool irq_taken(int vector);
void lapic_on(void);
int64_t now_us(void);
int64_t worked_us(void); /* by this thread: no matter how busy the host */

/* Called before a device gets a pointer into guest memory. */
extern void (*_Atomic machine_dma_hook)(uint64_t gpa, void *host, size_t len);

#endif
