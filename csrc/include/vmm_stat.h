/*
 * Per-vCPU counters (spec section 8).  A counter is declared once with
 * VMM_STAT in the file that counts it, and registers itself in vmm_stat_set.
 * Order in the output is registration order: vmm_stat.c holds the common
 * counters in bhyvectl's order.  Counters are written by the vCPU's own
 * thread or atomically by others; they may be read at any time.
 */
#ifndef _VMM_STAT_H_
#define _VMM_STAT_H_

#include <stdatomic.h>
#include <stdint.h>

#include "linker_set.h"

struct vm;
struct vcpu;

#define MAX_VMM_STAT_ELEMS 256

enum vmm_stat_scope {
	VMM_STAT_SCOPE_ANY,
	VMM_STAT_SCOPE_KVM,
	VMM_STAT_SCOPE_SOFT,
};

struct vmm_stat_type {
	int nelems;
	enum vmm_stat_scope scope;
	const char *desc;
	/* Computes the value when it is read; NULL for plain counters. */
	uint64_t (*func)(struct vcpu *vcpu);
	int *index; /* first slot, set by vmm_stat_init() */
};

#define VMM_STAT_DEFINE(type, nelems, desc, scope, func)                      \
	int type##_index = -1;                                                \
	static const struct vmm_stat_type type##_def = { nelems, scope, desc, \
		func, &type##_index };                                        \
	DATA_SET(vmm_stat_set, type##_def)
#define VMM_STAT(type, desc) \
	VMM_STAT_DEFINE(type, 1, desc, VMM_STAT_SCOPE_ANY, 0)
#define VMM_STAT_ARRAY(type, nelems, desc) \
	VMM_STAT_DEFINE(type, nelems, desc, VMM_STAT_SCOPE_ANY, 0)
#define VMM_STAT_FUNC(type, desc, func) \
	VMM_STAT_DEFINE(type, 1, desc, VMM_STAT_SCOPE_ANY, func)
#define VMM_STAT_KVM(type, desc) \
	VMM_STAT_DEFINE(type, 1, desc, VMM_STAT_SCOPE_KVM, 0)
#define VMM_STAT_SOFT(type, desc) \
	VMM_STAT_DEFINE(type, 1, desc, VMM_STAT_SCOPE_SOFT, 0)
#define VMM_STAT_DECLARE(type) extern int type##_index

_Atomic uint64_t *vcpu_stats(struct vcpu *vcpu);

#define vmm_stat_incr(vcpu, type, delta)                           \
	atomic_fetch_add_explicit(&vcpu_stats(vcpu)[type##_index], \
	    (uint64_t)(delta), memory_order_relaxed)
#define vmm_stat_array_incr(vcpu, type, idx, delta)                        \
	atomic_fetch_add_explicit(&vcpu_stats(vcpu)[type##_index + (idx)], \
	    (uint64_t)(delta), memory_order_relaxed)
#define vmm_stat_set(vcpu, type, val)                          \
	atomic_store_explicit(&vcpu_stats(vcpu)[type##_index], \
	    (uint64_t)(val), memory_order_relaxed)

/* An exit of a kind that the processor serves itself. */
#define vmm_stat_inside(vcpu, type)                   \
	do {                                          \
		vmm_stat_incr(vcpu, type, 1);         \
		vmm_stat_incr(vcpu, VMEXIT_COUNT, 1); \
	} while (0)

/* Counters of the core that backends count too (defined in vmm_stat.c). */
VMM_STAT_DECLARE(VCPU_MIGRATIONS);
VMM_STAT_DECLARE(VMEXIT_COUNT);
VMM_STAT_DECLARE(VMEXIT_EXTINT);
VMM_STAT_DECLARE(VMEXIT_HLT);
VMM_STAT_DECLARE(VMEXIT_CR_ACCESS);
VMM_STAT_DECLARE(VMEXIT_RDMSR);
VMM_STAT_DECLARE(VMEXIT_WRMSR);
VMM_STAT_DECLARE(VMEXIT_MTRAP);
VMM_STAT_DECLARE(VMEXIT_PAUSE);
VMM_STAT_DECLARE(VMEXIT_INTR_WINDOW);
VMM_STAT_DECLARE(VMEXIT_NMI_WINDOW);
VMM_STAT_DECLARE(VMEXIT_INOUT);
VMM_STAT_DECLARE(VMEXIT_CPUID);
VMM_STAT_DECLARE(VMEXIT_NESTED_FAULT);
VMM_STAT_DECLARE(VMEXIT_INST_EMUL);
VMM_STAT_DECLARE(VMEXIT_UNKNOWN);
VMM_STAT_DECLARE(VMEXIT_ASTPENDING);
VMM_STAT_DECLARE(VMEXIT_REQIDLE);
VMM_STAT_DECLARE(VMEXIT_USERSPACE);
VMM_STAT_DECLARE(VMEXIT_RENDEZVOUS);
VMM_STAT_DECLARE(VMEXIT_EXCEPTION);
VMM_STAT_DECLARE(VMEXIT_RUN_STATE);
VMM_STAT_DECLARE(VCPU_IDLE_TICKS); /* ns asleep in HLT, by the processor */
VMM_STAT_DECLARE(VCPU_NMI_COUNT);
VMM_STAT_DECLARE(VCPU_EXTINT_COUNT);

#endif
