/*
 * Events on their way into a vCPU: exceptions, NMI, external interrupts, and
 * what becomes of an exception that meets another one (Intel SDM 3A 6.15).
 */
#include <errno.h>

#include "vchips.h"
#include "vlapic.h"
#include "vmm_local.h"

#define IDT_NMI 2
#define IDT_DF 8
#define IDT_PF 14
#define CR0_PE 0x1u
#define PSL_I 0x200u

void
vmm_event_reset(struct vcpu *vcpu)
{
	pthread_mutex_lock(&vcpu->ev_mtx);
	atomic_store(&vcpu->nmi_pending, false);
	atomic_store(&vcpu->extint_pending, false);
	vcpu->exc_pending = false;
	vcpu->exitintinfo = 0;
	pthread_mutex_unlock(&vcpu->ev_mtx);
}

int
vmm_inject_nmi(struct vcpu *vcpu)
{
	atomic_store(&vcpu->nmi_pending, true);
	vcpu_post(vcpu, VCPU_EV_EVENT);
	return (0);
}

bool
vmm_nmi_pending(struct vcpu *vcpu)
{
	return (atomic_load(&vcpu->nmi_pending));
}

void
vmm_nmi_clear(struct vcpu *vcpu)
{
	if (atomic_exchange(&vcpu->nmi_pending, false))
		vmm_stat_incr(vcpu, VCPU_NMI_COUNT, 1);
}

int
vmm_inject_extint(struct vcpu *vcpu)
{
	atomic_store(&vcpu->extint_pending, true);
	vcpu_post(vcpu, VCPU_EV_EVENT);
	return (0);
}

bool
vmm_extint_pending(struct vcpu *vcpu)
{
	return (atomic_load(&vcpu->extint_pending));
}

void
vmm_extint_clear(struct vcpu *vcpu)
{
	if (atomic_exchange(&vcpu->extint_pending, false))
		vmm_stat_incr(vcpu, VCPU_EXTINT_COUNT, 1);
}

/* The caller holds the vCPU frozen or runs it. */
int
vmm_inject_exception(struct vcpu *vcpu, int vector, bool errcode_valid,
    uint32_t errcode, bool restart_instruction)
{
	uint64_t cr0;
	int error = 0;

	if (vector < 0 || vector >= 32)
		return (EINVAL);
	/* A double fault comes of nested faults, an NMI by its own call. */
	if (vector == IDT_DF || vector == IDT_NMI)
		return (EINVAL);
	/* Real mode pushes no error codes. */
	if (errcode_valid &&
	    vmm_get_register(vcpu, VM_REG_GUEST_CR0, &cr0) == 0 &&
	    (cr0 & CR0_PE) == 0)
		errcode_valid = false;

	pthread_mutex_lock(&vcpu->ev_mtx);
	if (vcpu->exc_pending) {
		error = EBUSY;
	} else {
		vcpu->exc_pending = true;
		vcpu->exc_vector = (uint8_t)vector;
		vcpu->exc_errcode = errcode;
		vcpu->exc_errcode_valid = errcode_valid;
	}
	pthread_mutex_unlock(&vcpu->ev_mtx);
	if (error != 0)
		return (error);

	/* Delivery ends the shadow of STI and MOV SS. */
	vmm_set_register(vcpu, VM_REG_GUEST_INTR_SHADOW, 0);
	if (restart_instruction)
		vmm_restart_instruction(vcpu);
	vcpu_post(vcpu, VCPU_EV_EVENT);
	return (0);
}

int
vmm_exit_intinfo(struct vcpu *vcpu, uint64_t info)
{
	uint64_t type = info & VM_INTINFO_TYPE;
	uint64_t vector = VM_INTINFO_VECTOR(info);

	if ((info & VM_INTINFO_VALID) != 0) {
		if (type == VM_INTINFO_NMI && vector != IDT_NMI)
			return (EINVAL);
		if (type == VM_INTINFO_HWEXCEPTION && vector >= 32)
			return (EINVAL);
		if ((info & VM_INTINFO_RSVD) != 0)
			return (EINVAL);
	} else {
		info = 0;
	}
	pthread_mutex_lock(&vcpu->ev_mtx);
	vcpu->exitintinfo = info;
	pthread_mutex_unlock(&vcpu->ev_mtx);
	if (info != 0)
		vcpu_post(vcpu, VCPU_EV_EVENT);
	return (0);
}

enum exc_class { EXC_BENIGN, EXC_CONTRIBUTORY, EXC_PAGEFAULT };

static enum exc_class
exception_class(uint64_t info)
{
	uint64_t type = info & VM_INTINFO_TYPE;

	if (type == VM_INTINFO_SWINTR || type == VM_INTINFO_HWINTR ||
	    type == VM_INTINFO_NMI)
		return (EXC_BENIGN);
	switch (VM_INTINFO_VECTOR(info)) {
	case IDT_PF:
	case 20: /* #VE */
		return (EXC_PAGEFAULT);
	case 0:	 /* #DE */
	case 10: /* #TS */
	case 11: /* #NP */
	case 12: /* #SS */
	case 13: /* #GP */
		return (EXC_CONTRIBUTORY);
	default:
		return (EXC_BENIGN);
	}
}

uint64_t
vmm_nested_fault(uint64_t being_delivered, uint64_t raised)
{
	enum exc_class first, second;

	if ((being_delivered & VM_INTINFO_VALID) == 0)
		return (raised);
	if ((raised & VM_INTINFO_VALID) == 0)
		return (being_delivered);
	first = exception_class(being_delivered);
	second = exception_class(raised);
	if ((being_delivered & VM_INTINFO_TYPE) == VM_INTINFO_HWEXCEPTION &&
	    VM_INTINFO_VECTOR(being_delivered) == IDT_DF &&
	    second != EXC_BENIGN)
		return (0);
	if ((first == EXC_CONTRIBUTORY && second == EXC_CONTRIBUTORY) ||
	    (first == EXC_PAGEFAULT && second != EXC_BENIGN))
		return (IDT_DF | VM_INTINFO_VALID | VM_INTINFO_HWEXCEPTION |
		    VM_INTINFO_DEL_ERRCODE);
	/* Benign: the second is handled, the first comes again by itself. */
	return (raised);
}

static uint64_t
exception_info(struct vcpu *vcpu)
{
	uint64_t info;

	if (!vcpu->exc_pending)
		return (0);
	info = vcpu->exc_vector | VM_INTINFO_VALID | VM_INTINFO_HWEXCEPTION;
	if (vcpu->exc_errcode_valid)
		info |=
		    VM_INTINFO_DEL_ERRCODE | (uint64_t)vcpu->exc_errcode << 32;
	return (info);
}

bool
vmm_entry_intinfo(struct vcpu *vcpu, uint64_t *retinfo)
{
	uint64_t info1, info2, info;

	pthread_mutex_lock(&vcpu->ev_mtx);
	info1 = vcpu->exitintinfo;
	info2 = exception_info(vcpu);
	vcpu->exitintinfo = 0;
	vcpu->exc_pending = false;
	pthread_mutex_unlock(&vcpu->ev_mtx);

	info = vmm_nested_fault(info1, info2);
	if (info1 != 0 && info2 != 0 && info == 0)
		vmm_suspend(vcpu->vm, VM_SUSPEND_TRIPLEFAULT, vcpu->vcpuid);
	*retinfo = info;
	return ((info & VM_INTINFO_VALID) != 0);
}

int
vmm_get_intinfo(struct vcpu *vcpu, uint64_t *pending, uint64_t *current)
{
	pthread_mutex_lock(&vcpu->ev_mtx);
	*pending = vcpu->exitintinfo;
	*current = exception_info(vcpu);
	pthread_mutex_unlock(&vcpu->ev_mtx);
	return (0);
}

/*
 * The 8259 reaches a processor through LINT0 of our local APIC, or, where
 * the processor has a local APIC of its own, that one decides.
 */
static bool
pic_reaches(struct vcpu *vcpu)
{
	if (vcpu->vlapic == NULL)
		return (vcpu->vcpuid == 0 || vmm_extint_pending(vcpu));
	return (
	    vmm_extint_pending(vcpu) || vlapic_extint_enabled(vcpu->vlapic));
}

int
vmm_intr_pending(struct vcpu *vcpu)
{
	int vector;

	if (pic_reaches(vcpu)) {
		if (vatpic_pending_intr(vcpu->vm, &vector)) {
			vcpu->ext_is_pic = true;
			return (vector);
		}
		/* The request went away before it was taken. */
		atomic_store(&vcpu->extint_pending, false);
	}
	vcpu->ext_is_pic = false;
	if (vcpu->vlapic != NULL && vlapic_pending_intr(vcpu->vlapic, &vector))
		return (vector);
	return (-1);
}

void
vmm_intr_accepted(struct vcpu *vcpu, int vector)
{
	if (vcpu->ext_is_pic) {
		vcpu->ext_is_pic = false;
		atomic_store(&vcpu->extint_pending, false);
		vmm_stat_incr(vcpu, VCPU_EXTINT_COUNT, 1);
		vatpic_intr_accepted(vcpu->vm, vector);
	} else if (vcpu->vlapic != NULL) {
		vlapic_intr_accepted(vcpu->vlapic, vector);
	}
	/* There may be another one: look again. */
	atomic_fetch_or(&vcpu->pending, VCPU_EV_EVENT);
}

/* Would an event end a HLT?  Also says whether interrupts are enabled. */
bool
vmm_event_deliverable(struct vcpu *vcpu, bool *intr_enabled)
{
	uint64_t rflags = 0;
	bool other;

	vmm_get_register(vcpu, VM_REG_GUEST_RFLAGS, &rflags);
	*intr_enabled = (rflags & PSL_I) != 0;
	if (vmm_nmi_pending(vcpu))
		return (true);
	pthread_mutex_lock(&vcpu->ev_mtx);
	other = vcpu->exc_pending || vcpu->exitintinfo != 0;
	pthread_mutex_unlock(&vcpu->ev_mtx);
	return (other || (*intr_enabled && vmm_intr_pending(vcpu) >= 0));
}
