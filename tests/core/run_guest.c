/*
 * Runs a guest of tests/guests: run_guest BACKEND guest.elf.  The guest starts
 * as multiboot says, its bytes for COM1 go to stdout; 0 when it ended by the
 * triple fault that is its way to shut down.
 */
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm.h"

#define MEM (16u << 20)
#define COM1 0x3f8
#define MAX_EXITS 2000000

static void
check(int error, const char *what)
{
	if (error == 0)
		return;
	fprintf(stderr, "%s: %s\n", what, strerror(error));
	exit(2);
}

static uint32_t
load_elf(struct vm *vm, const char *path)
{
	static uint8_t image[1 << 20];
	Elf32_Ehdr eh;
	Elf32_Phdr ph;
	size_t n;
	FILE *f;

	f = fopen(path, "rb");
	if (f == NULL) {
		perror(path);
		exit(2);
	}
	n = fread(image, 1, sizeof(image), f);
	fclose(f);
	memcpy(&eh, image, sizeof(eh));
	for (unsigned i = 0; i < eh.e_phnum; i++) {
		memcpy(&ph, image + eh.e_phoff + i * sizeof(ph), sizeof(ph));
		if (ph.p_type != PT_LOAD)
			continue;
		if (ph.p_offset + ph.p_filesz > n)
			check(22, path);
		check(vmm_gpa_write(
			  vm, ph.p_paddr, image + ph.p_offset, ph.p_filesz),
		    "load");
	}
	return (eh.e_entry);
}

static void
multiboot(struct vcpu *vcpu, uint32_t entry)
{
	struct seg_desc code = { 0, ~0u, 0xc09b };
	struct seg_desc data = { 0, ~0u, 0xc093 };

	check(vmm_vcpu_reset(vcpu, false), "reset");
	check(vmm_set_register(vcpu, VM_REG_GUEST_CR0, 0x31), "cr0");
	for (int reg = VM_REG_GUEST_ES; reg <= VM_REG_GUEST_GS; reg++) {
		check(vmm_set_seg_desc(
			  vcpu, reg, reg == VM_REG_GUEST_CS ? &code : &data),
		    "descriptor");
		check(vmm_set_register(
			  vcpu, reg, reg == VM_REG_GUEST_CS ? 8 : 16),
		    "selector");
	}
	check(vmm_set_register(vcpu, VM_REG_GUEST_RAX, 0x2badb002), "rax");
	check(vmm_set_register(vcpu, VM_REG_GUEST_RIP, entry), "rip");
	check(vmm_activate_cpu(vcpu), "activate");
	vcpu_set_run_state(vcpu, VRS_RUN, 0);
}

/* Answer one exit; true: the guest is done. */
static bool
serve(struct vcpu *vcpu, const struct vm_exit *vme, struct vm_entry *entry)
{
	memset(entry, 0, sizeof(*entry));
	switch (vme->exitcode) {
	case VM_EXITCODE_INOUT:
	case VM_EXITCODE_INOUT_STR:
		if (!vme->u.inout.in && vme->u.inout.port == COM1)
			putchar((int)vme->u.inout.eax);
		entry->cmd = VEC_FULFILL_INOUT;
		entry->u.inout = vme->u.inout;
		if (vme->u.inout.in)
			entry->u.inout.eax = ~0u;
		return (false);
	case VM_EXITCODE_RDMSR:
	case VM_EXITCODE_WRMSR:
		vmm_set_register(vcpu, VM_REG_GUEST_RIP, vme->rip);
		vmm_inject_exception(vcpu, 13, true, 0, true);
		return (false);
	case VM_EXITCODE_BOGUS:
		return (false);
	case VM_EXITCODE_SUSPENDED:
		return (true);
	default:
		fprintf(stderr, "exit %u at %lx\n", vme->exitcode,
		    (unsigned long)vme->rip);
		return (true);
	}
}

int
main(int argc, char **argv)
{
	struct vm_entry entry;
	struct vm_exit vme;
	struct vcpu *vcpu;
	struct vm *vm;
	long n;

	if (argc != 3)
		return (2);
	check(vmm_create("guest", argv[1], &vm), "create");
	check(vmm_alloc_memseg(vm, VM_SYSMEM, MEM, ""), "memory");
	check(vmm_mmap_memseg(vm, 0, VM_SYSMEM, 0, MEM, VM_PROT_ALL, 0), "map");
	vcpu = vmm_alloc_vcpu(vm, 0);
	if (vcpu == NULL)
		check(12, "vcpu");
	multiboot(vcpu, load_elf(vm, argv[2]));
	memset(&entry, 0, sizeof(entry));
	for (n = 0; n < MAX_EXITS; n++) {
		check(vmm_run(vcpu, &entry, &vme), "run");
		if (serve(vcpu, &vme, &entry))
			break;
	}
	fflush(stdout);
	vmm_destroy(vm);
	return (vme.exitcode == VM_EXITCODE_SUSPENDED &&
		    vme.u.suspended.how == VM_SUSPEND_TRIPLEFAULT
		? 0
		: 1);
}
