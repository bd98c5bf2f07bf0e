/*
 * What the three files of the local APIC share.  The register page is an
 * array of atomic words: the vCPU's own thread (or whoever holds it frozen)
 * writes it, any thread reads the destination registers and sets IRR bits.
 */
#ifndef _VLAPIC_LOCAL_H_
#define _VLAPIC_LOCAL_H_

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "vlapic.h"
#include "vmm.h"

/* Register offsets (Intel SDM 3A table 11-1). */
#define APIC_ID 0x020
#define APIC_VERSION 0x030
#define APIC_TPR 0x080
#define APIC_APR 0x090
#define APIC_PPR 0x0a0
#define APIC_EOI 0x0b0
#define APIC_RRR 0x0c0
#define APIC_LDR 0x0d0
#define APIC_DFR 0x0e0
#define APIC_SVR 0x0f0
#define APIC_ISR0 0x100
#define APIC_TMR0 0x180
#define APIC_IRR0 0x200
#define APIC_ESR 0x280
#define APIC_CMCI_LVT 0x2f0
#define APIC_ICR_LOW 0x300
#define APIC_ICR_HI 0x310
#define APIC_TIMER_LVT 0x320
#define APIC_THERM_LVT 0x330
#define APIC_PERF_LVT 0x340
#define APIC_LINT0_LVT 0x350
#define APIC_LINT1_LVT 0x360
#define APIC_ERROR_LVT 0x370
#define APIC_TIMER_ICR 0x380
#define APIC_TIMER_CCR 0x390
#define APIC_TIMER_DCR 0x3e0
#define APIC_SELF_IPI 0x3f0

#define LVT_VECTOR 0xffu
#define LVT_DELMODE 0x700u
#define LVT_DELMODE_SHIFT 8
#define LVT_MASKED 0x10000u
#define LVT_TIMER_MODE 0x60000u
#define LVT_TIMER_PERIODIC 0x20000u
#define LVT_TIMER_TSCDLT 0x40000u

#define SVR_ENABLE 0x100u
#define SVR_WRITABLE 0x3ffu /* vector, enable, focus */

/* Delivery modes. */
#define DELMODE_FIXED 0
#define DELMODE_LOWPRIO 1
#define DELMODE_SMI 2
#define DELMODE_RR 3
#define DELMODE_NMI 4
#define DELMODE_INIT 5
#define DELMODE_STARTUP 6
#define DELMODE_EXTINT 7

#define ESR_SEND_ILLEGAL 0x20u
#define ESR_RECV_ILLEGAL 0x40u
#define ESR_ILLEGAL_REG 0x80u

#define APICBASE_BSP 0x100u
#define APICBASE_X2APIC 0x400u
#define APICBASE_ENABLED 0x800u

#define MSR_APICBASE 0x01b
#define MSR_TSC 0x010
#define MSR_TSC_DEADLINE 0x6e0
#define MSR_X2APIC_FIRST 0x800
#define MSR_X2APIC_LAST 0x8ff

/* 128 MiHz, as bhyve's. */
#define VLAPIC_BUS_FREQ (128 * 1024 * 1024ULL)

struct vlapic {
	struct vm *vm;
	struct vcpu *vcpu;
	uint32_t id;
	/* Bit n: word n of the IRR may hold a bit; 0 means none does. */
	_Atomic uint32_t irr_words;
	_Atomic uint64_t apic_base;
	_Atomic uint32_t esr_pending;
	_Atomic uint32_t page[1024];

	/* The timer (vlapic_timer.c), under timer_mtx. */
	pthread_mutex_t timer_mtx;
	struct vmm_callout callout;
	bool timer_armed;
	uint32_t timer_count; /* the initial count that runs */
	int64_t timer_base;   /* vmm_now() of its start */
	uint64_t timer_tick;  /* periodic: ticks delivered since */
	int64_t timer_due;    /* of the next interrupt */
	uint64_t tsc_deadline;
};

static inline uint32_t
vlapic_reg(struct vlapic *vlapic, unsigned int offset)
{
	return (atomic_load_explicit(
	    &vlapic->page[offset / 4], memory_order_relaxed));
}

static inline void
vlapic_set_reg(struct vlapic *vlapic, unsigned int offset, uint32_t val)
{
	atomic_store_explicit(
	    &vlapic->page[offset / 4], val, memory_order_relaxed);
}

static inline bool
vlapic_hw_enabled(struct vlapic *vlapic)
{
	return (
	    (atomic_load_explicit(&vlapic->apic_base, memory_order_relaxed) &
		APICBASE_ENABLED) != 0);
}

static inline bool
vlapic_x2apic(struct vlapic *vlapic)
{
	const uint64_t both = APICBASE_ENABLED | APICBASE_X2APIC;

	return (
	    (atomic_load_explicit(&vlapic->apic_base, memory_order_relaxed) &
		both) == both);
}

/* Processor priority now (vlapic.c). */
uint32_t vlapic_ppr(struct vlapic *vlapic);
/* IRR and notification in one (vlapic.c). */
void vlapic_post(struct vlapic *vlapic, int vector, bool level);

/* vlapic_lvt.c */
struct vlapic_lvt {
	uint16_t offset;
	uint32_t writable;
};
extern const struct vlapic_lvt vlapic_lvt_table[APIC_LVT_MAX + 1];
int vlapic_lvt_of_offset(unsigned int offset); /* -1: not an LVT entry */
void vlapic_write_lvt(struct vlapic *vlapic, int lvt, uint32_t val);

/* vlapic_icr.c */
/* The ICR was written: send the message.  EINVAL: #GP in x2APIC mode. */
int vlapic_icr_write(struct vlapic *vlapic, uint32_t low, uint32_t dest);
void vlapic_self_ipi(struct vlapic *vlapic, uint32_t vector);

/* vlapic_timer.c */
void vlapic_timer_init(struct vlapic *vlapic);
void vlapic_timer_cleanup(struct vlapic *vlapic);
void vlapic_timer_reset(struct vlapic *vlapic);
void vlapic_timer_write_icr(struct vlapic *vlapic, uint32_t count);
void vlapic_timer_write_dcr(struct vlapic *vlapic, uint32_t dcr);
void vlapic_timer_write_lvt(struct vlapic *vlapic, uint32_t lvt);
uint32_t vlapic_timer_ccr(struct vlapic *vlapic);
uint64_t vlapic_timer_deadline(struct vlapic *vlapic);
void vlapic_timer_set_deadline(struct vlapic *vlapic, uint64_t tsc);
void vlapic_timer_save(struct vlapic *vlapic, struct vdi_lapic_v1 *out);
void vlapic_timer_load(struct vlapic *vlapic, const struct vdi_lapic_v1 *in);

#endif
