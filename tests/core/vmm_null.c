/*
 * A processor of ten instructions behind vmm_ops, for tests of the core: it
 * shows that the table is complete.  Both backends' names resolve to it;
 * "kvm" says that it cannot be used.
 *
 * 90 nop, 40 inc eax, eb jmp, e4/e6 in/out al, fa/fb cli/sti, f4 hlt, 0f a
 * triple fault.  An interrupt leaves its vector in rbx and counts in rcx; an
 * NMI counts in rdx.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm.h"

#define PSL_I 0x200u

struct null_vm {
	struct vm *vm;
};

struct null_vcpu {
	struct null_vm *nvm;
	struct vcpu *vcpu;
	uint64_t regs[VM_REG_LAST];
	struct seg_desc descs[VM_REG_LAST];
	int caps[VM_CAP_MAX];
	uint64_t tsc_offset;
	uint8_t fpu[512];
	uint8_t io_bytes; /* an IN or OUT that waits for its answer */
	bool io_in;
};

static int
null_probe(const char **why)
{
	*why = NULL;
	return (0);
}

static int
null_no_probe(const char **why)
{
	*why = "no such thing in a test";
	return (ENODEV);
}

static void *
null_init(struct vm *vm)
{
	struct null_vm *nvm = calloc(1, sizeof(*nvm));

	if (nvm != NULL)
		nvm->vm = vm;
	return (nvm);
}

static void *
null_vcpu_init(void *vmi, struct vcpu *vcpu, int vcpuid)
{
	struct null_vcpu *nv = calloc(1, sizeof(*nv));

	(void)vcpuid;
	if (nv != NULL) {
		nv->nvm = vmi;
		nv->vcpu = vcpu;
	}
	return (nv);
}

static void
null_events(struct null_vcpu *nv)
{
	int vector;

	atomic_fetch_and(vcpu_pending(nv->vcpu), ~VCPU_EV_EVENT);
	if (vmm_nmi_pending(nv->vcpu)) {
		vmm_nmi_clear(nv->vcpu);
		nv->regs[VM_REG_GUEST_RDX]++;
	}
	if ((nv->regs[VM_REG_GUEST_RFLAGS] & PSL_I) == 0 ||
	    (vector = vmm_intr_pending(nv->vcpu)) < 0)
		return;
	vmm_intr_accepted(nv->vcpu, vector);
	nv->regs[VM_REG_GUEST_RBX] = (uint64_t)vector;
	nv->regs[VM_REG_GUEST_RCX]++;
}

static bool
null_io(struct null_vcpu *nv, bool in, uint8_t port, struct vm_exit *vme)
{
	uint32_t val = (uint32_t)nv->regs[VM_REG_GUEST_RAX];

	if (vmm_handle_inout(nv->vcpu, in, port, 1, &val)) {
		if (in)
			nv->regs[VM_REG_GUEST_RAX] = val & 0xff;
		nv->regs[VM_REG_GUEST_RIP] += 2;
		return (false);
	}
	vme->exitcode = VM_EXITCODE_INOUT;
	vme->rip = nv->regs[VM_REG_GUEST_RIP];
	vme->inst_length = 2;
	vme->u.inout.bytes = 1;
	vme->u.inout.in = in;
	vme->u.inout.port = port;
	vme->u.inout.eax = val;
	nv->io_bytes = 1;
	nv->io_in = in;
	return (true);
}

/* One instruction; true: *vme is filled. */
static bool
null_step(struct null_vcpu *nv, struct vm_exit *vme)
{
	uint64_t *rip = &nv->regs[VM_REG_GUEST_RIP];
	uint64_t lin = *rip + nv->descs[VM_REG_GUEST_CS].base;
	const uint8_t *code = vmm_gpa2hva(nv->nvm->vm, lin, 2, VM_PROT_EXEC);

	if (code == NULL || code[0] == 0x0f) {
		vmm_suspend(
		    nv->nvm->vm, VM_SUSPEND_TRIPLEFAULT, vcpu_vcpuid(nv->vcpu));
		return (false);
	}
	switch (code[0]) {
	case 0xe4:
	case 0xe6:
		return (null_io(nv, code[0] == 0xe4, code[1], vme));
	case 0xeb:
		*rip += 2 + (uint64_t)(int64_t)(int8_t)code[1];
		return (false);
	case 0xf4:
		*rip += 1;
		vme->exitcode = VM_EXITCODE_HLT;
		vme->rip = *rip;
		vme->u.hlt.rflags = nv->regs[VM_REG_GUEST_RFLAGS];
		return (true);
	case 0xfa:
		nv->regs[VM_REG_GUEST_RFLAGS] &= ~(uint64_t)PSL_I;
		break;
	case 0xfb:
		nv->regs[VM_REG_GUEST_RFLAGS] |= PSL_I;
		atomic_fetch_or(vcpu_pending(nv->vcpu), VCPU_EV_EVENT);
		break;
	case 0x40:
		nv->regs[VM_REG_GUEST_RAX]++;
		break;
	default:
		break;
	}
	*rip += 1;
	return (false);
}

static int
null_run(void *vcpui, const struct vm_entry *entry, struct vm_exit *vme)
{
	struct null_vcpu *nv = vcpui;
	uint32_t bits;

	memset(vme, 0, sizeof(*vme));
	if (nv->io_bytes != 0 && entry->cmd == VEC_FULFILL_INOUT) {
		if (nv->io_in)
			nv->regs[VM_REG_GUEST_RAX] = entry->u.inout.eax & 0xff;
		nv->regs[VM_REG_GUEST_RIP] += 2;
	}
	nv->io_bytes = 0;
	do {
		bits = atomic_load(vcpu_pending(nv->vcpu));
		if ((bits & VCPU_EV_LEAVE) != 0) {
			vmm_exit_pending(
			    nv->vcpu, nv->regs[VM_REG_GUEST_RIP], vme);
			return (0);
		}
		if ((bits & VCPU_EV_EVENT) != 0)
			null_events(nv);
	} while (!null_step(nv, vme));
	return (0);
}

static void
null_kick(void *vcpui)
{
	(void)vcpui;
}

static int
null_getreg(void *vcpui, int reg, uint64_t *val)
{
	*val = ((struct null_vcpu *)vcpui)->regs[reg];
	return (0);
}

static int
null_setreg(void *vcpui, int reg, uint64_t val)
{
	((struct null_vcpu *)vcpui)->regs[reg] = val;
	return (0);
}

static int
null_getdesc(void *vcpui, int reg, struct seg_desc *desc)
{
	*desc = ((struct null_vcpu *)vcpui)->descs[reg];
	return (0);
}

static int
null_setdesc(void *vcpui, int reg, const struct seg_desc *desc)
{
	((struct null_vcpu *)vcpui)->descs[reg] = *desc;
	return (0);
}

static int
null_getcap(void *vcpui, int type, int *val)
{
	if (type != VM_CAP_HALT_EXIT)
		return (ENOENT);
	*val = ((struct null_vcpu *)vcpui)->caps[type];
	return (0);
}

static int
null_setcap(void *vcpui, int type, int val)
{
	if (type != VM_CAP_HALT_EXIT)
		return (ENOENT);
	((struct null_vcpu *)vcpui)->caps[type] = val;
	return (0);
}

static int
null_getmsr(void *vcpui, uint32_t msr, uint64_t *val)
{
	(void)vcpui;
	(void)msr;
	(void)val;
	return (ENOENT);
}

static int
null_setmsr(void *vcpui, uint32_t msr, uint64_t val)
{
	(void)vcpui;
	(void)msr;
	(void)val;
	return (ENOENT);
}

static int
null_getfpu(void *vcpui, void *buf, size_t *len)
{
	struct null_vcpu *nv = vcpui;

	if (*len < sizeof(nv->fpu))
		return (ENOSPC);
	memcpy(buf, nv->fpu, sizeof(nv->fpu));
	*len = sizeof(nv->fpu);
	return (0);
}

static int
null_setfpu(void *vcpui, const void *buf, size_t len)
{
	struct null_vcpu *nv = vcpui;

	if (len != sizeof(nv->fpu))
		return (EINVAL);
	memcpy(nv->fpu, buf, len);
	return (0);
}

static int
null_memmap(void *vmi, vm_paddr_t gpa, size_t len, void *hva, int prot)
{
	(void)vmi;
	(void)gpa;
	(void)len;
	return ((hva == NULL) != (prot == 0) ? EINVAL : 0);
}

static int
null_get_tsc_offset(void *vcpui, uint64_t *offset)
{
	*offset = ((struct null_vcpu *)vcpui)->tsc_offset;
	return (0);
}

static int
null_set_tsc_offset(void *vcpui, uint64_t offset)
{
	((struct null_vcpu *)vcpui)->tsc_offset = offset;
	return (0);
}

#define NULL_OPS(id, probe_func)                                              \
	{                                                                     \
		.name = id, .probe = probe_func, .init = null_init,           \
		.cleanup = free, .vcpu_init = null_vcpu_init,                 \
		.vcpu_cleanup = free, .run = null_run, .kick = null_kick,     \
		.getreg = null_getreg, .setreg = null_setreg,                 \
		.getdesc = null_getdesc, .setdesc = null_setdesc,             \
		.getcap = null_getcap, .setcap = null_setcap,                 \
		.getmsr = null_getmsr, .setmsr = null_setmsr,                 \
		.getfpu = null_getfpu, .setfpu = null_setfpu,                 \
		.memmap = null_memmap, .get_tsc_offset = null_get_tsc_offset, \
		.set_tsc_offset = null_set_tsc_offset,                        \
	}

const struct vmm_ops vmm_ops_soft = NULL_OPS("soft", null_probe);
const struct vmm_ops vmm_ops_kvm = NULL_OPS("kvm", null_no_probe);
