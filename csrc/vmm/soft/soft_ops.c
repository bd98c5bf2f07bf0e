/*
 * The software processor behind vmm_ops: its VM and vCPU objects, the memory
 * map's changes, counters.
 */
#include <sys/mman.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "soft_core_local.h"
#include "vmm_stat.h"

VMM_STAT_SOFT(SOFT_BLOCKS, "Blocks decoded");
VMM_STAT_SOFT(SOFT_FLUSHES, "Block cache flushes");
VMM_STAT_SOFT(SOFT_KILLS, "Blocks killed by stores");
VMM_STAT_SOFT(SOFT_TLB_FLUSHES, "Software TLB flushes");
VMM_STAT_SOFT(SOFT_WALKS, "Page table walks");
VMM_STAT_SOFT(SOFT_SHOOTDOWNS, "Write-TLB shoot-downs for new code");
VMM_STAT_SOFT(SOFT_TRANSLATED, "Blocks translated");

static void
fold(_Atomic uint64_t *slots, int index, uint64_t *n)
{
	if (*n == 0)
		return;
	atomic_fetch_add_explicit(&slots[index], *n, memory_order_relaxed);
	*n = 0;
}

/* Add what was counted since the last exit to the vCPU's counters. */
void
soft_stat_fold(struct softcpu *cpu)
{
	_Atomic uint64_t *s = vcpu_stats(cpu->vcpu);
	struct soft_core *co = cpu->core;

	fold(s, SOFT_BLOCKS_index, &co->st_blocks);
	fold(s, SOFT_FLUSHES_index, &co->st_flush);
	fold(s, SOFT_KILLS_index, &co->st_kill);
	fold(s, SOFT_TLB_FLUSHES_index, &co->st_tlbflush);
	fold(s, SOFT_WALKS_index, &co->st_walk);
	fold(s, SOFT_SHOOTDOWNS_index, &co->st_wait);
	fold(s, SOFT_TRANSLATED_index, &co->st_jit);
}

struct softvm *
softvm_create(struct vm *vm, bool stepper)
{
	struct softvm *svm;

	decode_init();
	svm = calloc(1, sizeof(*svm));
	if (svm == NULL)
		return (NULL);
	svm->vm = vm;
	svm->stepper = stepper;
	pthread_mutex_init(&svm->lock, NULL);
	pthread_mutex_init(&svm->code_lock, NULL);
	return (svm);
}

void
softvm_destroy(struct softvm *svm)
{
	cp_fini(svm);
	pthread_mutex_destroy(&svm->lock);
	pthread_mutex_destroy(&svm->code_lock);
	free(svm);
}

/* NULL with errno set. */
struct softcpu *
softcpu_create(struct softvm *svm, struct vcpu *vcpu, int vcpuid)
{
	const size_t size = sizeof(struct softcpu) + sizeof(struct soft_core);
	struct softcpu *cpu;
	int error;

	/* Zeroed pages; the core's part follows, aligned like a page. */
	cpu = mmap(NULL, size, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (cpu == MAP_FAILED)
		return (NULL);
	cpu->core = (struct soft_core *)(void *)(cpu + 1);
	cpu->vcpu = vcpu;
	cpu->vm = svm->vm;
	cpu->svm = svm;
	cpu->vcpuid = vcpuid;
	cpu->pending = vcpu_pending(vcpu);
	cpu->gpr[R_BIG] = 1u << 30;
	pthread_mutex_init(&cpu->core->req_lock, NULL);
	error = tlb_init(cpu);
	if (error == 0)
		error = block_init(cpu);
	if (error != 0) {
		munmap(cpu, size);
		errno = error;
		return (NULL);
	}
	soft_reset(cpu, false);
	soft_mode_update(cpu);
	atomic_store(&svm->cpus[vcpuid], cpu);
	return (cpu);
}

void
softcpu_destroy(struct softcpu *cpu)
{
	atomic_store(&cpu->svm->cpus[cpu->vcpuid], NULL);
	block_fini(cpu);
	pthread_mutex_destroy(&cpu->core->req_lock);
	munmap(cpu, sizeof(struct softcpu) + sizeof(struct soft_core));
}

static int
soft_probe(const char **why)
{
	*why = NULL;
	return (0);
}

static void *
soft_init(struct vm *vm)
{
	struct softvm *svm = softvm_create(vm, false);

	if (svm == NULL) {
		errno = ENOMEM;
		return (NULL);
	}
	vmm_set_write_hook(vm, code_hook, svm);
	return (svm);
}

static void
soft_cleanup(void *vmi)
{
	struct softvm *svm = vmi;

	vmm_set_write_hook(svm->vm, NULL, NULL);
	softvm_destroy(svm);
}

static void *
soft_vcpu_init(void *vmi, struct vcpu *vcpu, int vcpuid)
{
	return (softcpu_create(vmi, vcpu, vcpuid));
}

static void
soft_vcpu_cleanup(void *vcpui)
{
	softcpu_destroy(vcpui);
}

/* run() looks at vcpu_pending() at every block: nothing more to do. */
static void
soft_kick(void *vcpui)
{
	(void)vcpui;
}

static int
soft_getfpu(void *vcpui, void *buf, size_t *len)
{
	size_t n = soft_fpu_get(vcpui, buf, *len);

	if (n == 0)
		return (ENOSPC);
	*len = n;
	return (0);
}

static int
soft_setfpu(void *vcpui, const void *buf, size_t len)
{
	return (soft_fpu_set(vcpui, buf, len) ? 0 : EINVAL);
}

static int
soft_vcpu_reset(void *vcpui, bool init)
{
	struct softcpu *cpu = vcpui;

	/* A loader may have filled memory behind our back. */
	if (!init)
		block_flush(cpu);
	soft_io_commit(cpu);
	cpu->dr6_pending = 0;
	cpu->event_now = 0;
	cpu->core->intr_wait = cpu->core->nmi_wait = false;
	cpu->core->intr_shut = false;
	cpu->core->want_step = false;
	soft_reset(cpu, init);
	soft_mode_update(cpu);
	soft_tlb_flush(cpu, false);
	return (0);
}

static int
soft_get_tsc_offset(void *vcpui, uint64_t *offset)
{
	const struct softcpu *cpu = vcpui;

	*offset = cpu->tsc_offset;
	return (0);
}

static int
soft_set_tsc_offset(void *vcpui, uint64_t offset)
{
	struct softcpu *cpu = vcpui;

	cpu->tsc_offset = offset;
	return (0);
}

/*
 * Memory comes or goes.  Every vCPU forgets its translations and blocks; one
 * that runs is waited for, so that a mapping that goes is not in use.
 */
static int
soft_memmap(void *vmi, vm_paddr_t gpa, size_t len, void *hva, int prot)
{
	struct softvm *svm = vmi;
	uint64_t seq[VM_MAXCPU] = { 0 };
	struct softcpu *cpu;

	(void)gpa;
	(void)len;
	(void)hva;
	(void)prot;
	for (int i = 0; i < VM_MAXCPU; i++)
		if ((cpu = atomic_load(&svm->cpus[i])) != NULL)
			seq[i] = req_post(cpu, REQ_ALL, 0, 0);
	for (int i = 0; i < VM_MAXCPU; i++)
		if ((cpu = atomic_load(&svm->cpus[i])) != NULL)
			req_wait(NULL, cpu, seq[i]);
	return (0);
}

const struct vmm_ops vmm_ops_soft = {
	.name = "soft",
	.probe = soft_probe,
	.init = soft_init,
	.cleanup = soft_cleanup,
	.vcpu_init = soft_vcpu_init,
	.vcpu_cleanup = soft_vcpu_cleanup,
	.run = soft_run,
	.kick = soft_kick,
	.getreg = soft_getreg,
	.setreg = soft_setreg,
	.getdesc = soft_getdesc,
	.setdesc = soft_setdesc,
	.getcap = soft_getcap,
	.setcap = soft_setcap,
	.setdebug = soft_setdebug,
	.getmsr = soft_getmsr,
	.setmsr = soft_setmsr,
	.getfpu = soft_getfpu,
	.setfpu = soft_setfpu,
	.vcpu_reset = soft_vcpu_reset,
	.memmap = soft_memmap,
	.dma_begin = soft_dma_begin,
	.dma_written = soft_dma_written,
	.cpuid_mask = soft_cpuid_mask,
	.get_tsc_offset = soft_get_tsc_offset,
	.set_tsc_offset = soft_set_tsc_offset,
};
