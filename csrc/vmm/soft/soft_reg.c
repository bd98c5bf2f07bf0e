/*
 * Registers by number (vmm_ops getreg, setreg, getdesc, setdesc) and the
 * capabilities.  Called with the vCPU frozen, or by its own thread.
 */
#include <errno.h>

#include "sys_local.h"
#include "vlapic.h"

/* VM_REG_GUEST_RAX..R15 without RSP, in the order of the numbers. */
static const uint8_t reg_gpr[] = { R_AX, R_BX, R_CX, R_DX, R_SI, R_DI, R_BP, 8,
	9, 10, 11, 12, 13, 14, 15 };

/* ES CS SS DS FS GS have the same order as S_*. */
static struct softseg *
reg_seg(struct softcpu *cpu, int reg)
{
	if (reg >= VM_REG_GUEST_ES && reg <= VM_REG_GUEST_GS)
		return (&cpu->seg[reg - VM_REG_GUEST_ES]);
	if (reg == VM_REG_GUEST_LDTR)
		return (&cpu->ldtr);
	return (reg == VM_REG_GUEST_TR ? &cpu->tr : NULL);
}

/* Registers that are one word of struct softcpu. */
static uint64_t *
reg_word(struct softcpu *cpu, int reg)
{
	if (reg >= 0 && reg <= VM_REG_GUEST_R15)
		return (&cpu->gpr[reg_gpr[reg]]);
	if (reg >= VM_REG_GUEST_PDPTE0 && reg <= VM_REG_GUEST_PDPTE3)
		return (&cpu->pdpte[reg - VM_REG_GUEST_PDPTE0]);
	if (reg >= VM_REG_GUEST_DR0 && reg <= VM_REG_GUEST_DR3)
		return (&cpu->dr[reg - VM_REG_GUEST_DR0]);
	switch (reg) {
	case VM_REG_GUEST_RSP:
		return (&cpu->gpr[R_SP]);
	case VM_REG_GUEST_RIP:
		return (&cpu->rip);
	case VM_REG_GUEST_CR0:
		return (&cpu->cr0);
	case VM_REG_GUEST_CR2:
		return (&cpu->cr2);
	case VM_REG_GUEST_CR3:
		return (&cpu->cr3);
	case VM_REG_GUEST_CR4:
		return (&cpu->cr4);
	case VM_REG_GUEST_EFER:
		return (&cpu->efer);
	case VM_REG_GUEST_DR6:
		return (&cpu->dr[6]);
	case VM_REG_GUEST_DR7:
		return (&cpu->dr[7]);
	case VM_REG_GUEST_FS_BASE:
		return (&cpu->seg[S_FS].base);
	case VM_REG_GUEST_GS_BASE:
		return (&cpu->seg[S_GS].base);
	case VM_REG_GUEST_KGS_BASE:
		return (&cpu->kgsbase);
	case VM_REG_GUEST_XCR0:
		return (&cpu->fpu.xcr0);
	default:
		return (NULL);
	}
}

int
soft_getreg(void *vcpui, int reg, uint64_t *val)
{
	struct softcpu *cpu = vcpui;
	struct vlapic *vlapic;
	uint64_t *word;
	struct softseg *seg;

	if ((word = reg_word(cpu, reg)) != NULL) {
		*val = *word;
		return (0);
	}
	if ((seg = reg_seg(cpu, reg)) != NULL) {
		*val = seg->sel;
		return (0);
	}
	switch (reg) {
	case VM_REG_GUEST_RFLAGS:
		*val = soft_get_rflags(cpu);
		break;
	case VM_REG_GUEST_INTR_SHADOW:
		*val = cpu->intr_shadow != 0;
		break;
	case VM_REG_GUEST_ENTRY_INST_LENGTH:
		*val = cpu->entry_inst_len;
		break;
	case VM_REG_GUEST_TPR:
		vlapic = vm_lapic(cpu->vcpu);
		*val = vlapic != NULL ? vlapic_get_cr8(vlapic) : cpu->cr8;
		break;
	default:
		return (EINVAL);
	}
	return (0);
}

/* Things that follow from a register written from outside. */
static void
reg_changed(struct softcpu *cpu, int reg)
{
	switch (reg) {
	case VM_REG_GUEST_CR0:
	case VM_REG_GUEST_CR4:
	case VM_REG_GUEST_EFER:
		cpu->cr0 |= CR0_ET;
		soft_fpu_mode_update(cpu);
		/* FALLTHROUGH */
	case VM_REG_GUEST_CR3:
	case VM_REG_GUEST_PDPTE0:
	case VM_REG_GUEST_PDPTE1:
	case VM_REG_GUEST_PDPTE2:
	case VM_REG_GUEST_PDPTE3:
		soft_tlb_flush(cpu, false);
		break;
	case VM_REG_GUEST_DR0:
	case VM_REG_GUEST_DR1:
	case VM_REG_GUEST_DR2:
	case VM_REG_GUEST_DR3:
		sys_write_dr(cpu, reg - VM_REG_GUEST_DR0,
		    cpu->dr[reg - VM_REG_GUEST_DR0]);
		break;
	case VM_REG_GUEST_DR6:
		sys_write_dr(cpu, 6, cpu->dr[6]);
		break;
	case VM_REG_GUEST_DR7:
		sys_write_dr(cpu, 7, cpu->dr[7]);
		break;
	case VM_REG_GUEST_XCR0:
		soft_fpu_mode_update(cpu);
		break;
	default:
		break;
	}
	/* The privilege level is SS.DPL, as VMX has it. */
	if (cpu->rfl & FL_VM)
		cpu->cpl = 3;
	else
		cpu->cpl =
		    (cpu->cr0 & CR0_PE) ? AT_DPL(cpu->seg[S_SS].attr) : 0;
	soft_mode_update(cpu);
}

int
soft_setreg(void *vcpui, int reg, uint64_t val)
{
	struct softcpu *cpu = vcpui;
	struct vlapic *vlapic;
	uint64_t *word;
	struct softseg *seg;

	if ((word = reg_word(cpu, reg)) != NULL) {
		*word = val;
		/* The instruction there begins anew, without answers. */
		if (reg == VM_REG_GUEST_RIP)
			soft_io_commit(cpu);
		if (reg > VM_REG_GUEST_R15 && reg != VM_REG_GUEST_RSP &&
		    reg != VM_REG_GUEST_RIP && reg != VM_REG_GUEST_CR2)
			reg_changed(cpu, reg);
		return (0);
	}
	if ((seg = reg_seg(cpu, reg)) != NULL) {
		seg->sel = (uint16_t)val;
		return (0);
	}
	switch (reg) {
	case VM_REG_GUEST_RFLAGS:
		soft_set_rflags(cpu, val);
		reg_changed(cpu, reg);
		break;
	case VM_REG_GUEST_INTR_SHADOW:
		cpu->intr_shadow = val != 0;
		break;
	case VM_REG_GUEST_ENTRY_INST_LENGTH:
		if (val > 15)
			return (EINVAL);
		cpu->entry_inst_len = (uint8_t)val;
		break;
	case VM_REG_GUEST_TPR:
		if (val > 0xf)
			return (EINVAL);
		vlapic = vm_lapic(cpu->vcpu);
		if (vlapic != NULL)
			vlapic_set_cr8(vlapic, val);
		else
			cpu->cr8 = val;
		break;
	default:
		return (EINVAL);
	}
	return (0);
}

int
soft_getdesc(void *vcpui, int reg, struct seg_desc *desc)
{
	struct softcpu *cpu = vcpui;
	struct softseg *seg;

	desc->access = 0;
	if (reg == VM_REG_GUEST_IDTR) {
		desc->base = cpu->idtr.base;
		desc->limit = cpu->idtr.limit;
	} else if (reg == VM_REG_GUEST_GDTR) {
		desc->base = cpu->gdtr.base;
		desc->limit = cpu->gdtr.limit;
	} else if ((seg = reg_seg(cpu, reg)) != NULL) {
		desc->base = seg->base;
		desc->limit = seg->limit;
		desc->access = seg->attr;
	} else
		return (EINVAL);
	return (0);
}

int
soft_setdesc(void *vcpui, int reg, const struct seg_desc *desc)
{
	struct softcpu *cpu = vcpui;
	struct softseg *seg;

	if (reg == VM_REG_GUEST_IDTR) {
		cpu->idtr.base = desc->base;
		cpu->idtr.limit = desc->limit & 0xffff;
	} else if (reg == VM_REG_GUEST_GDTR) {
		cpu->gdtr.base = desc->base;
		cpu->gdtr.limit = desc->limit & 0xffff;
	} else if ((seg = reg_seg(cpu, reg)) != NULL) {
		seg->base = desc->base;
		seg->limit = desc->limit;
		seg->attr = desc->access & 0x1f0ff;
		reg_changed(cpu, reg);
	} else
		return (EINVAL);
	return (0);
}

int
soft_getcap(void *vcpui, int type, int *val)
{
	struct softcpu *cpu = vcpui;

	switch (type) {
	case VM_CAP_HALT_EXIT:
	case VM_CAP_MTRAP_EXIT:
	case VM_CAP_PAUSE_EXIT:
	case VM_CAP_BPT_EXIT:
	case VM_CAP_MASK_HWINTR:
	case VM_CAP_RFLAGS_TF:
		*val = (cpu->caps >> type) & 1;
		return (0);
	case VM_CAP_UNRESTRICTED_GUEST:
	case VM_CAP_RDPID:
	case VM_CAP_RDTSCP:
		*val = 1;
		return (0);
	case VM_CAP_ENABLE_INVPCID:
		*val = 0;
		return (0);
	default:
		return (ENOENT);
	}
}

int
soft_setcap(void *vcpui, int type, int val)
{
	struct softcpu *cpu = vcpui;
	int now, error;

	error = soft_getcap(cpu, type, &now);
	if (error != 0)
		return (error);
	switch (type) {
	case VM_CAP_UNRESTRICTED_GUEST:
	case VM_CAP_ENABLE_INVPCID:
	case VM_CAP_RDPID:
	case VM_CAP_RDTSCP:
		/* Part of the processor, or not. */
		return ((val != 0) == (now != 0) ? 0 : EOPNOTSUPP);
	default:
		cpu->caps = (uint16_t)((cpu->caps & ~(1u << type)) |
		    ((val != 0 ? 1u : 0u) << type));
		return (0);
	}
}
