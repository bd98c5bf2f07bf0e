/*
 * The register state in which a FreeBSD kernel is entered: long mode with
 * the loader's page tables, or flat 32-bit protected mode.
 */
#include <errno.h>
#include <string.h>

#include "vmmapi_local.h"

#define CR0_PE 0x00000001
#define CR0_NE 0x00000020
#define CR0_PG 0x80000000
#define CR4_PAE 0x20
#define EFER_LME 0x100
#define EFER_LMA 0x400

#define SEL_CODE 0x08
#define SEL_DATA 0x10
#define DESC_UNUSABLE 0x10000

#define SEL_TSS 0x18

#define TSS_OFFSET 0x1000 /* of the 32-bit TSS, from the GDT */
#define TSS_SIZE 104
/* A busy 32-bit TSS; its address is added. */
#define TSS_DESC (0x00008b0000000000 | (TSS_SIZE - 1))

static const uint64_t gdt64[] = { 0, 0x0020980000000000, 0x0000900000000000 };
static const uint64_t gdt32[] = { 0, 0x00cf9b000000ffff, 0x00cf93000000ffff,
	TSS_DESC };

struct entry_state {
	uint64_t cr0, cr3, cr4, efer, rip, rsp, gdtbase, tssbase;
	uint32_t limit, code_access, data_access, gdtsize, tsslimit, tss;
};

static int
set_segments(struct vcpu *vcpu, const struct entry_state *es)
{
	static const int data[] = { VM_REG_GUEST_DS, VM_REG_GUEST_ES,
		VM_REG_GUEST_FS, VM_REG_GUEST_GS, VM_REG_GUEST_SS };

	for (size_t i = 0; i < sizeof(data) / sizeof(data[0]); i++)
		if (vm_set_desc(vcpu, data[i], 0, es->limit, es->data_access) !=
			0 ||
		    vm_set_register(vcpu, data[i], SEL_DATA) != 0)
			return (-1);
	if (vm_set_desc(vcpu, VM_REG_GUEST_CS, 0, es->limit, es->code_access) !=
		0 ||
	    vm_set_register(vcpu, VM_REG_GUEST_CS, SEL_CODE) != 0 ||
	    vm_set_desc(
		vcpu, VM_REG_GUEST_TR, es->tssbase, es->tsslimit, 0x8b) != 0 ||
	    vm_set_register(vcpu, VM_REG_GUEST_TR, es->tss) != 0 ||
	    vm_set_desc(vcpu, VM_REG_GUEST_LDTR, 0, 0, DESC_UNUSABLE) != 0 ||
	    vm_set_register(vcpu, VM_REG_GUEST_LDTR, 0) != 0)
		return (-1);
	return (vm_set_desc(
	    vcpu, VM_REG_GUEST_GDTR, es->gdtbase, es->gdtsize - 1, 0));
}

static int
set_state(struct vcpu *vcpu, const struct entry_state *es)
{
	/* EFER and CR4 come before CR0 turns paging on. */
	if (vm_set_register(vcpu, VM_REG_GUEST_EFER, es->efer) != 0 ||
	    vm_set_register(vcpu, VM_REG_GUEST_CR4, es->cr4) != 0 ||
	    vm_set_register(vcpu, VM_REG_GUEST_CR3, es->cr3) != 0 ||
	    vm_set_register(vcpu, VM_REG_GUEST_CR0, es->cr0) != 0 ||
	    set_segments(vcpu, es) != 0 ||
	    vm_set_register(vcpu, VM_REG_GUEST_RFLAGS, 0x2) != 0 ||
	    vm_set_register(vcpu, VM_REG_GUEST_RSP, es->rsp) != 0)
		return (-1);
	return (vm_set_register(vcpu, VM_REG_GUEST_RIP, es->rip));
}

void
vm_setup_freebsd_gdt(uint64_t *gdtr)
{
	memcpy(gdtr, gdt64, sizeof(gdt64));
}

int
vm_setup_freebsd_registers(struct vcpu *vcpu, uint64_t rip, uint64_t cr3,
    uint64_t gdtbase, uint64_t rsp)
{
	struct entry_state es = { .cr0 = CR0_PE | CR0_PG | CR0_NE,
		.cr3 = cr3,
		.cr4 = CR4_PAE,
		.efer = EFER_LME | EFER_LMA,
		.rip = rip,
		.rsp = rsp,
		.gdtbase = gdtbase,
		.gdtsize = sizeof(gdt64),
		.limit = 0,
		.code_access = 0x209b,
		.data_access = 0x0093 };

	return (set_state(vcpu, &es));
}

int
vm_setup_freebsd_registers_i386(
    struct vcpu *vcpu, uint32_t eip, uint32_t gdtbase, uint32_t esp)
{
	struct entry_state es = { .cr0 = CR0_PE | CR0_NE,
		.rip = eip,
		.rsp = esp,
		.gdtbase = gdtbase,
		.gdtsize = sizeof(gdt32),
		.tssbase = gdtbase + TSS_OFFSET,
		.tsslimit = TSS_SIZE - 1,
		.tss = SEL_TSS,
		.limit = 0xffffffff,
		.code_access = 0xc09b,
		.data_access = 0xc093 };
	uint64_t *gdt;
	void *tss;

	gdt = vm_map_gpa(vcpu->ctx, gdtbase, sizeof(gdt32));
	tss = vm_map_gpa(vcpu->ctx, es.tssbase, TSS_SIZE);
	if (gdt == NULL || tss == NULL)
		return (vmapi_error(EFAULT));
	memcpy(gdt, gdt32, sizeof(gdt32));
	gdt[SEL_TSS / 8] |=
	    (es.tssbase & 0xffffff) << 16 | (es.tssbase & 0xff000000) << 32;
	memset(tss, 0, TSS_SIZE);
	vm_dirty_gpa(vcpu->ctx, gdtbase, sizeof(gdt32));
	vm_dirty_gpa(vcpu->ctx, es.tssbase, TSS_SIZE);
	return (set_state(vcpu, &es));
}
