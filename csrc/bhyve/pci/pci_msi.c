/*
 * Message signalled interrupts: the MSI and MSI-X capabilities (PCI Local
 * Bus 3.0, 6.8) and sending the messages.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "debug.h"
#include "pci_irq.h"
#include "pci_local.h"
#include "vmmapi.h"

#define PAGE_SIZE 4096UL
#define PAGE_ROUND(x) (((x) + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1))

/* Messages go to the local APICs and nowhere else. */
#define MSI_ADDR_MASK 0xfffffffffff00000UL
#define MSI_ADDR_BASE 0x00000000fee00000UL

static void
send_message(struct pci_devinst *pi, uint64_t addr, uint32_t data)
{
	if ((addr & MSI_ADDR_MASK) != MSI_ADDR_BASE) {
		GUEST_LOG("%s: MSI to 0x%lx dropped", pi->pi_name, addr);
		return;
	}
	(void)vm_raise_msi(
	    pi->pi_vmctx, addr, data, pi->pi_bus, pi->pi_slot, pi->pi_func);
}

/* ---- MSI ---- */

int
pci_emul_add_msicap(struct pci_devinst *pi, int msgnum)
{
	struct {
		uint8_t capid, nextptr;
		uint16_t msgctrl;
		uint32_t addrlo, addrhi;
		uint16_t msgdata;
	} __attribute__((__packed__)) cap;
	int mmc;

	if (msgnum < 1 || msgnum > 32 || (msgnum & (msgnum - 1)) != 0)
		return (EINVAL);
	mmc = __builtin_ctz((unsigned int)msgnum);
	memset(&cap, 0, sizeof(cap));
	cap.capid = PCIY_MSI;
	cap.msgctrl = (uint16_t)(PCIM_MSICTRL_64BIT | (mmc << 1));
	return (
	    pci_emul_add_capability(pi, (const uint8_t *)&cap, sizeof(cap)));
}

/* Take the registers of the capability into effect. */
static void
msi_update(struct pci_devinst *pi, int capoff)
{
	uint16_t ctrl;

	ctrl = pci_get_cfgdata16(pi, capoff + PCIR_MSI_CTRL);
	pthread_mutex_lock(&pi->pi_intr_mtx);
	pi->pi_msi.enabled = (ctrl & PCIM_MSICTRL_MSI_ENABLE) != 0;
	pi->pi_msi.addr = pci_get_cfgdata32(pi, capoff + PCIR_MSI_ADDR) |
	    (uint64_t)pci_get_cfgdata32(pi, capoff + PCIR_MSI_ADDR_HIGH) << 32;
	pi->pi_msi.msg_data =
	    pci_get_cfgdata16(pi, capoff + PCIR_MSI_DATA_64BIT);
	pi->pi_msi.maxmsgnum =
	    pi->pi_msi.enabled ? 1 << ((ctrl & PCIM_MSICTRL_MME_MASK) >> 4) : 0;
	pthread_mutex_unlock(&pi->pi_intr_mtx);
	pci_lintr_update(pi);
}

void
pci_msi_capwrite(
    struct pci_devinst *pi, int capoff, int offset, int bytes, uint32_t val)
{
	const uint16_t rw = PCIM_MSICTRL_MME_MASK | PCIM_MSICTRL_MSI_ENABLE;
	uint16_t ctrl, mask, mme, mmc;
	int reg, shift;

	reg = offset - capoff;
	if (reg < PCIR_MSI_ADDR) {
		shift = (reg - PCIR_MSI_CTRL) * 8;
		mask = rw & (uint16_t)((bytes == 1 ? 0xff : 0xffff) << shift);
		ctrl = pci_get_cfgdata16(pi, capoff + PCIR_MSI_CTRL);
		ctrl = (uint16_t)((ctrl & ~mask) | ((val << shift) & mask));
		/* More messages than offered are not granted. */
		mmc = (ctrl & PCIM_MSICTRL_MMC_MASK) >> 1;
		mme = (ctrl & PCIM_MSICTRL_MME_MASK) >> 4;
		if (mme > mmc)
			ctrl = (uint16_t)((ctrl & ~PCIM_MSICTRL_MME_MASK) |
			    mmc << 4);
		pci_set_cfgdata16(pi, capoff + PCIR_MSI_CTRL, ctrl);
	} else {
		if (reg + bytes > PCIR_MSI_DATA_64BIT + 2) {
			if (reg > PCIR_MSI_DATA_64BIT + 1)
				return;
			bytes = PCIR_MSI_DATA_64BIT + 2 - reg;
		}
		if (reg == PCIR_MSI_ADDR)
			val &= bytes == 4 ? 0xfffffffcu : val | 0xfcu;
		pci_cfg_store(pi, offset, bytes, val);
	}
	msi_update(pi, capoff);
}

int
pci_msi_enabled(struct pci_devinst *pi)
{
	return (pi->pi_msi.enabled);
}

int
pci_msi_maxmsgnum(struct pci_devinst *pi)
{
	return (pi->pi_msi.maxmsgnum);
}

void
pci_generate_msi(struct pci_devinst *pi, int index)
{
	uint64_t addr;
	uint32_t data;
	bool send;

	pthread_mutex_lock(&pi->pi_intr_mtx);
	send = pi->pi_msi.enabled && index >= 0 && index < pi->pi_msi.maxmsgnum;
	addr = pi->pi_msi.addr;
	data = pi->pi_msi.msg_data + (uint32_t)index;
	pthread_mutex_unlock(&pi->pi_intr_mtx);
	if (send)
		send_message(pi, addr, data);
}

/* ---- MSI-X ---- */

int
pci_emul_add_msixcap(struct pci_devinst *pi, int msgnum, int barnum)
{
	struct {
		uint8_t capid, nextptr;
		uint16_t msgctrl;
		uint32_t table_info, pba_info;
	} __attribute__((__packed__)) cap;
	uint32_t table_size;
	int error, i;

	if (msgnum < 1 || msgnum > MAX_MSIX_TABLE_ENTRIES || barnum < 0 ||
	    barnum > PCI_BARMAX || pi->pi_msix.table != NULL)
		return (EINVAL);
	table_size =
	    (uint32_t)PAGE_ROUND((unsigned long)msgnum * MSIX_TABLE_ENTRY_SIZE);
	pi->pi_msix.table_bar = pi->pi_msix.pba_bar = barnum;
	pi->pi_msix.table_offset = 0;
	pi->pi_msix.table_count = msgnum;
	pi->pi_msix.pba_offset = table_size;
	pi->pi_msix.pba_size = (msgnum + 63) / 64 * 8;
	pi->pi_msix.table = calloc((size_t)msgnum, sizeof(*pi->pi_msix.table));
	pi->pi_msix.pba = calloc(1, (size_t)pi->pi_msix.pba_size);
	if (pi->pi_msix.table == NULL || pi->pi_msix.pba == NULL)
		return (ENOMEM);
	for (i = 0; i < msgnum; i++)
		pi->pi_msix.table[i].vector_control = PCIM_MSIX_VCTRL_MASK;
	error = pci_emul_alloc_bar(pi, barnum, PCIBAR_MEM32,
	    table_size + PAGE_ROUND((unsigned long)pi->pi_msix.pba_size));
	if (error != 0)
		return (error);
	memset(&cap, 0, sizeof(cap));
	cap.capid = PCIY_MSIX;
	cap.msgctrl = (uint16_t)(msgnum - 1);
	cap.table_info = (uint32_t)barnum;
	cap.pba_info = table_size | (uint32_t)barnum;
	return (
	    pci_emul_add_capability(pi, (const uint8_t *)&cap, sizeof(cap)));
}

void
pci_msix_cleanup(struct pci_devinst *pi)
{
	pci_irqfd_cleanup(pi);
	free(pi->pi_msix.table);
	free(pi->pi_msix.pba);
	pi->pi_msix.table = NULL;
	pi->pi_msix.pba = NULL;
}

static bool
msix_masked(const struct pci_devinst *pi, int index)
{
	return (pi->pi_msix.function_mask ||
	    (pi->pi_msix.table[index].vector_control & PCIM_MSIX_VCTRL_MASK) !=
		0);
}

void
pci_generate_msix(struct pci_devinst *pi, int index)
{
	uint64_t addr;
	uint32_t data;
	bool send;

	pthread_mutex_lock(&pi->pi_intr_mtx);
	send = false;
	addr = 0;
	data = 0;
	if (pi->pi_msix.enabled && index >= 0 &&
	    index < pi->pi_msix.table_count) {
		if (msix_masked(pi, index)) {
			pi->pi_msix.pba[index / 64] |= 1UL << (index % 64);
		} else {
			send = true;
			addr = pi->pi_msix.table[index].addr;
			data = pi->pi_msix.table[index].msg_data;
		}
	}
	pthread_mutex_unlock(&pi->pi_intr_mtx);
	if (send && !pci_irqfd_send(pi, index, addr, data))
		send_message(pi, addr, data);
}

/* Vectors in [first, last) may have been unmasked: send what waits. */
static void
msix_flush_pending(struct pci_devinst *pi, int first, int last)
{
	uint64_t bit;
	bool fire;
	int i;

	for (i = first; i < last; i++) {
		bit = 1UL << (i % 64);
		pthread_mutex_lock(&pi->pi_intr_mtx);
		fire = pi->pi_msix.enabled && !msix_masked(pi, i) &&
		    (pi->pi_msix.pba[i / 64] & bit) != 0;
		if (fire)
			pi->pi_msix.pba[i / 64] &= ~bit;
		pthread_mutex_unlock(&pi->pi_intr_mtx);
		if (fire)
			pci_generate_msix(pi, i);
	}
}

void
pci_msix_capwrite(
    struct pci_devinst *pi, int capoff, int offset, int bytes, uint32_t val)
{
	const uint16_t rw =
	    PCIM_MSIXCTRL_MSIX_ENABLE | PCIM_MSIXCTRL_FUNCTION_MASK;
	uint16_t ctrl, mask;
	int reg, shift;

	reg = offset - capoff;
	if (reg >= PCIR_MSIX_CTRL + 2 || pi->pi_msix.table == NULL)
		return; /* table and PBA registers are read-only */
	shift = (reg - PCIR_MSIX_CTRL) * 8;
	mask = rw & (uint16_t)((bytes == 1 ? 0xff : 0xffff) << shift);
	ctrl = pci_get_cfgdata16(pi, capoff + PCIR_MSIX_CTRL);
	ctrl = (uint16_t)((ctrl & ~mask) | ((val << shift) & mask));
	pci_set_cfgdata16(pi, capoff + PCIR_MSIX_CTRL, ctrl);
	pthread_mutex_lock(&pi->pi_intr_mtx);
	pi->pi_msix.enabled = (ctrl & PCIM_MSIXCTRL_MSIX_ENABLE) != 0;
	pi->pi_msix.function_mask = (ctrl & PCIM_MSIXCTRL_FUNCTION_MASK) != 0;
	pthread_mutex_unlock(&pi->pi_intr_mtx);
	msix_flush_pending(pi, 0, pi->pi_msix.table_count);
	pci_lintr_update(pi);
}

int
pci_msix_enabled(struct pci_devinst *pi)
{
	return (pi->pi_msix.enabled && !pi->pi_msi.enabled);
}

int
pci_msix_table_bar(struct pci_devinst *pi)
{
	return (pi->pi_msix.table_bar);
}

int
pci_msix_pba_bar(struct pci_devinst *pi)
{
	return (pi->pi_msix.pba_bar);
}

int
pci_emul_msix_twrite(
    struct pci_devinst *pi, uint64_t offset, int size, uint64_t value)
{
	struct msix_table_entry *mte;
	uint64_t end;
	char *dest;
	int index;

	if (pi->pi_msix.table == NULL || (size != 4 && size != 8) ||
	    (offset & (uint64_t)(size - 1)) != 0)
		return (-1);
	end = (uint64_t)pi->pi_msix.table_count * MSIX_TABLE_ENTRY_SIZE;
	if (offset >= end || end - offset < (uint64_t)size)
		return (-1);
	index = (int)(offset / MSIX_TABLE_ENTRY_SIZE);
	mte = &pi->pi_msix.table[index];
	dest = (char *)mte + offset % MSIX_TABLE_ENTRY_SIZE;
	pthread_mutex_lock(&pi->pi_intr_mtx);
	memcpy(dest, &value, (size_t)size);
	mte->vector_control &= PCIM_MSIX_VCTRL_MASK;
	pthread_mutex_unlock(&pi->pi_intr_mtx);
	msix_flush_pending(pi, index, index + 1);
	return (0);
}

uint64_t
pci_emul_msix_tread(struct pci_devinst *pi, uint64_t offset, int size)
{
	uint64_t end, val;

	val = ~0UL;
	if (pi->pi_msix.table == NULL || (size != 4 && size != 8) ||
	    (offset & (uint64_t)(size - 1)) != 0)
		return (val);
	end = (uint64_t)pi->pi_msix.table_count * MSIX_TABLE_ENTRY_SIZE;
	pthread_mutex_lock(&pi->pi_intr_mtx);
	if (offset < end && end - offset >= (uint64_t)size) {
		val = 0;
		memcpy(&val, (char *)pi->pi_msix.table + offset, (size_t)size);
	} else if (offset >= pi->pi_msix.pba_offset &&
	    offset - pi->pi_msix.pba_offset + (uint64_t)size <=
		(uint64_t)pi->pi_msix.pba_size) {
		val = 0;
		memcpy(&val,
		    (char *)pi->pi_msix.pba + (offset - pi->pi_msix.pba_offset),
		    (size_t)size);
	}
	pthread_mutex_unlock(&pi->pi_intr_mtx);
	return (val);
}
