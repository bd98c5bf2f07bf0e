/*
 * The ACPI power-management timer: a free-running 32-bit counter of
 * 3.579545 MHz behind one read-only port (ACPI 4.8.3.3).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "chip_time_local.h"
#include "vchips.h"
#include "vmm.h"
#include "vmm_data.h"

#define PMTMR_FREQ 3579545
#define PMTMR_DEFAULT_PORT 0x408

struct vpmtmr {
	struct vm *vm;
	/* Written before the VM runs and by data_write under its freeze. */
	_Atomic int64_t base;
	_Atomic uint16_t ioport;
};

struct vpmtmr *
vpmtmr_init(struct vm *vm)
{
	struct vpmtmr *pt;

	pt = calloc(1, sizeof(*pt));
	if (pt == NULL)
		return (NULL);
	pt->vm = vm;
	pt->base = vmm_now(vm);
	pt->ioport = PMTMR_DEFAULT_PORT;
	return (pt);
}

void
vpmtmr_cleanup(struct vpmtmr *pt)
{
	free(pt);
}

void
vpmtmr_reset(struct vpmtmr *pt)
{
	pt->base = vmm_now(pt->vm);
}

int
vpmtmr_handler(struct vm *vm, bool in, int port, int bytes, uint32_t *eax)
{
	struct vpmtmr *pt;

	pt = vm_pmtmr(vm);
	if (!in || bytes != 4)
		return (EINVAL);
	*eax = (uint32_t)chip_ns_to_ticks(vmm_now(vm) - pt->base, PMTMR_FREQ);
	return (0);
}

int
vpmtmr_set_ioport(struct vm *vm, uint16_t port)
{
	struct vpmtmr *pt;

	pt = vm_pmtmr(vm);
	if (port == 0 || (port & 3) != 0)
		return (EINVAL);
	pt->ioport = port;
	return (0);
}

uint16_t
vpmtmr_ioport(struct vm *vm)
{
	return (vm_pmtmr(vm)->ioport);
}

int
vpmtmr_data_read(struct vpmtmr *pt, void *buf, size_t len)
{
	struct vdi_pm_timer_v1 out;

	if (len < sizeof(out))
		return (-ENOSPC);
	memset(&out, 0, sizeof(out));
	out.time_base = pt->base;
	out.ioport = pt->ioport;
	memcpy(buf, &out, sizeof(out));
	return ((int)sizeof(out));
}

int
vpmtmr_data_write(struct vpmtmr *pt, const void *buf, size_t len)
{
	struct vdi_pm_timer_v1 in;

	if (len != sizeof(in))
		return (-EINVAL);
	memcpy(&in, buf, sizeof(in));
	if (in.ioport == 0 || (in.ioport & 3) != 0)
		return (-EINVAL);
	pt->base = in.time_base;
	pt->ioport = in.ioport;
	return ((int)sizeof(in));
}
