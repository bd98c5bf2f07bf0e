/*
 * The exit handlers of bhyve, called with made-up exits: argv[1] names one;
 * "amd" behind it makes the guest's processor one of theirs.
 * Prints what the handler returns; its lines are on stderr.
 */
#include <stdio.h>
#include <string.h>

#include "bhyverun.h"
#include "config.h"
#include "gdb.h"
#include "inout.h"
#include "mem.h"
#include "vmexit.h"
#include "vmmapi.h"

/* ---- what stands around the handlers ---- */

int
vcpu_id(struct vcpu *vcpu)
{
	return (3);
}

static bool amd_guests;

bool
vm_amd_guests(struct vmctx *ctx)
{
	return (amd_guests);
}

int
vm_get_register(struct vcpu *vcpu, int reg, uint64_t *val)
{
	*val = 0x1234;
	return (0);
}

int
vm_set_register(struct vcpu *vcpu, int reg, uint64_t val)
{
	return (-1);
}

int
vm_inject_exception(struct vcpu *vcpu, int vector, int errcode_valid,
    uint32_t errcode, int restart_instruction)
{
	printf("exception %d %d\n", vector, errcode_valid);
	return (0);
}

int
emulate_inout(struct vmctx *ctx, struct vm_inout *io, int strict)
{
	return (strict ? -1 : 0);
}

int
emulate_mem(
    struct vcpu *vcpu, uint64_t gpa, bool read, int bytes, uint64_t *data)
{
	*data = ~0UL;
	return (-1);
}

bool
gdb_cpu_suspend(struct vcpu *vcpu)
{
	return (false);
}

bool
gdb_cpu_mtrap(struct vcpu *vcpu)
{
	return (false);
}

bool
gdb_cpu_breakpoint(struct vcpu *vcpu, const struct vm_exit *vme)
{
	return (false);
}

bool
gdb_cpu_watch(struct vcpu *vcpu, const struct vm_exit *vme)
{
	return (false);
}

void
bhyve_stop(int status)
{
	printf("stop %d\n", status);
}

/* ---- exits ---- */

static const struct {
	const char *name;
	struct vm_exit vme;
} exits[] = {
	{ "vmx",
	    { .exitcode = VM_EXITCODE_VMX,
		.rip = 0xfff0,
		.inst_length = 2,
		.u.vmx = { .status = 9,
		    .exit_reason = 0x80000021,
		    .exit_qualification = 0x55,
		    .inst_type = 4,
		    .inst_error = 7 } } },
	{ "vmx-unknown",
	    { .exitcode = VM_EXITCODE_VMX, .u.vmx.exit_reason = 0xffff } },
	{ "svm",
	    { .exitcode = VM_EXITCODE_SVM,
		.rip = 0xfff0,
		.u.vmx = { .status = 9,
		    .exit_reason = 0x400,
		    .exit_qualification = 0x55 } } },
	{ "inst-emul",
	    { .exitcode = VM_EXITCODE_INST_EMUL,
		.rip = 0x1000,
		.u.inst_emul = { .num_bytes = 3,
		    .bytes = { 0x0f, 0x0b, 0xc3 } } } },
	{ "inst-emul-no-bytes",
	    { .exitcode = VM_EXITCODE_INST_EMUL, .rip = 0x1000 } },
	{ "mtrap", { .exitcode = VM_EXITCODE_MTRAP } },
	{ "bpt", { .exitcode = VM_EXITCODE_BPT } },
	{ "db", { .exitcode = VM_EXITCODE_DB } },
	{ "no-such-exit", { .exitcode = 0x7f } },
	{ "bogus", { .exitcode = VM_EXITCODE_BOGUS } },
	{ "reqidle", { .exitcode = VM_EXITCODE_REQIDLE } },
	{ "rendezvous", { .exitcode = VM_EXITCODE_RENDEZVOUS } },
	{ "eoi", { .exitcode = VM_EXITCODE_IOAPIC_EOI } },
	{ "hlt", { .exitcode = VM_EXITCODE_HLT } },
	{ "pause", { .exitcode = VM_EXITCODE_PAUSE } },
	{ "mwait", { .exitcode = VM_EXITCODE_MWAIT } },
	{ "outw",
	    { .exitcode = VM_EXITCODE_INOUT,
		.u.inout = { .port = 0x80, .bytes = 2 } } },
	{ "mmio",
	    { .exitcode = VM_EXITCODE_MMIO,
		.u.mmio = { .gpa = 0x1000000000, .read = 1, .bytes = 4 } } },
	{ "rdmsr", { .exitcode = VM_EXITCODE_RDMSR, .u.msr.code = 0x1234567 } },
	{ "rdmsr-known",
	    { .exitcode = VM_EXITCODE_RDMSR, .u.msr.code = 0x17 } },
	{ "rdmsr-hwcr",
	    { .exitcode = VM_EXITCODE_RDMSR, .u.msr.code = 0xc0010015 } },
	{ "wrmsr-hwcr",
	    { .exitcode = VM_EXITCODE_WRMSR, .u.msr.code = 0xc0010015 } },
	{ "wrmsr-uncore",
	    { .exitcode = VM_EXITCODE_WRMSR, .u.msr.code = 0xd04 } },
	{ "suspend-none", { .exitcode = VM_EXITCODE_SUSPENDED } },
	{ "suspend-reset",
	    { .exitcode = VM_EXITCODE_SUSPENDED,
		.u.suspended.how = VM_SUSPEND_RESET } },
	{ "suspend-halt",
	    { .exitcode = VM_EXITCODE_SUSPENDED,
		.u.suspended.how = VM_SUSPEND_HALT } },
	{ "suspend-99",
	    { .exitcode = VM_EXITCODE_SUSPENDED, .u.suspended.how = 99 } },
};

int
main(int argc, char **argv)
{
	struct vm_entry next = { .cmd = VEC_DEFAULT };
	size_t i;

	init_config();
	set_defaults();
	set_config_bool("x86.strictio", true);
	vmexit_init();
	for (i = 0; i < sizeof(exits) / sizeof(exits[0]); i++) {
		if (argc < 2 || strcmp(argv[1], exits[i].name) != 0)
			continue;
		amd_guests = argc == 3 && strcmp(argv[2], "amd") == 0;
		printf("returns %d\n",
		    vmexit_dispatch(NULL, NULL, &exits[i].vme, &next));
		printf("enters %u\n", (unsigned int)next.cmd);
		return (0);
	}
	fprintf(stderr, "no such exit\n");
	return (2);
}
