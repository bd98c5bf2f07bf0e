/*
 * Linear addresses of a guest: translation, and copying in and out across
 * pages.
 */
#include <errno.h>
#include <string.h>

#include "vmm.h"
#include "vmmapi_local.h"

int
vm_get_paging(struct vcpu *vcpu, struct vm_guest_paging_api *paging)
{
	struct vm_gla2gpa a = { .vcpuid = vcpu->vcpuid };

	if (VMIOC(vcpu->ctx, VM_GET_PAGING, &a) != 0)
		return (-1);
	paging->cr3 = a.cr3;
	paging->cpl = a.cpl;
	paging->cpu_mode = a.cpu_mode;
	paging->paging_mode = a.paging_mode;
	paging->pad = 0;
	return (0);
}

static int
translate(struct vcpu *vcpu, uint32_t cmd, struct vm_guest_paging_api *paging,
    uint64_t gla, int prot, uint64_t *gpa, int *fault)
{
	struct vm_gla2gpa a = { .vcpuid = vcpu->vcpuid,
		.prot = prot,
		.cr3 = paging->cr3,
		.cpl = paging->cpl,
		.cpu_mode = paging->cpu_mode,
		.paging_mode = paging->paging_mode,
		.gla = gla };

	if (VMIOC(vcpu->ctx, cmd, &a) != 0)
		return (-1);
	*gpa = a.gpa;
	*fault = a.fault;
	return (0);
}

int
vm_gla2gpa(struct vcpu *vcpu, struct vm_guest_paging_api *paging, uint64_t gla,
    int prot, uint64_t *gpa, int *fault)
{
	return (translate(vcpu, VM_GLA2GPA, paging, gla, prot, gpa, fault));
}

int
vm_gla2gpa_nofault(struct vcpu *vcpu, struct vm_guest_paging_api *paging,
    uint64_t gla, int prot, uint64_t *gpa, int *fault)
{
	return (
	    translate(vcpu, VM_GLA2GPA_NOFAULT, paging, gla, prot, gpa, fault));
}

/*
 * 0 and *fault 0: the iovecs describe the range; 0 and *fault 1: the guest
 * gets the exception; -1: an error (EFAULT: not memory; E2BIG: too many
 * pages for iovcnt).
 */
int
vm_copy_setup(struct vcpu *vcpu, struct vm_guest_paging_api *paging,
    uint64_t gla, size_t len, int prot, struct iovec *iov, int iovcnt,
    int *fault)
{
	uint64_t gpa;
	size_t n;
	void *hva;

	*fault = 0;
	for (int i = 0; i < iovcnt; i++)
		iov[i] = (struct iovec) { NULL, 0 };
	for (int i = 0; len > 0; i++) {
		if (i == iovcnt)
			return (vmapi_error(E2BIG));
		if (vm_gla2gpa(vcpu, paging, gla, prot, &gpa, fault) != 0)
			return (-1);
		if (*fault != 0)
			return (0);
		n = 0x1000 - (gpa & 0xfff);
		if (n > len)
			n = len;
		hva = vm_map_gpa(vcpu->ctx, gpa, n);
		if (hva == NULL)
			return (vmapi_error(EFAULT));
		iov[i].iov_base = hva;
		iov[i].iov_len = n;
		gla += n;
		len -= n;
	}
	return (0);
}

void
vm_copyin(struct iovec *iov, void *dst, size_t len)
{
	uint8_t *p = dst;
	size_t n;

	for (; len > 0; iov++, p += n, len -= n) {
		n = iov->iov_len < len ? iov->iov_len : len;
		memcpy(p, iov->iov_base, n);
	}
}

void
vm_copyout(const void *src, struct iovec *iov, size_t len)
{
	const uint8_t *p = src;
	size_t n;

	for (; len > 0; iov++, p += n, len -= n) {
		n = iov->iov_len < len ? iov->iov_len : len;
		memcpy(iov->iov_base, p, n);
		vmctx_hva_written(iov->iov_base, n);
	}
}

/* Nothing is held. */
void
vm_copy_teardown(struct iovec *iov, int iovcnt)
{
	(void)iov;
	(void)iovcnt;
}
