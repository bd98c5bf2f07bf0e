/*
 * A machine that is only guest memory and one PCI device: tests play the
 * driver, well-behaved or not, against the real device code.
 */
#ifndef _FAKE_MACHINE_H_
#define _FAKE_MACHINE_H_

#include <stdbool.h>
#include <stdint.h>

#include "pci_emul.h"

#define LOW_SIZE (4UL << 20)
#define HIGH_BASE (4UL << 30)
#define HIGH_SIZE (64UL << 20)

#define CHECK(cond)                                                        \
	do {                                                               \
		if (!(cond))                                               \
			check_failed(__FILE__, __LINE__, __func__, #cond); \
	} while (0)

extern bool fake_msix;	      /* what -W would change */
extern _Atomic int fake_msis; /* messages raised */
extern _Atomic int fake_intx; /* level of the interrupt pin */

void check_failed(const char *file, int line, const char *func,
    const char *cond) __attribute__((__noreturn__));
void fake_init(void);
void *gpa(uint64_t addr);
struct pci_devinst *fake_device(const char *name);
void fake_destroy(struct pci_devinst *pi);
void bar_out(
    struct pci_devinst *pi, int bar, uint64_t off, int size, uint32_t val);
uint32_t bar_in(struct pci_devinst *pi, int bar, uint64_t off, int size);

#endif
