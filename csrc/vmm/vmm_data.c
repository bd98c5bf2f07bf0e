/*
 * The state of a VM in versioned classes (VM_DATA_READ and VM_DATA_WRITE of
 * illumos), and in one piece: a run of sections, each a class of the VM or
 * of one vCPU.  The state file, snapshots and the move between processors
 * all use it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "vchips.h"
#include "vlapic.h"
#include "vmm_class.h"
#include "vmm_dev.h"
#include "vmm_local.h"

/* Sections of the whole state that are no class of VM_DATA. */
#define SEC_VM 0x100
#define SEC_MEMSEG 0x101
#define SEC_MEMMAP 0x102
#define SEC_VCPU 0x103 /* announces a vCPU */

#define MSR_APICBASE 0x1b
#define MSR_TSC_DEADLINE 0x6e0

struct section {
	uint16_t cls;
	uint16_t version;
	int32_t vcpuid;
	uint32_t len;
	uint32_t pad;
};

struct field {
	uint32_t ident;
	uint32_t pad;
	uint64_t value;
};

/* Descriptors among the registers: number, and which part of it. */
#define REG_DESC_BASE 0x1000u
#define REG_DESC_LIMIT 0x2000u
#define REG_DESC_ACCESS 0x3000u
#define REG_PART_MASK 0xf000u

/* VDC_VMM_ARCH; below 0x100 they are illumos' numbers. */
#define ARCH_TSC_OFFSET 1u /* from the VM's */
#define ARCH_NMI 10u
#define ARCH_EXTINT 11u
#define ARCH_EXCEPTION 12u
#define ARCH_INTINFO 13u
#define ARCH_RUN_STATE 0x100u /* SIPI vector in bits 63:32 */
#define ARCH_HALTED 0x101u
#define ARCH_X2APIC 0x102u
#define ARCH_EXIT_RIP 0x103u
#define ARCH_CAP 0x200u /* + enum vm_cap_type */

struct vdi_time_v1 {
	uint64_t guest_freq;
	uint64_t guest_tsc;
	int64_t hrtime; /* vmm_now() */
	int64_t wall_sec, wall_nsec;
};

struct vdi_vm {
	uint16_t sockets, cores, threads, maxcpus;
	uint64_t active, debug, suspended;
	int32_t suspend, suspend_source;
	uint64_t suspend_when;
	int32_t memflags, pad;
};

struct vdi_memseg {
	int32_t segid, pad;
	uint64_t len;
	char name[VM_MAX_SEGNAME];
};

struct vdi_version {
	uint16_t cls, version;
	uint16_t len_expect, len_per_item;
};

/* MSRs of the processors themselves. */
static const uint32_t backend_msrs[] = { 0x174, 0x175, 0x176, /* SYSENTER */
	0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084,	      /* SYSCALL */
	0xc0000103 /* TSC_AUX */ };

/* ---- fields ---- */

struct fields {
	struct field *f;
	size_t count, room;
};

static void
put(struct fields *fs, uint32_t ident, uint64_t value)
{
	if (fs->count < fs->room)
		fs->f[fs->count] = (struct field) { ident, 0, value };
	fs->count++;
}

static int
registers_read(struct vcpu *vcpu, struct fields *fs)
{
	struct seg_desc desc;
	uint64_t val;

	for (int reg = 0; reg < VM_REG_LAST; reg++)
		if (reg != VM_REG_GUEST_TPR &&
		    reg != VM_REG_GUEST_ENTRY_INST_LENGTH &&
		    vmm_get_register(vcpu, reg, &val) == 0)
			put(fs, (uint32_t)reg, val);
	for (int reg = VM_REG_GUEST_ES; reg <= VM_REG_GUEST_GDTR; reg++) {
		if (vmm_get_seg_desc(vcpu, reg, &desc) != 0)
			continue;
		put(fs, REG_DESC_BASE | (uint32_t)reg, desc.base);
		put(fs, REG_DESC_LIMIT | (uint32_t)reg, desc.limit);
		put(fs, REG_DESC_ACCESS | (uint32_t)reg, desc.access);
	}
	return (0);
}

static int
register_write(struct vcpu *vcpu, const struct field *f)
{
	int reg = (int)(f->ident & ~REG_PART_MASK);
	struct seg_desc desc;
	int error;

	if ((f->ident & REG_PART_MASK) == 0) {
		error = vmm_set_register(vcpu, reg, f->value);
		/* Not every processor lets its copy of them be written. */
		if (reg >= VM_REG_GUEST_PDPTE0 && reg <= VM_REG_GUEST_PDPTE3)
			error = 0;
		return (error);
	}
	if ((error = vmm_get_seg_desc(vcpu, reg, &desc)) != 0)
		return (error);
	switch (f->ident & REG_PART_MASK) {
	case REG_DESC_BASE:
		desc.base = f->value;
		break;
	case REG_DESC_LIMIT:
		desc.limit = (uint32_t)f->value;
		break;
	case REG_DESC_ACCESS:
		desc.access = (uint32_t)f->value;
		break;
	default:
		return (EINVAL);
	}
	return (vmm_set_seg_desc(vcpu, reg, &desc));
}

/*
 * What the other registers mean depends on some of them: processors want to
 * hear of the mode first, and of FS and GS bases after their selectors.
 */
static int
registers_write(struct vcpu *vcpu, const struct field *f, size_t count)
{
	static const int first[] = { VM_REG_GUEST_EFER, VM_REG_GUEST_CR4,
		VM_REG_GUEST_CR0, VM_REG_GUEST_CR3, VM_REG_GUEST_RFLAGS };
	static const int last[] = { VM_REG_GUEST_FS_BASE, VM_REG_GUEST_GS_BASE,
		VM_REG_GUEST_INTR_SHADOW };
	const size_t nfirst = sizeof(first) / sizeof(first[0]);
	const size_t nlast = sizeof(last) / sizeof(last[0]);
	uint64_t known = 0;
	int error = 0;

	for (size_t k = 0; k < nfirst + nlast; k++)
		known |= 1UL << (k < nfirst ? first[k] : last[k - nfirst]);
	for (size_t k = 0; k < nfirst; k++)
		for (size_t i = 0; error == 0 && i < count; i++)
			if (f[i].ident == (uint32_t)first[k])
				error = register_write(vcpu, &f[i]);
	for (size_t i = 0; error == 0 && i < count; i++)
		if (f[i].ident >= 64 || (known & (1UL << f[i].ident)) == 0)
			error = register_write(vcpu, &f[i]);
	for (size_t k = 0; k < nlast; k++)
		for (size_t i = 0; error == 0 && i < count; i++)
			if (f[i].ident == (uint32_t)last[k])
				error = register_write(vcpu, &f[i]);
	return (error);
}

static int
msrs_read(struct vcpu *vcpu, struct fields *fs)
{
	const struct vmm_ops *ops = vcpu->vm->ops;
	uint64_t val;
	uint32_t msr;

	for (size_t i = 0; i < sizeof(backend_msrs) / sizeof(uint32_t); i++)
		if (ops->getmsr(vcpu->cookie, backend_msrs[i], &val) == 0)
			put(fs, backend_msrs[i], val);
	for (int i = 0; vmm_core_msr_list(i, &msr) == 0; i++) {
		if (vmm_get_msr(vcpu, msr, &val) == 0)
			put(fs, msr, val);
	}
	return (0);
}

static int
msr_write(struct vcpu *vcpu, const struct field *f)
{
	uint32_t msr;

	for (int i = 0; vmm_core_msr_list(i, &msr) == 0; i++) {
		if (msr != f->ident)
			continue;
		/* A machine of another kind may lack it altogether. */
		(void)vmm_set_msr(vcpu, msr, f->value);
		return (0);
	}
	return (vcpu->vm->ops->setmsr(vcpu->cookie, f->ident, f->value));
}

static int
arch_read(struct vcpu *vcpu, struct fields *fs)
{
	uint64_t current, pending;
	uint8_t vector;
	uint32_t state;
	int val;

	vmm_get_intinfo(vcpu, &pending, &current);
	put(fs, ARCH_TSC_OFFSET, vcpu_tsc_delta(vcpu));
	put(fs, ARCH_NMI, vmm_nmi_pending(vcpu));
	put(fs, ARCH_EXTINT, vmm_extint_pending(vcpu));
	put(fs, ARCH_EXCEPTION, current);
	put(fs, ARCH_INTINFO, pending);
	state = vcpu_run_state(vcpu, &vector);
	put(fs, ARCH_RUN_STATE, state | (uint64_t)vector << 32);
	put(fs, ARCH_HALTED, atomic_load(&vcpu->halted));
	put(fs, ARCH_X2APIC, vcpu->x2apic_state);
	put(fs, ARCH_EXIT_RIP, vcpu->exit_brief ? 0 : vcpu->exit_rip);
	for (int cap = 0; cap < VM_CAP_MAX; cap++)
		if (vmm_get_capability(vcpu, cap, &val) == 0)
			put(fs, ARCH_CAP + (uint32_t)cap, (uint64_t)val);
	return (0);
}

static int
arch_write(struct vcpu *vcpu, const struct field *f)
{
	uint64_t v = f->value;
	int old;

	switch (f->ident) {
	case ARCH_TSC_OFFSET:
		return (vcpu_set_tsc_delta(vcpu, v));
	case ARCH_NMI:
		atomic_store(&vcpu->nmi_pending, v != 0);
		break;
	case ARCH_EXTINT:
		atomic_store(&vcpu->extint_pending, v != 0);
		break;
	case ARCH_EXCEPTION:
		if (VM_INTINFO_VECTOR(v) >= 32)
			return (EINVAL);
		pthread_mutex_lock(&vcpu->ev_mtx);
		vcpu->exc_pending = (v & VM_INTINFO_VALID) != 0;
		vcpu->exc_vector = (uint8_t)v;
		vcpu->exc_errcode_valid = (v & VM_INTINFO_DEL_ERRCODE) != 0;
		vcpu->exc_errcode = (uint32_t)(v >> 32);
		pthread_mutex_unlock(&vcpu->ev_mtx);
		break;
	case ARCH_INTINFO:
		return (vmm_exit_intinfo(vcpu, v));
	case ARCH_RUN_STATE:
		return (
		    vcpu_set_run_state(vcpu, (uint32_t)v, (uint8_t)(v >> 32)));
	case ARCH_HALTED:
		atomic_store(&vcpu->halted, v != 0);
		break;
	case ARCH_X2APIC:
		return (vmm_set_x2apic_state(vcpu, (enum x2apic_state)v));
	case ARCH_EXIT_RIP:
		vcpu->exit_rip = v;
		vcpu->exit_brief = false;
		break;
	default:
		if (f->ident - ARCH_CAP >= VM_CAP_MAX)
			return (EINVAL);
		/* A processor that has it always or never says so. */
		if (vmm_get_capability(
			vcpu, (int)(f->ident - ARCH_CAP), &old) != 0 ||
		    old == (int)v)
			return (0);
		(void)vmm_set_capability(
		    vcpu, (int)(f->ident - ARCH_CAP), (int)v);
	}
	atomic_fetch_or(&vcpu->pending, VCPU_EV_EVENT);
	return (0);
}

/* ---- blobs ---- */

/* The processor's own local APIC, in the class's layout. */
static int
lapic_read(struct vcpu *vcpu, void *buf, size_t len)
{
	struct vdi_lapic_v1 *vdi = buf;
	const struct vmm_ops *ops = vcpu->vm->ops;
	int error;

	if (vcpu->vlapic != NULL)
		return (vlapic_data_read(vcpu->vlapic, buf, len));
	if (len < sizeof(*vdi))
		return (-ENOSPC);
	memset(vdi, 0, sizeof(*vdi));
	if ((error = ops->lapic_get(vcpu->cookie, vdi->page)) != 0 ||
	    (error = ops->getmsr(
		 vcpu->cookie, MSR_APICBASE, &vdi->apic_base)) != 0)
		return (-error);
	/* Not on the page; 0 in another mode of the timer. */
	if (ops->getmsr(
		vcpu->cookie, MSR_TSC_DEADLINE, &vdi->timer_tsc_deadline) != 0)
		vdi->timer_tsc_deadline = 0;
	return ((int)sizeof(*vdi));
}

static int
lapic_write(struct vcpu *vcpu, const void *buf, size_t len)
{
	const struct vdi_lapic_v1 *vdi = buf;
	const struct vmm_ops *ops = vcpu->vm->ops;
	int error;

	if (vcpu->vlapic != NULL)
		return (vlapic_data_write(vcpu->vlapic, buf, len));
	if (len != sizeof(*vdi))
		return (-EINVAL);
	if ((error = ops->setmsr(vcpu->cookie, MSR_APICBASE, vdi->apic_base)) !=
		0 ||
	    (error = ops->lapic_set(vcpu->cookie, vdi->page)) != 0)
		return (-error);
	if (vdi->timer_tsc_deadline != 0 &&
	    (error = ops->setmsr(
		 vcpu->cookie, MSR_TSC_DEADLINE, vdi->timer_tsc_deadline)) != 0)
		return (-error);
	return ((int)sizeof(*vdi));
}

static int
time_read(struct vm *vm, void *buf, size_t len)
{
	struct vdi_time_v1 vdi = { .guest_freq = vmm_tsc_hz(),
		.guest_tsc = vmm_guest_tsc(vm),
		.hrtime = vmm_now(vm) };
	struct timespec ts;

	if (len < sizeof(vdi))
		return (-ENOSPC);
	clock_gettime(CLOCK_REALTIME, &ts);
	vdi.wall_sec = ts.tv_sec;
	vdi.wall_nsec = ts.tv_nsec;
	memcpy(buf, &vdi, sizeof(vdi));
	return ((int)sizeof(vdi));
}

static int
time_write(struct vm *vm, const void *buf, size_t len)
{
	struct vdi_time_v1 vdi;

	if (len != sizeof(vdi))
		return (-EINVAL);
	memcpy(&vdi, buf, sizeof(vdi));
	if (vdi.hrtime < 0 || vdi.hrtime > INT64_MAX / 2)
		return (-EINVAL);
	/* A VM that runs keeps its TSC: only clocks that stand are set. */
	if (!vm->started)
		vm->tsc_frozen = vdi.guest_tsc;
	vmm_time_set(vm, vdi.hrtime);
	return ((int)sizeof(vdi));
}

/* ---- the table of classes ---- */

static const struct vdi_version versions[] = {
	{ VDC_VERSION, 1, 0, sizeof(struct vdi_version) },
	{ VDC_REGISTER, 1, 0, sizeof(struct field) },
	{ VDC_MSR, 1, 0, sizeof(struct field) },
	{ VDC_FPU, 1, 0, 0 },
	{ VDC_LAPIC, 1, sizeof(struct vdi_lapic_v1), 0 },
	{ VDC_VMM_ARCH, 1, 0, sizeof(struct field) },
	{ VDC_IOAPIC, 1, 0, 0 },
	{ VDC_ATPIT, 1, 0, 0 },
	{ VDC_ATPIC, 1, 0, 0 },
	{ VDC_HPET, 1, 0, 0 },
	{ VDC_PM_TIMER, 1, 0, 0 },
	{ VDC_RTC, 1, 0, 0 },
	{ VDC_VMM_TIME, 1, sizeof(struct vdi_time_v1), 0 },
};

static const uint16_t vcpu_classes[] = { VDC_REGISTER, VDC_MSR, VDC_FPU,
	VDC_VMM_ARCH, VDC_LAPIC };
/* The clock first: chips set their timers by it. */
static const uint16_t vm_classes[] = { VDC_VMM_TIME, VDC_IOAPIC, VDC_ATPIC,
	VDC_ATPIT, VDC_HPET, VDC_PM_TIMER, VDC_RTC };

static int
vcpu_class_read(struct vcpu *vcpu, uint16_t cls, void *buf, size_t len)
{
	struct fields fs = { buf, 0, len / sizeof(struct field) };
	size_t flen = len;
	int error;

	switch (cls) {
	case VDC_REGISTER:
		error = registers_read(vcpu, &fs);
		break;
	case VDC_MSR:
		error = msrs_read(vcpu, &fs);
		break;
	case VDC_VMM_ARCH:
		error = arch_read(vcpu, &fs);
		break;
	case VDC_FPU:
		error = vcpu->vm->ops->getfpu(vcpu->cookie, buf, &flen);
		return (error != 0 ? -error : (int)flen);
	case VDC_LAPIC:
		return (lapic_read(vcpu, buf, len));
	default:
		return (-EINVAL);
	}
	if (error != 0)
		return (-error);
	if (fs.count > fs.room)
		return (-ENOSPC);
	return ((int)(fs.count * sizeof(struct field)));
}

static int
vcpu_class_write(struct vcpu *vcpu, uint16_t cls, const void *buf, size_t len)
{
	const struct field *f = buf;
	size_t count = len / sizeof(*f);
	int error = 0;

	if (cls != VDC_FPU && cls != VDC_LAPIC && len % sizeof(*f) != 0)
		return (-EINVAL);
	switch (cls) {
	case VDC_REGISTER:
		error = registers_write(vcpu, f, count);
		break;
	case VDC_MSR:
		for (size_t i = 0; error == 0 && i < count; i++)
			error = msr_write(vcpu, &f[i]);
		break;
	case VDC_VMM_ARCH:
		for (size_t i = 0; error == 0 && i < count; i++)
			error = arch_write(vcpu, &f[i]);
		break;
	case VDC_FPU:
		error = vcpu->vm->ops->setfpu(vcpu->cookie, buf, len);
		break;
	case VDC_LAPIC:
		return (lapic_write(vcpu, buf, len));
	default:
		return (-EINVAL);
	}
	return (error != 0 ? -error : (int)len);
}

static int
vm_class_read(struct vm *vm, uint16_t cls, void *buf, size_t len)
{
	switch (cls) {
	case VDC_VERSION:
		if (len < sizeof(versions))
			return (-ENOSPC);
		memcpy(buf, versions, sizeof(versions));
		return ((int)sizeof(versions));
	case VDC_IOAPIC:
		return (vioapic_data_read(vm->vioapic, buf, len));
	case VDC_ATPIT:
		return (vatpit_data_read(vm->vatpit, buf, len));
	case VDC_ATPIC:
		return (vatpic_data_read(vm->vatpic, buf, len));
	case VDC_HPET:
		return (vhpet_data_read(vm->vhpet, buf, len));
	case VDC_PM_TIMER:
		return (vpmtmr_data_read(vm->vpmtmr, buf, len));
	case VDC_RTC:
		return (vrtc_data_read(vm->vrtc, buf, len));
	case VDC_VMM_TIME:
		return (time_read(vm, buf, len));
	default:
		return (-EINVAL);
	}
}

static int
vm_class_write(struct vm *vm, uint16_t cls, const void *buf, size_t len)
{
	switch (cls) {
	case VDC_IOAPIC:
		return (vioapic_data_write(vm->vioapic, buf, len));
	case VDC_ATPIT:
		return (vatpit_data_write(vm->vatpit, buf, len));
	case VDC_ATPIC:
		return (vatpic_data_write(vm->vatpic, buf, len));
	case VDC_HPET:
		return (vhpet_data_write(vm->vhpet, buf, len));
	case VDC_PM_TIMER:
		return (vpmtmr_data_write(vm->vpmtmr, buf, len));
	case VDC_RTC:
		return (vrtc_data_write(vm->vrtc, buf, len));
	case VDC_VMM_TIME:
		return (time_write(vm, buf, len));
	default:
		return (-EINVAL);
	}
}

static bool
is_vcpu_class(uint16_t cls)
{
	for (size_t i = 0; i < sizeof(vcpu_classes) / sizeof(uint16_t); i++)
		if (vcpu_classes[i] == cls)
			return (true);
	return (false);
}

/* The caller holds the vCPU (or the VM) as the class demands. */
int
vmm_data_read(struct vm *vm, int vcpuid, uint16_t cls, uint16_t version,
    void *buf, size_t len)
{
	struct vcpu *vcpu;

	if (version != 1)
		return (-EINVAL);
	if (!is_vcpu_class(cls))
		return (vm_class_read(vm, cls, buf, len));
	vcpu = vmm_vcpu(vm, vcpuid);
	return (vcpu == NULL ? -EINVAL : vcpu_class_read(vcpu, cls, buf, len));
}

int
vmm_data_write(struct vm *vm, int vcpuid, uint16_t cls, uint16_t version,
    const void *buf, size_t len)
{
	struct vcpu *vcpu;

	if (version != 1)
		return (-EINVAL);
	if (!is_vcpu_class(cls))
		return (vm_class_write(vm, cls, buf, len));
	vcpu = vmm_vcpu(vm, vcpuid);
	return (vcpu == NULL ? -EINVAL : vcpu_class_write(vcpu, cls, buf, len));
}

/* ---- the whole state ---- */

void
vmm_sbuf_free(struct vmm_sbuf *sb)
{
	free(sb->buf);
	memset(sb, 0, sizeof(*sb));
}

static bool
sbuf_room(struct vmm_sbuf *sb, size_t need)
{
	size_t room = sb->room == 0 ? 65536 : sb->room;
	uint8_t *buf;

	if (sb->error != 0)
		return (false);
	while (room - sb->len < need)
		room *= 2;
	if (room == sb->room)
		return (true);
	buf = realloc(sb->buf, room);
	if (buf == NULL) {
		sb->error = ENOMEM;
		return (false);
	}
	sb->buf = buf;
	sb->room = room;
	return (true);
}

static void
put_section(
    struct vmm_sbuf *sb, uint16_t cls, int vcpuid, const void *data, size_t len)
{
	struct section sec = { cls, 1, vcpuid, (uint32_t)len, 0 };

	if (!sbuf_room(sb, sizeof(sec) + len))
		return;
	memcpy(sb->buf + sb->len, &sec, sizeof(sec));
	if (len > 0)
		memcpy(sb->buf + sb->len + sizeof(sec), data, len);
	sb->len += sizeof(sec) + len;
}

static void
save_class(struct vm *vm, struct vmm_sbuf *sb, int vcpuid, uint16_t cls)
{
	_Alignas(64) uint8_t buf[XSAVE_AREA_MAX];
	int n;

	if (sb->error != 0)
		return;
	n = vmm_data_read(vm, vcpuid, cls, 1, buf, sizeof(buf));
	if (n < 0)
		sb->error = -n;
	else
		put_section(sb, cls, vcpuid, buf, (size_t)n);
}

int
vmm_vcpus_save(struct vm *vm, struct vmm_sbuf *sb)
{
	for (int i = 0; i < VM_MAXCPU; i++) {
		if (vmm_vcpu(vm, i) == NULL)
			continue;
		put_section(sb, SEC_VCPU, i, NULL, 0);
		for (size_t k = 0; k < sizeof(vcpu_classes) / 2; k++)
			save_class(vm, sb, i, vcpu_classes[k]);
	}
	return (sb->error);
}

static void
save_memory(struct vm *vm, struct vmm_sbuf *sb)
{
	struct vdi_memseg seg;
	struct vm_memmap map;
	vm_paddr_t gpa;
	size_t len;

	for (int i = 0; i < VM_MAX_MEMSEGS; i++) {
		memset(&seg, 0, sizeof(seg));
		if (vmm_get_memseg(
			vm, i, &len, seg.name, sizeof(seg.name), NULL) != 0 ||
		    len == 0)
			continue;
		seg.segid = i;
		seg.len = len;
		put_section(sb, SEC_MEMSEG, -1, &seg, sizeof(seg));
	}
	memset(&map, 0, sizeof(map));
	for (gpa = 0; vmm_mmap_getnext(vm, &gpa, &map.segid, &map.segoff, &len,
			  &map.prot, &map.flags) == 0;
	     gpa += len) {
		map.gpa = gpa;
		map.len = len;
		/* Devices of the host do not come along. */
		map.flags &= ~VM_MEMMAP_F_IOMMU;
		put_section(sb, SEC_MEMMAP, -1, &map, sizeof(map));
	}
}

int
vmm_state_save(struct vm *vm, struct vmm_sbuf *sb)
{
	struct vdi_vm vdi = { vm->sockets, vm->cores, vm->threads, vm->maxcpus,
		vmm_active_cpus(vm), vmm_debug_cpus(vm), vmm_suspended_cpus(vm),
		(int)vmm_suspended(vm), vm->suspend_source, vm->suspend_when,
		vm->memflags, 0 };

	put_section(sb, SEC_VM, -1, &vdi, sizeof(vdi));
	save_memory(vm, sb);
	for (size_t k = 0; k < sizeof(vm_classes) / 2; k++)
		save_class(vm, sb, -1, vm_classes[k]);
	return (vmm_vcpus_save(vm, sb));
}

static int
load_vm(struct vm *vm, const void *data, size_t len)
{
	struct vdi_vm vdi;
	int error;

	if (len != sizeof(vdi))
		return (EINVAL);
	memcpy(&vdi, data, sizeof(vdi));
	error = vmm_set_topology(
	    vm, vdi.sockets, vdi.cores, vdi.threads, vdi.maxcpus);
	if (error != 0 || vdi.suspend < 0 || vdi.suspend >= VM_SUSPEND_LAST)
		return (EINVAL);
	atomic_store(&vm->active_cpus, vdi.active);
	atomic_store(&vm->debug_cpus, vdi.debug);
	atomic_store(&vm->suspended_cpus, vdi.suspended);
	atomic_store(&vm->suspend, vdi.suspend);
	vm->suspend_source = vdi.suspend_source;
	vm->suspend_when = vdi.suspend_when;
	vm->memflags = vdi.memflags;
	return (0);
}

static int
load_memseg(struct vm *vm, const void *data, size_t len)
{
	struct vdi_memseg seg;

	if (len != sizeof(seg))
		return (EINVAL);
	memcpy(&seg, data, sizeof(seg));
	if (memchr(seg.name, '\0', sizeof(seg.name)) == NULL)
		return (EINVAL);
	return (vmm_attach_memseg(vm, seg.segid, seg.len, seg.name));
}

static int
load_memmap(struct vm *vm, const void *data, size_t len)
{
	struct vm_memmap map;

	if (len != sizeof(map))
		return (EINVAL);
	memcpy(&map, data, sizeof(map));
	return (vmm_mmap_memseg(
	    vm, map.gpa, map.segid, map.segoff, map.len, map.prot, map.flags));
}

static int
load_section(struct vm *vm, const struct section *sec, const void *data)
{
	int n;

	if (sec->version != 1)
		return (EINVAL);
	switch (sec->cls) {
	case SEC_VM:
		return (load_vm(vm, data, sec->len));
	case SEC_MEMSEG:
		return (load_memseg(vm, data, sec->len));
	case SEC_MEMMAP:
		return (load_memmap(vm, data, sec->len));
	case SEC_VCPU:
		return (
		    vmm_alloc_vcpu_held(vm, sec->vcpuid) == NULL ? errno : 0);
	default:
		n = vmm_data_write(
		    vm, sec->vcpuid, sec->cls, sec->version, data, sec->len);
		return (n < 0 ? -n : 0);
	}
}

int
vmm_state_load(struct vm *vm, const uint8_t *buf, size_t len)
{
	uint8_t *data = NULL;
	struct section sec;
	struct vcpu *vcpu;
	int error = 0;

	for (size_t off = 0; error == 0 && off < len; off += sec.len) {
		if (len - off < sizeof(sec))
			return (EINVAL);
		memcpy(&sec, buf + off, sizeof(sec));
		off += sizeof(sec);
		if (sec.len > len - off)
			return (EINVAL);
		/* A copy, aligned as XSAVE wants its images. */
		data = aligned_alloc(64, (sec.len + 64UL) & ~63UL);
		if (data == NULL)
			return (ENOMEM);
		memcpy(data, buf + off, sec.len);
		error = load_section(vm, &sec, data);
		if (error != 0)
			vmm_set_error("state section %#x of vCPU %d: %s",
			    sec.cls, sec.vcpuid, strerror(error));
		free(data);
	}
	if (vmm_suspended(vm) != VM_SUSPEND_NONE)
		for (int i = 0; i < VM_MAXCPU; i++)
			if ((vcpu = vmm_vcpu(vm, i)) != NULL)
				vcpu_post(vcpu, VCPU_EV_SUSPEND);
	for (int i = 0; i < VM_MAXCPU; i++)
		if ((vcpu = vmm_vcpu(vm, i)) != NULL &&
		    (vmm_debug_cpus(vm) & (1UL << i)) != 0)
			vcpu_post(vcpu, VCPU_EV_DEBUG);
	return (error);
}
