/*
 * Delivery of interrupts and exceptions in every mode: the RFLAGS image,
 * real mode and virtual-8086 mode vectors, and what each kind of event
 * changes besides the transfer itself.  Protected mode gates: idt_gate.c.
 */
#include "sys_local.h"

/* Faults push RF = 1, so that the restarted instruction does not hit its own
 * breakpoint again; #DB and traps push RF as it stands. */
#define FAULT_VECTORS                                                        \
	(1u << X_DE | 1u << X_BR | 1u << X_UD | 1u << X_NM | 1u << X_TS |    \
	    1u << X_NP | 1u << X_SS | 1u << X_GP | 1u << X_PF | 1u << X_MF | \
	    1u << X_AC | 1u << X_XM)

/* Transfer by a real mode vector; v86 says that the frame is a virtual-8086
 * one whose IF is VIF (CR4.VME). */
static bool
deliver_vector(
    struct softcpu *cpu, const struct idt_event *ev, uint64_t table, bool vme)
{
	struct sysstk k;
	uint64_t frame[3];
	uint32_t vec;

	if (!soft_sys_ld(cpu, table + 4u * ev->vector, 4, &vec))
		return (false);
	frame[0] = ev->flags & 0xffff;
	if (vme) {
		frame[0] |= FL_IOPL;
		frame[0] &= ~(uint64_t)FL_IF;
		if (cpu->rfl & FL_VIF)
			frame[0] |= FL_IF;
	}
	frame[1] = cpu->seg[S_CS].sel;
	frame[2] = (uint16_t)(cpu->rip + ev->len);
	sys_stk_cur(cpu, &k);
	if ((uint16_t)vec > cpu->seg[S_CS].limit)
		return (sys_fail(cpu, X_GP, 0));
	if (!sys_stk_push(cpu, &k, 2, frame, 3, 0))
		return (false);
	sys_set_sp(cpu, &k, k.sp);
	sys_real_seg(cpu, S_CS, (uint16_t)(vec >> 16));
	cpu->rip = (uint16_t)vec;
	cpu->rfl &= ~(FL_TF | FL_RF);
	if (!vme)
		cpu->rfl &= ~FL_IF;
	else
		cpu->rfl &= ~FL_VIF;
	if (!(cpu->rfl & FL_VM))
		cpu->rfl &= ~FL_AC;
	return (true);
}

static bool
deliver_real(struct softcpu *cpu, const struct idt_event *ev)
{
	if (4u * ev->vector + 3u > cpu->idtr.limit)
		return (sys_fail(cpu, X_GP, ev->vector * 8u + 2u));
	return (deliver_vector(cpu, ev, cpu->idtr.base, false));
}

static int
v86_fault(struct softcpu *cpu)
{
	soft_raise_err(cpu, X_GP, 0);
	return (-1);
}

/*
 * INT n in virtual-8086 mode.  1: served by the virtual-8086 vector table,
 * 0: goes through the IDT, -1: fault.
 */
static int
deliver_v86(struct softcpu *cpu, const struct idt_event *ev)
{
	uint16_t map;
	uint8_t bits;

	if (cpu->cr4 & CR4_VME) {
		/* The redirection bitmap lies below the I/O bitmap. */
		if (cpu->tr.limit < 0x67)
			return (v86_fault(cpu));
		if (!soft_sys_ld(cpu, (uint32_t)(cpu->tr.base + 0x66), 2, &map))
			return (-1);
		if (map < 32 || (uint32_t)map - 1 > cpu->tr.limit)
			return (v86_fault(cpu));
		if (!soft_sys_ld(cpu,
			(uint32_t)(cpu->tr.base + map - 32 + ev->vector / 8), 1,
			&bits))
			return (-1);
		if (!(bits & (1u << (ev->vector & 7))))
			return (deliver_vector(cpu, ev, 0, sys_iopl(cpu) < 3)
				? 1
				: -1);
	}
	return (sys_iopl(cpu) < 3 ? v86_fault(cpu) : 0);
}

bool
idt_deliver(struct softcpu *cpu, struct idt_event *ev)
{
	int r;

	ev->flags = soft_get_rflags(cpu);
	if (ev->kind == IDT_EXC && ev->vector < 32 &&
	    (FAULT_VECTORS & (1u << ev->vector)))
		ev->flags |= FL_RF;
	ev->ext = (ev->kind == IDT_INTN || ev->kind == IDT_SWEXC) ? 0 : 1;
	if (!(cpu->cr0 & CR0_PE)) {
		if (!deliver_real(cpu, ev))
			return (false);
	} else {
		r = 0;
		if ((cpu->rfl & FL_VM) && ev->kind == IDT_INTN)
			r = deliver_v86(cpu, ev);
		if (r < 0 || (r == 0 && !idt_protected(cpu, ev)))
			return (false);
	}
	if (ev->vector == X_DB && (ev->kind == IDT_EXC))
		cpu->dr[7] &= ~(uint64_t)DR7_GD;
	cpu->intr_shadow = 0;
	soft_mode_update(cpu);
	return (true);
}

bool
soft_deliver(struct softcpu *cpu, uint64_t intinfo, bool software)
{
	struct idt_event ev = { .vector = VM_INTINFO_VECTOR(intinfo) };
	bool nmi;

	nmi = false;
	switch (intinfo & VM_INTINFO_TYPE) {
	case VM_INTINFO_NMI:
		nmi = true;
		ev.vector = X_NMI;
		ev.kind = IDT_HW;
		break;
	case VM_INTINFO_HWEXCEPTION:
		ev.kind = IDT_EXC;
		if (software || ev.vector == X_BP || ev.vector == X_OF) {
			/* Also what a debugger injects anew: rip stands at
			 * the instruction, its length was set apart. */
			ev.kind = IDT_SWEXC;
			ev.len = software ? 0 : cpu->entry_inst_len;
		}
		ev.has_err = (intinfo & VM_INTINFO_DEL_ERRCODE) != 0;
		ev.err = (uint32_t)(intinfo >> 32);
		break;
	case VM_INTINFO_SWINTR:
		ev.kind = IDT_INTN;
		break;
	default:
		ev.kind = IDT_HW;
		break;
	}
	if (!idt_deliver(cpu, &ev))
		return (false);
	cpu->entry_inst_len = 0;
	if (nmi)
		cpu->nmi_blocked = 1;
	return (true);
}
