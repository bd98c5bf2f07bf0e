/*
 * Accesses that do not leave to user space: a table of ports, three windows
 * of memory (local APIC, I/O APIC, HPET), and memory of the host's devices.
 */
#include <errno.h>
#include <stddef.h>

#include "vchips.h"
#include "vlapic.h"
#include "vmm_local.h"
#include "vmm_ppt.h"

#define APICBASE_X2APIC 0x400u
#define APICBASE_ENABLED 0x800u
#define PORT_TABLE_LEN 0x4d2

static const inout_func_t port_table[PORT_TABLE_LEN] = {
	[0x20] = vatpic_master_handler,
	[0x21] = vatpic_master_handler,
	[0xa0] = vatpic_slave_handler,
	[0xa1] = vatpic_slave_handler,
	[0x40] = vatpit_handler,
	[0x41] = vatpit_handler,
	[0x42] = vatpit_handler,
	[0x43] = vatpit_handler,
	[0x61] = vatpit_nmisc_handler,
	[0x70] = vrtc_addr_handler,
	[0x71] = vrtc_data_handler,
	[0x4d0] = vatpic_elc_handler,
	[0x4d1] = vatpic_elc_handler,
};

bool
vmm_handle_inout(
    struct vcpu *vcpu, bool in, uint16_t port, int bytes, uint32_t *val)
{
	struct vm *vm = vcpu->vm;
	inout_func_t func = NULL;
	uint32_t mask, data;

	if (port < PORT_TABLE_LEN)
		func = port_table[port];
	if (func == NULL) {
		if (port != vpmtmr_ioport(vm))
			return (false);
		func = vpmtmr_handler;
	}
	mask = bytes >= 4 ? UINT32_MAX : (1u << (8 * bytes)) - 1;
	data = in ? 0 : *val & mask;
	if (func(vm, in, port, bytes, &data) != 0)
		data = UINT32_MAX;
	if (in)
		*val = data & mask;
	return (true);
}

/* Offset of an access inside a window, or -1. */
static int64_t
window(vm_paddr_t gpa, int bytes, vm_paddr_t base, uint64_t size)
{
	if (gpa < base || gpa - base > size - (uint64_t)bytes)
		return (-1);
	return ((int64_t)(gpa - base));
}

static bool
handle_lapic(struct vcpu *vcpu, vm_paddr_t gpa, bool write, uint64_t *val,
    int bytes, int *error)
{
	uint64_t base, off;

	if (vcpu->vlapic == NULL) {
		off = gpa - DEFAULT_APIC_BASE;
		if (vcpu->vm->ops->lapic_mmio == NULL ||
		    off > PAGE_SIZE_4K - (uint64_t)bytes)
			return (false);
		*error = vcpu->vm->ops->lapic_mmio(
		    vcpu->cookie, off, write, val, bytes);
		return (*error != ENOENT);
	}
	base = vlapic_get_apicbase(vcpu->vlapic);
	if ((base & (APICBASE_ENABLED | APICBASE_X2APIC)) != APICBASE_ENABLED)
		return (false);
	off = gpa - (base & ~PAGE_MASK_4K);
	if (off > PAGE_SIZE_4K - (uint64_t)bytes)
		return (false);
	if (!write) {
		*error = vlapic_mmio_read(vcpu->vlapic, off, val, bytes);
		return (true);
	}
	*error = vlapic_mmio_write(vcpu->vlapic, off, *val, bytes);
	/* An EOI or a lower priority may let the next interrupt through. */
	atomic_fetch_or(&vcpu->pending, VCPU_EV_EVENT);
	return (true);
}

bool
vmm_handle_mmio(
    struct vcpu *vcpu, vm_paddr_t gpa, bool write, uint64_t *val, int bytes)
{
	int error = 0;

	if (bytes < 1 || bytes > 8)
		return (false);
	if (handle_lapic(vcpu, gpa, write, val, bytes, &error)) {
		/* Done. */
	} else if (window(gpa, bytes, VIOAPIC_BASE, VIOAPIC_SIZE) >= 0) {
		error = write ? vioapic_mmio_write(vcpu, gpa, *val, bytes)
			      : vioapic_mmio_read(vcpu, gpa, val, bytes);
	} else if (window(gpa, bytes, VHPET_BASE, VHPET_SIZE) >= 0) {
		error = write ? vhpet_mmio_write(vcpu, gpa, *val, bytes)
			      : vhpet_mmio_read(vcpu, gpa, val, bytes);
	} else if (ppt_mmio(vcpu->vm, gpa, write, val, bytes)) {
		/* A device of the host has done it. */
	} else {
		return (false);
	}
	if (error != 0 && !write)
		*val = UINT64_MAX;
	return (true);
}
