/*
 * The local APIC of a vCPU (csrc/vmm/io/vlapic*.c), Intel SDM 3A chapter 11.
 * Used where the backend has none of its own (soft).
 */
#ifndef _VLAPIC_H_
#define _VLAPIC_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vcpu;
struct vlapic;
struct vm;

#define DEFAULT_APIC_BASE 0xfee00000UL

/* Local vector table entries, in FreeBSD's numbering. */
#define APIC_LVT_LINT0 0
#define APIC_LVT_LINT1 1
#define APIC_LVT_TIMER 2
#define APIC_LVT_ERROR 3
#define APIC_LVT_PMC 4
#define APIC_LVT_THERMAL 5
#define APIC_LVT_CMCI 6
#define APIC_LVT_MAX APIC_LVT_CMCI

struct vlapic *vlapic_init(struct vcpu *vcpu);
void vlapic_cleanup(struct vlapic *vlapic);
void vlapic_reset(struct vlapic *vlapic, bool init); /* RESET or INIT */

/* Register page access; offset 0..0xfff.  Return 0 or EINVAL (#GP in
 * x2APIC mode; in xAPIC mode bad accesses only set the ESR). */
int vlapic_mmio_read(
    struct vlapic *vlapic, uint64_t offset, uint64_t *data, int size);
int vlapic_mmio_write(
    struct vlapic *vlapic, uint64_t offset, uint64_t data, int size);
int vlapic_msr_read(struct vlapic *vlapic, uint32_t msr, uint64_t *val);
int vlapic_msr_write(struct vlapic *vlapic, uint32_t msr, uint64_t val);
uint64_t vlapic_get_apicbase(struct vlapic *vlapic);
int vlapic_set_apicbase(struct vlapic *vlapic, uint64_t val); /* EINVAL #GP */
/* The checks alone, for a local APIC of another's; bits that are fixed are
 * put right in *newval. */
int vlapic_check_apicbase(struct vcpu *vcpu, uint64_t old, uint64_t *newval);
bool vlapic_enabled(struct vlapic *vlapic); /* base bit and SVR bit */

/* Highest deliverable vector above PPR, or false. */
bool vlapic_pending_intr(struct vlapic *vlapic, int *vecptr);
void vlapic_intr_accepted(struct vlapic *vlapic, int vector);
/* True when LINT0 lets the 8259's INTR through to this vCPU. */
bool vlapic_extint_enabled(struct vlapic *vlapic);
/* Set IRR; any thread.  Returns true when the vCPU must be notified. */
bool vlapic_set_intr_ready(struct vlapic *vlapic, int vector, bool level);
void vlapic_set_error(struct vlapic *vlapic, uint32_t mask);
int vlapic_trigger_lvt(struct vlapic *vlapic, int lvt);
/* CR8 view of the TPR. */
uint64_t vlapic_get_cr8(struct vlapic *vlapic);
void vlapic_set_cr8(struct vlapic *vlapic, uint64_t val);

/* Deliver a message to the VM's local APICs (IOAPIC, MSI).  delmode stands
 * as in a redirection entry or a message: bits 10:8. */
void vlapic_deliver_intr(
    struct vm *vm, bool level, uint32_t dest, bool phys, int delmode, int vec);
/* True when such a message would fall together with one that waits. */
bool vlapic_intr_waits(
    struct vm *vm, uint32_t dest, bool phys, int delmode, int vec);
void vlapic_calcdest(struct vm *vm, uint64_t *dmask, uint32_t dest, bool phys,
    bool lowprio, bool x2apic_dest);

/* VDC_LAPIC: 4 KiB register page, then APIC base, timer state, pending ESR. */
struct vdi_lapic_v1 {
	uint32_t page[1024];
	uint64_t apic_base;
	int64_t timer_target; /* vmm_now() ns, 0: not armed */
	uint64_t timer_tsc_deadline;
	uint32_t esr_pending;
	uint32_t pad;
};
int vlapic_data_read(struct vlapic *vlapic, void *buf, size_t len);
int vlapic_data_write(struct vlapic *vlapic, const void *buf, size_t len);

#endif
