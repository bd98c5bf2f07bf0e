/*
 * The LPC bridge and the ISA devices behind it.
 *
 * LPC_DSDT(fn): fn writes AML into the scope of the bridge's device (ISA).
 * Firmware code may contribute too (LPCR, the link devices).
 * SYSRES_IO, SYSRES_MEM: resources of the motherboard device (SIO).
 */
#ifndef _PCI_LPC_H_
#define _PCI_LPC_H_

#include <stdbool.h>
#include <stdint.h>

#include "linker_set.h"

struct aml;
struct pci_devinst;

typedef void (*lpc_dsdt_write_fn)(struct aml *a);
struct lpc_dsdt {
	lpc_dsdt_write_fn handler;
};
#define LPC_DSDT(fn)                                                        \
	static const struct lpc_dsdt __lpc_dsdt_##fn = { .handler = (fn) }; \
	DATA_SET(lpc_dsdt_set, __lpc_dsdt_##fn)

enum lpc_sysres_type { LPC_SYSRES_IO, LPC_SYSRES_MEM };
struct lpc_sysres {
	enum lpc_sysres_type type;
	uint32_t base;
	uint32_t length;
};
#define LPC_SYSRES_(kind, n, b, l)                          \
	static const struct lpc_sysres __lpc_sysres_##n = { \
		.type = kind, .base = (b), .length = (l)    \
	};                                                  \
	DATA_SET(lpc_sysres_set, __lpc_sysres_##n)
#define LPC_SYSRES_N(kind, n, b, l) LPC_SYSRES_(kind, n, b, l)
#define SYSRES_IO(b, l) LPC_SYSRES_N(LPC_SYSRES_IO, __LINE__, b, l)
#define SYSRES_MEM(b, l) LPC_SYSRES_N(LPC_SYSRES_MEM, __LINE__, b, l)

/*
 * "-l" argument into the tree.  0, or the exit status (64 for a bad
 * configuration, 4) after one line on stderr.  "help" is the caller's.
 */
int lpc_device_parse(const char *opt);
/* Names for -l help, in its order; NULL at the end. */
const char *lpc_device_name(int i);
void lpc_print_supported_devices(void);
/* The boot ROM's path, or NULL. */
const char *lpc_bootrom(void);
const char *lpc_fwcfg(void);
/* The bridge's PIRQ routing for the MP table; NULL without a bridge. */
struct pci_devinst *lpc_bridge(void);

#endif
