/*
 * Lifetime of VMs and vCPUs, the choice of their processor, and access to
 * registers.  A VM starts on the software processor, which keeps the state
 * for tools that never run a vCPU; vmm_select_backend() moves it to the
 * processor that is wanted.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "vchips.h"
#include "vlapic.h"
#include "vmm_dev.h"
#include "vmm_local.h"
#include "vmm_ppt.h"

static char default_backend[8];
static bool no_translate;

static _Thread_local char error_text[256];

void
vmm_set_error(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(error_text, sizeof(error_text), fmt, ap);
	va_end(ap);
}

const char *
vmm_error(void)
{
	return (error_text);
}

void
vmm_log(const char *fmt, ...)
{
	struct termios tio;
	char line[512];
	const char *eol = "\n";
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	if (tcgetattr(STDERR_FILENO, &tio) == 0 && (tio.c_oflag & OPOST) == 0)
		eol = "\r\n";
	fprintf(stderr, "vmm: %s%s", line, eol);
}

static bool
backend_name_ok(const char *name)
{
	return (strcmp(name, "auto") == 0 || strcmp(name, "kvm") == 0 ||
	    strcmp(name, "soft") == 0);
}

int
vmm_set_backend(const char *backend)
{
	if (backend == NULL || !backend_name_ok(backend)) {
		vmm_set_error("no backend of this name; auto, kvm, soft");
		return (EINVAL);
	}
	strcpy(default_backend, backend);
	return (0);
}

void
vmm_set_translate(bool on)
{
	no_translate = !on;
}

bool
vmm_translate(void)
{
	const char *s = getenv("BHYVE_TRANSLATE");

	return (!no_translate && (s == NULL || strcmp(s, "0") != 0));
}

bool
vmm_own_lapic(struct vm *vm)
{
	return (vm->ops->lapic_get == NULL);
}

/* ---- the processor behind a VM ---- */

static int
vcpu_attach(struct vcpu *vcpu)
{
	struct vm *vm = vcpu->vm;

	errno = 0;
	vcpu->cookie = vm->ops->vcpu_init(vm->cookie, vcpu, vcpu->vcpuid);
	if (vcpu->cookie == NULL)
		return (errno != 0 ? errno : ENOMEM);
	if (!vmm_own_lapic(vm))
		return (0);
	vcpu->vlapic = vlapic_init(vcpu);
	if (vcpu->vlapic != NULL)
		return (0);
	vm->ops->vcpu_cleanup(vcpu->cookie);
	vcpu->cookie = NULL;
	return (ENOMEM);
}

static void
vcpu_detach(struct vcpu *vcpu)
{
	if (vcpu->vlapic != NULL)
		vlapic_cleanup(vcpu->vlapic);
	vcpu->vlapic = NULL;
	if (vcpu->cookie != NULL)
		vcpu->vm->ops->vcpu_cleanup(vcpu->cookie);
	vcpu->cookie = NULL;
}

static void
backend_detach(struct vm *vm)
{
	struct vcpu *vcpu;

	for (int i = 0; i < VM_MAXCPU; i++)
		if ((vcpu = vmm_vcpu(vm, i)) != NULL)
			vcpu_detach(vcpu);
	if (vm->cookie != NULL)
		vm->ops->cleanup(vm->cookie);
	vm->cookie = NULL;
}

static int
backend_attach(struct vm *vm, const struct vmm_ops *ops)
{
	struct vcpu *vcpu;
	int error;

	vm->ops = ops;
	errno = 0;
	vm->cookie = ops->init(vm);
	if (vm->cookie == NULL)
		return (errno != 0 ? errno : ENOMEM);
	error = vmm_mem_remap(vm);
	if (error == 0)
		error = ppt_remap(vm);
	for (int i = 0; error == 0 && i < VM_MAXCPU; i++)
		if ((vcpu = vmm_vcpu(vm, i)) != NULL)
			error = vcpu_attach(vcpu);
	if (error != 0)
		backend_detach(vm);
	return (error);
}

/* Moves the vCPUs to other processors; none runs.  On failure the VM stays
 * what it was. */
static int
backend_switch(struct vm *vm, const struct vmm_ops *ops)
{
	const struct vmm_ops *old = vm->ops;
	struct vmm_sbuf sb = { 0 };
	int error;

	error = vmm_vcpus_save(vm, &sb);
	if (error == 0) {
		backend_detach(vm);
		error = backend_attach(vm, ops);
		if (error == 0) {
			error = vmm_state_load(vm, sb.buf, sb.len);
			if (error != 0)
				backend_detach(vm);
		}
		if (error != 0 &&
		    (backend_attach(vm, old) != 0 ||
			vmm_state_load(vm, sb.buf, sb.len) != 0))
			vmm_log("%s: no processor is left", vm->name);
	}
	vmm_sbuf_free(&sb);
	return (error);
}

static int
backend_choose(struct vm *vm, const struct vmm_ops **ops)
{
	const char *why = NULL;
	int error;

	*ops = &vmm_ops_soft;
	if (strcmp(vm->backend, "soft") != 0) {
		if (strcmp(vm->backend, "auto") == 0 &&
		    vmm_ops_kvm.probe_auto != NULL)
			error = vmm_ops_kvm.probe_auto(&why);
		else
			error = vmm_ops_kvm.probe(&why);
		if (error == 0) {
			*ops = &vmm_ops_kvm;
			return (0);
		}
		if (strcmp(vm->backend, "kvm") == 0) {
			vmm_set_error("KVM cannot be used: %s",
			    why != NULL ? why : strerror(error));
			return (error);
		}
		vm->fallback = why != NULL ? why : strerror(error);
	}
	error = vmm_ops_soft.probe(&why);
	if (error != 0)
		vmm_set_error("the software processor cannot be used: %s",
		    why != NULL ? why : strerror(error));
	return (error);
}

static int
select_backend_held(struct vm *vm)
{
	const struct vmm_ops *ops;
	int error;

	if (vm->selected)
		return (0);
	error = backend_choose(vm, &ops);
	if (error == 0 && ops != vm->ops) {
		error = backend_switch(vm, ops);
		if (error != 0 && strcmp(vm->backend, "auto") == 0) {
			vm->fallback = strerror(error);
			error = 0;
		} else if (error != 0) {
			vmm_set_error("%s cannot take the VM: %s", ops->name,
			    strerror(error));
		}
	}
	vm->selected = error == 0;
	return (error);
}

int
vmm_select_backend(struct vm *vm)
{
	int error;

	if (vm->selected)
		return (0);
	pthread_rwlock_wrlock(&vm->rwlock);
	vcpu_lock_all(vm);
	error = select_backend_held(vm);
	vcpu_unlock_all(vm);
	pthread_rwlock_unlock(&vm->rwlock);
	return (error);
}

int
vmm_start(struct vm *vm)
{
	struct vcpu *vcpu;
	int error;

	if (vm->started)
		return (0);
	pthread_rwlock_wrlock(&vm->rwlock);
	vcpu_lock_all(vm);
	error = vm->started ? 0 : select_backend_held(vm);
	if (error == 0 && !vm->started) {
		if (vm->fallback != NULL)
			vmm_log("KVM is not usable (%s): running on the "
				"software processor",
			    vm->fallback);
		if (!vm->paused)
			vmm_time_run(vm);
		vm->started = true;
		for (int i = 0; i < VM_MAXCPU; i++)
			if ((vcpu = vmm_vcpu(vm, i)) != NULL)
				vcpu_sync_tsc(vcpu);
	}
	vcpu_unlock_all(vm);
	pthread_rwlock_unlock(&vm->rwlock);
	return (error);
}

/* ---- VMs ---- */

static void
chips_cleanup(struct vm *vm)
{
	if (vm->vhpet != NULL)
		vhpet_cleanup(vm->vhpet);
	if (vm->vatpit != NULL)
		vatpit_cleanup(vm->vatpit);
	if (vm->vrtc != NULL)
		vrtc_cleanup(vm->vrtc);
	if (vm->vpmtmr != NULL)
		vpmtmr_cleanup(vm->vpmtmr);
	if (vm->vatpic != NULL)
		vatpic_cleanup(vm->vatpic);
	if (vm->vioapic != NULL)
		vioapic_cleanup(vm->vioapic);
}

static int
chips_init(struct vm *vm)
{
	vm->vioapic = vioapic_init(vm);
	vm->vatpic = vatpic_init(vm);
	vm->vhpet = vhpet_init(vm);
	vm->vatpit = vatpit_init(vm);
	vm->vpmtmr = vpmtmr_init(vm);
	vm->vrtc = vrtc_init(vm);
	if (vm->vioapic == NULL || vm->vatpic == NULL || vm->vhpet == NULL ||
	    vm->vatpit == NULL || vm->vpmtmr == NULL || vm->vrtc == NULL)
		return (ENOMEM);
	return (0);
}

static void
vm_free(struct vm *vm)
{
	struct vcpu *vcpu;

	ppt_cleanup(vm);
	if (vm->ops != NULL)
		backend_detach(vm);
	chips_cleanup(vm);
	for (int i = 0; i < VM_MAXCPU; i++) {
		if ((vcpu = vmm_vcpu(vm, i)) == NULL)
			continue;
		pthread_mutex_destroy(&vcpu->mtx);
		pthread_mutex_destroy(&vcpu->ev_mtx);
		pthread_cond_destroy(&vcpu->cond);
		free(vcpu);
	}
	vmm_mem_cleanup(vm);
	pthread_rwlock_destroy(&vm->rwlock);
	pthread_mutex_destroy(&vm->mtx);
	pthread_cond_destroy(&vm->cond);
	free(vm->name);
	free(vm);
}

int
vmm_create(const char *name, const char *backend, struct vm **retvm)
{
	pthread_rwlockattr_t attr;
	struct vm *vm;
	int error;

	if (backend == NULL && default_backend[0] != '\0')
		backend = default_backend;
	if (backend == NULL)
		backend = getenv("BHYVE_BACKEND");
	if (backend == NULL || backend[0] == '\0')
		backend = "auto";
	if (!backend_name_ok(backend)) {
		vmm_set_error(
		    "backend \"%.20s\": it is auto, kvm or soft", backend);
		return (EINVAL);
	}
	vmm_stat_init();
	vm = calloc(1, sizeof(*vm));
	if (vm == NULL || (vm->name = strdup(name)) == NULL) {
		free(vm);
		return (ENOMEM);
	}
	strcpy(vm->backend, backend);
	/* A stream of readers must not keep a writer out. */
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(
	    &attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&vm->rwlock, &attr);
	pthread_rwlockattr_destroy(&attr);
	pthread_mutex_init(&vm->mtx, NULL);
	pthread_cond_init(&vm->cond, NULL);
	vm->sockets = vm->cores = vm->threads = 1;
	vm->maxcpus = VM_MAXCPU;
	vm->suspend_source = -1;
	vmm_time_init(vm);
	error = vmm_mem_init(vm);
	if (error == 0)
		error = chips_init(vm);
	if (error == 0)
		error = backend_attach(vm, &vmm_ops_soft);
	if (error != 0) {
		vm_free(vm);
		return (error);
	}
	*retvm = vm;
	return (0);
}

/* No thread may be inside the VM or come back to it, but for vCPUs that
 * still run: they are driven out. */
void
vmm_destroy(struct vm *vm)
{
	vmm_suspend(vm, VM_SUSPEND_DESTROY, -1);
	vmm_resume(vm);
	vcpu_lock_all(vm);
	vmm_time_stop(vm);
	vm_free(vm);
}

/* The caller has the VM's write hold. */
int
vmm_reinit(struct vm *vm)
{
	struct vcpu *vcpu;

	ppt_unassign_all(vm);
	vmm_mem_reinit(vm);
	atomic_store(&vm->suspend, VM_SUSPEND_NONE);
	vm->suspend_source = -1;
	atomic_store(&vm->active_cpus, 0);
	atomic_store(&vm->debug_cpus, 0);
	atomic_store(&vm->suspended_cpus, 0);
	atomic_store(&vm->halted_cpus, 0);
	vioapic_reset(vm->vioapic);
	vatpic_reset(vm->vatpic);
	vhpet_reset(vm->vhpet);
	vatpit_reset(vm->vatpit);
	vpmtmr_reset(vm->vpmtmr);
	vrtc_reset(vm->vrtc);
	for (int i = 0; i < VM_MAXCPU; i++) {
		if ((vcpu = vmm_vcpu(vm, i)) == NULL)
			continue;
		atomic_fetch_and(
		    &vcpu->pending, ~(VCPU_EV_SUSPEND | VCPU_EV_DEBUG));
		/* What the processor counts itself is counted up to here. */
		if (vm->ops->stats != NULL)
			vm->ops->stats(vcpu->cookie);
		for (int s = 0; s < MAX_VMM_STAT_ELEMS; s++)
			atomic_store(&vcpu->stats[s], 0);
		vcpu_time_reset(vcpu);
		vmm_vcpu_reset(vcpu, false);
	}
	return (0);
}

const char *
vmm_name(struct vm *vm)
{
	return (vm->name);
}

const struct vmm_ops *
vmm_vm_ops(struct vm *vm)
{
	return (vm->ops);
}

void *
vmm_vm_cookie(struct vm *vm)
{
	return (vm->cookie);
}

/* ---- vCPUs ---- */

struct vcpu *
vmm_vcpu(struct vm *vm, int vcpuid)
{
	if (vcpuid < 0 || vcpuid >= VM_MAXCPU)
		return (NULL);
	return (atomic_load_explicit(&vm->vcpu[vcpuid], memory_order_acquire));
}

/* As vmm_alloc_vcpu(), for a thread with a hold on the VM. */
struct vcpu *
vmm_alloc_vcpu_held(struct vm *vm, int vcpuid)
{
	pthread_condattr_t attr;
	struct vcpu *vcpu;
	int error;

	if (vcpuid < 0 || vcpuid >= vm->maxcpus) {
		errno = EINVAL;
		return (NULL);
	}
	if ((vcpu = vmm_vcpu(vm, vcpuid)) != NULL)
		return (vcpu);
	pthread_mutex_lock(&vm->mtx);
	if ((vcpu = vmm_vcpu(vm, vcpuid)) != NULL) {
		pthread_mutex_unlock(&vm->mtx);
		return (vcpu);
	}
	vcpu = calloc(1, sizeof(*vcpu));
	error = ENOMEM;
	if (vcpu != NULL) {
		vcpu->vm = vm;
		vcpu->vcpuid = vcpuid;
		vcpu->lasthostcpu = -1;
		atomic_store(&vcpu->hostcpu, -1);
		pthread_mutex_init(&vcpu->mtx, NULL);
		pthread_mutex_init(&vcpu->ev_mtx, NULL);
		pthread_condattr_init(&attr);
		pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
		pthread_cond_init(&vcpu->cond, &attr);
		pthread_condattr_destroy(&attr);
		error = vcpu_attach(vcpu);
	}
	if (error != 0) {
		pthread_mutex_unlock(&vm->mtx);
		free(vcpu);
		errno = error;
		return (NULL);
	}
	if (atomic_load(&vm->suspend) != VM_SUSPEND_NONE)
		atomic_fetch_or(&vcpu->pending, VCPU_EV_SUSPEND);
	vmm_vcpu_reset(vcpu, false);
	atomic_store_explicit(&vm->vcpu[vcpuid], vcpu, memory_order_release);
	pthread_mutex_unlock(&vm->mtx);
	return (vcpu);
}

struct vcpu *
vmm_alloc_vcpu(struct vm *vm, int vcpuid)
{
	struct vcpu *vcpu;

	if ((vcpu = vmm_vcpu(vm, vcpuid)) != NULL)
		return (vcpu);
	/* Not while somebody has all vCPUs frozen. */
	pthread_rwlock_rdlock(&vm->rwlock);
	vcpu = vmm_alloc_vcpu_held(vm, vcpuid);
	pthread_rwlock_unlock(&vm->rwlock);
	return (vcpu);
}

uint16_t
vmm_get_maxcpus(struct vm *vm)
{
	return (vm->maxcpus);
}

void
vmm_get_topology(struct vm *vm, uint16_t *sockets, uint16_t *cores,
    uint16_t *threads, uint16_t *maxcpus)
{
	*sockets = vm->sockets;
	*cores = vm->cores;
	*threads = vm->threads;
	*maxcpus = vm->maxcpus;
}

/* maxcpus 0 (FreeBSD: not supported) and VM_MAXCPU mean the same. */
int
vmm_set_topology(struct vm *vm, uint16_t sockets, uint16_t cores,
    uint16_t threads, uint16_t maxcpus)
{
	if (maxcpus != 0 && maxcpus != VM_MAXCPU)
		return (EINVAL);
	if (sockets == 0 || cores == 0 || threads == 0 ||
	    (uint64_t)sockets * cores * threads > vm->maxcpus)
		return (EINVAL);
	vm->sockets = sockets;
	vm->cores = cores;
	vm->threads = threads;
	return (0);
}

int
vcpu_vcpuid(struct vcpu *vcpu)
{
	return (vcpu->vcpuid);
}

struct vm *
vcpu_vm(struct vcpu *vcpu)
{
	return (vcpu->vm);
}

void *
vcpu_cookie(struct vcpu *vcpu)
{
	return (vcpu->cookie);
}

struct vlapic *
vm_lapic(struct vcpu *vcpu)
{
	return (vcpu->vlapic);
}

struct vioapic *
vm_ioapic(struct vm *vm)
{
	return (vm->vioapic);
}

struct vhpet *
vm_hpet(struct vm *vm)
{
	return (vm->vhpet);
}

struct vatpic *
vm_atpic(struct vm *vm)
{
	return (vm->vatpic);
}

struct vatpit *
vm_atpit(struct vm *vm)
{
	return (vm->vatpit);
}

struct vpmtmr *
vm_pmtmr(struct vm *vm)
{
	return (vm->vpmtmr);
}

struct vrtc *
vm_rtc(struct vm *vm)
{
	return (vm->vrtc);
}

/* ---- registers ---- */

int
vmm_get_register(struct vcpu *vcpu, int reg, uint64_t *val)
{
	if (reg < 0 || reg >= VM_REG_LAST)
		return (EINVAL);
	if (reg == VM_REG_GUEST_TPR && vcpu->vlapic != NULL) {
		*val = vlapic_get_cr8(vcpu->vlapic);
		return (0);
	}
	return (vcpu->vm->ops->getreg(vcpu->cookie, reg, val));
}

int
vmm_set_register(struct vcpu *vcpu, int reg, uint64_t val)
{
	if (reg < 0 || reg >= VM_REG_LAST)
		return (EINVAL);
	if (reg == VM_REG_GUEST_TPR && vcpu->vlapic != NULL) {
		vlapic_set_cr8(vcpu->vlapic, val);
		return (0);
	}
	/* Whoever moves a halted processor means it to run there. */
	if (reg == VM_REG_GUEST_RIP)
		atomic_store(&vcpu->halted, false);
	return (vcpu->vm->ops->setreg(vcpu->cookie, reg, val));
}

static bool
is_desc_reg(int reg)
{
	return (reg >= VM_REG_GUEST_ES && reg <= VM_REG_GUEST_GDTR);
}

int
vmm_get_seg_desc(struct vcpu *vcpu, int reg, struct seg_desc *desc)
{
	if (!is_desc_reg(reg))
		return (EINVAL);
	return (vcpu->vm->ops->getdesc(vcpu->cookie, reg, desc));
}

int
vmm_set_seg_desc(struct vcpu *vcpu, int reg, const struct seg_desc *desc)
{
	if (!is_desc_reg(reg))
		return (EINVAL);
	return (vcpu->vm->ops->setdesc(vcpu->cookie, reg, desc));
}

/* Power-on values, Intel SDM 3A table 9-1, in an order that a processor
 * accepts coming from long mode. */
static const struct {
	int reg;
	uint64_t val;
} reset_regs[] = {
	{ VM_REG_GUEST_CR4, 0 },
	{ VM_REG_GUEST_EFER, 0 },
	{ VM_REG_GUEST_CR3, 0 },
	{ VM_REG_GUEST_CR2, 0 },
	{ VM_REG_GUEST_RFLAGS, 2 },
	{ VM_REG_GUEST_RIP, 0xfff0 },
	{ VM_REG_GUEST_RAX, 0 },
	{ VM_REG_GUEST_RBX, 0 },
	{ VM_REG_GUEST_RCX, 0 },
	{ VM_REG_GUEST_RDX, 0xf00 },
	{ VM_REG_GUEST_RSI, 0 },
	{ VM_REG_GUEST_RDI, 0 },
	{ VM_REG_GUEST_RBP, 0 },
	{ VM_REG_GUEST_RSP, 0 },
	{ VM_REG_GUEST_R8, 0 },
	{ VM_REG_GUEST_R9, 0 },
	{ VM_REG_GUEST_R10, 0 },
	{ VM_REG_GUEST_R11, 0 },
	{ VM_REG_GUEST_R12, 0 },
	{ VM_REG_GUEST_R13, 0 },
	{ VM_REG_GUEST_R14, 0 },
	{ VM_REG_GUEST_R15, 0 },
	{ VM_REG_GUEST_DR0, 0 },
	{ VM_REG_GUEST_DR1, 0 },
	{ VM_REG_GUEST_DR2, 0 },
	{ VM_REG_GUEST_DR3, 0 },
	{ VM_REG_GUEST_DR6, 0xffff0ff0 },
	{ VM_REG_GUEST_DR7, 0x400 },
	{ VM_REG_GUEST_CS, 0xf000 },
	{ VM_REG_GUEST_DS, 0 },
	{ VM_REG_GUEST_ES, 0 },
	{ VM_REG_GUEST_FS, 0 },
	{ VM_REG_GUEST_GS, 0 },
	{ VM_REG_GUEST_SS, 0 },
	{ VM_REG_GUEST_LDTR, 0 },
	{ VM_REG_GUEST_TR, 0 },
	{ VM_REG_GUEST_INTR_SHADOW, 0 },
};

static const struct {
	int reg;
	struct seg_desc desc;
} reset_descs[] = {
	{ VM_REG_GUEST_CS, { 0xffff0000, 0xffff, 0x93 } },
	{ VM_REG_GUEST_DS, { 0, 0xffff, 0x93 } },
	{ VM_REG_GUEST_ES, { 0, 0xffff, 0x93 } },
	{ VM_REG_GUEST_FS, { 0, 0xffff, 0x93 } },
	{ VM_REG_GUEST_GS, { 0, 0xffff, 0x93 } },
	{ VM_REG_GUEST_SS, { 0, 0xffff, 0x93 } },
	{ VM_REG_GUEST_LDTR, { 0, 0xffff, 0x82 } },
	{ VM_REG_GUEST_TR, { 0, 0xffff, 0x8b } },
	{ VM_REG_GUEST_GDTR, { 0, 0xffff, 0 } },
	{ VM_REG_GUEST_IDTR, { 0, 0xffff, 0 } },
};

/* The caller holds the vCPU frozen, or nobody else knows it yet. */
int
vmm_vcpu_reset(struct vcpu *vcpu, bool init)
{
	const struct vmm_ops *ops = vcpu->vm->ops;
	uint64_t cr0;
	int error;

	if (ops->getreg(vcpu->cookie, VM_REG_GUEST_CR0, &cr0) != 0)
		cr0 = 0;
	/* INIT leaves the cache bits CD and NW alone. */
	cr0 = init ? (cr0 & 0x60000000) | 0x10 : 0x60000010;
	error = ops->setreg(vcpu->cookie, VM_REG_GUEST_CR0, cr0);
	for (size_t i = 0;
	     error == 0 && i < sizeof(reset_regs) / sizeof(reset_regs[0]); i++)
		error = ops->setreg(
		    vcpu->cookie, reset_regs[i].reg, reset_regs[i].val);
	for (size_t i = 0;
	     error == 0 && i < sizeof(reset_descs) / sizeof(reset_descs[0]);
	     i++)
		error = ops->setdesc(
		    vcpu->cookie, reset_descs[i].reg, &reset_descs[i].desc);
	if (error == 0 && ops->vcpu_reset != NULL)
		error = ops->vcpu_reset(vcpu->cookie, init);
	/* All TSCs go on together, whenever each processor started. */
	if (!init) {
		vcpu->tsc_delta = 0;
		vcpu_sync_tsc(vcpu);
	}
	if (vcpu->vlapic != NULL)
		vlapic_reset(vcpu->vlapic, init);
	vmm_msr_reset(vcpu, init);
	vmm_event_reset(vcpu);
	atomic_store(&vcpu->halted, false);
	if (!init)
		vcpu_init_run_state(vcpu);
	return (error);
}
