/*
 * The PCI core: slots, configuration space, BARs, capabilities, interrupts.
 * A device model is one struct pci_devemu in the linker set pci_devemu_set.
 */
#ifndef _PCI_EMUL_H_
#define _PCI_EMUL_H_

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "linker_set.h"
#include "pcireg.h"

#define PCI_BARMAX 5
#define PCI_ROM_IDX 6 /* the expansion ROM, in the same table */
#define MAXBUSES 256
#define MAXSLOTS 32
#define MAXFUNCS 8

#define PCI_EMUL_ECFG_BASE 0xe0000000UL
#define PCI_EMUL_ECFG_SIZE (MAXBUSES * 1024 * 1024UL)

struct aml;
struct pci_devinst;
struct vmctx;

/*
 * pe_init returns 0, or non-zero after one EPRINTLN.  pe_cfgread and
 * pe_cfgwrite return 0 when they did the access, else the core does it; they
 * run under the core's configuration lock.  BAR accesses run without any
 * lock of the core's, on any vCPU's thread, with 0 <= offset and
 * offset + size <= the BAR's size.
 */
struct pci_devemu {
	const char *pe_emu; /* name of the device model */
	int (*pe_init)(struct pci_devinst *pi, nvlist_t *nvl);
	/* Options of -s as nodes; 0, or -1 after one EPRINTLN.  NULL: the
	 * generic name[=value] list. */
	int (*pe_legacy_config)(nvlist_t *nvl, const char *opts);
	const char *pe_alias; /* -s name for another model */
	void (*pe_write_dsdt)(struct pci_devinst *pi, struct aml *a);
	int (*pe_cfgwrite)(
	    struct pci_devinst *pi, int offset, int bytes, uint32_t val);
	int (*pe_cfgread)(
	    struct pci_devinst *pi, int offset, int bytes, uint32_t *retval);
	void (*pe_barwrite)(struct pci_devinst *pi, int baridx, uint64_t offset,
	    int size, uint64_t value);
	uint64_t (*pe_barread)(
	    struct pci_devinst *pi, int baridx, uint64_t offset, int size);
	/* The BAR was mapped at address or unmapped; configuration lock. */
	void (*pe_baraddr)(
	    struct pci_devinst *pi, int baridx, int enabled, uint64_t address);
	/* The machine goes down: stop threads, flush, free. */
	void (*pe_cleanup)(struct pci_devinst *pi);
};
#define PCI_EMUL_SET(x) DATA_SET(pci_devemu_set, x)

enum pcibar_type {
	PCIBAR_NONE,
	PCIBAR_IO,
	PCIBAR_MEM32,
	PCIBAR_MEM64,
	PCIBAR_MEMHI64,
	PCIBAR_ROM
};

struct pcibar {
	enum pcibar_type type;
	uint64_t size;
	uint64_t addr;
	uint8_t lobits;
	bool mapped; /* registered with its bus */
	bool wanted; /* decode is on; !mapped: something is in the way */
};

#define PI_NAMESZ 40

struct msix_table_entry {
	uint64_t addr;
	uint32_t msg_data;
	uint32_t vector_control;
} __attribute__((__packed__));
#define MSIX_TABLE_ENTRY_SIZE 16
#define MAX_MSIX_TABLE_ENTRIES 2048

enum lintr_stat { IDLE, ASSERTED, PENDING };

struct pci_devinst {
	const struct pci_devemu *pi_d;
	struct vmctx *pi_vmctx;
	uint8_t pi_bus, pi_slot, pi_func;
	char pi_name[PI_NAMESZ];
	int pi_prevcap;
	int pi_capend;

	/*
	 * Leaf lock of INTx, MSI, MSI-X and the STATUS register; no device
	 * call under it.  Which of the three is on can be asked without it.
	 */
	pthread_mutex_t pi_intr_mtx;
	struct {
		int8_t pin; /* 1 to 4; 0: none */
		_Atomic enum lintr_stat state;
		int pirq_pin;
		int ioapic_irq;
	} pi_lintr;
	struct {
		_Atomic bool enabled; /* read without a lock */
		uint64_t addr;
		uint32_t msg_data;
		_Atomic int maxmsgnum; /* 0: off */
	} pi_msi;
	struct {
		_Atomic bool enabled; /* read without a lock */
		bool function_mask;
		int table_bar;
		int pba_bar;
		uint32_t table_offset;
		int table_count;
		uint32_t pba_offset;
		int pba_size;
		struct msix_table_entry *table;
		uint64_t *pba;
	} pi_msix;
	struct pci_irqfds *pi_irqfds; /* pci_irqfd.c */

	void *pi_arg; /* the device's softc */
	uint8_t pi_cfgdata[PCI_REGMAX + 1];
	struct pcibar pi_bar[PCI_ROM_IDX + 1];
	uint8_t *pi_rom; /* as long as its BAR; NULL: none */
};

/* ---- slots (pci_emul.c) ---- */
/* "-s" argument into the tree.  0, or -1 after one line on stderr. */
int pci_parse_slot(const char *opt);
/* Name of the i'th device model in sorted order; NULL at the end. */
const char *pci_devemu_name(int i);
void pci_print_supported_devices(void);
/* name[=value],... into a node; EINVAL: a name twice. */
int pci_parse_legacy_config(nvlist_t *nvl, const char *opt);
int init_pci(struct vmctx *ctx); /* 0, or non-zero after a line */
void pci_cleanup(void);
struct pci_devinst *pci_devinst_at(int bus, int slot, int func);
/* The pci.B.S.F.pcireg.* or default value of an identity register. */
int pci_config_read_reg(
    nvlist_t *nvl, const char *name, long max, uint32_t def, uint32_t *val);

/* ---- for the firmware tables ---- */
int pci_bus_count(void); /* buses with at least one device */
bool pci_bus_configured(int bus);
/* The window of a bus: [*base, *limit); base == limit: none. */
void pci_bus_io(int bus, uint64_t *base, uint64_t *limit);
void pci_bus_mem32(int bus, uint64_t *base, uint64_t *limit);
void pci_bus_mem64(int bus, uint64_t *base, uint64_t *limit);
/* Each used interrupt pin (1 to 4) of a bus; pirq_pin is 1 to 8. */
typedef void (*pci_lintr_cb)(
    int slot, int pin, int pirq_pin, int ioapic_irq, void *arg);
void pci_walk_lintr(int bus, pci_lintr_cb cb, void *arg);
int pci_count_lintr(int bus);
/* pe_write_dsdt of every device of the bus. */
void pci_bus_write_dsdt(int bus, struct aml *a);

/* ---- configuration space (pci_cfg.c) ---- */
int pci_emul_add_pciecap(struct pci_devinst *pi, int pcie_device_type);
int pci_emul_add_capability(
    struct pci_devinst *pi, const uint8_t *capdata, int caplen);
/* Internal entry of both mechanisms; also for tests. */
void pci_cfgrw(
    int in, int bus, int slot, int func, int coff, int bytes, uint32_t *val);
int pci_cfg_init(struct vmctx *ctx);

/* ---- BARs (pci_bar.c) ---- */
/* 0, or an errno: EINVAL, ENOMEM (window full). */
int pci_emul_alloc_bar(
    struct pci_devinst *pi, int idx, enum pcibar_type type, uint64_t size);
/* The expansion ROM's contents and BAR from a file; 0, or an errno after a
 * line. */
int pci_emul_add_rom(struct pci_devinst *pi, const char *path);

/* ---- message signalled interrupts (pci_msi.c) ---- */
int pci_emul_add_msicap(struct pci_devinst *pi, int msgnum);
int pci_emul_add_msixcap(struct pci_devinst *pi, int msgnum, int barnum);
int pci_msi_enabled(struct pci_devinst *pi);
int pci_msi_maxmsgnum(struct pci_devinst *pi);
int pci_msix_enabled(struct pci_devinst *pi);
int pci_msix_table_bar(struct pci_devinst *pi);
int pci_msix_pba_bar(struct pci_devinst *pi);
/* Messages of MSI-X go by event descriptors where the processor has them. */
void pci_msix_use_irqfd(struct pci_devinst *pi);
void pci_generate_msi(struct pci_devinst *pi, int index);
void pci_generate_msix(struct pci_devinst *pi, int index);
/* The device's BAR handlers pass accesses to the MSI-X BAR here. */
int pci_emul_msix_twrite(
    struct pci_devinst *pi, uint64_t offset, int size, uint64_t value);
uint64_t pci_emul_msix_tread(struct pci_devinst *pi, uint64_t offset, int size);

/* ---- legacy interrupts (pci_irq.c) ---- */
void pci_lintr_request(struct pci_devinst *pi);
void pci_lintr_assert(struct pci_devinst *pi);
void pci_lintr_deassert(struct pci_devinst *pi);

/* Bytes are read by devices' threads while the guest writes them. */
static inline void
pci_set_cfgdata8(struct pci_devinst *pi, int offset, uint8_t val)
{
	if (offset >= 0 && offset <= PCI_REGMAX)
		__atomic_store_n(
		    &pi->pi_cfgdata[offset], val, __ATOMIC_RELAXED);
}

static inline uint8_t
pci_get_cfgdata8(const struct pci_devinst *pi, int offset)
{
	return (offset >= 0 && offset <= PCI_REGMAX
		? __atomic_load_n(&pi->pi_cfgdata[offset], __ATOMIC_RELAXED)
		: 0xff);
}

static inline void
pci_set_cfgdata16(struct pci_devinst *pi, int offset, uint16_t val)
{
	pci_set_cfgdata8(pi, offset, (uint8_t)val);
	pci_set_cfgdata8(pi, offset + 1, (uint8_t)(val >> 8));
}

static inline uint16_t
pci_get_cfgdata16(const struct pci_devinst *pi, int offset)
{
	return ((uint16_t)(pci_get_cfgdata8(pi, offset) |
	    pci_get_cfgdata8(pi, offset + 1) << 8));
}

static inline void
pci_set_cfgdata32(struct pci_devinst *pi, int offset, uint32_t val)
{
	pci_set_cfgdata16(pi, offset, (uint16_t)val);
	pci_set_cfgdata16(pi, offset + 2, (uint16_t)(val >> 16));
}

static inline uint32_t
pci_get_cfgdata32(const struct pci_devinst *pi, int offset)
{
	return (pci_get_cfgdata16(pi, offset) |
	    (uint32_t)pci_get_cfgdata16(pi, offset + 2) << 16);
}

#endif
