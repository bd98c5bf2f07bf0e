/*
 * Handlers of the exits that reach user space, one for each exit code.
 */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "bhyverun.h"
#include "config.h"
#include "debug.h"
#include "gdb.h"
#include "inout.h"
#include "mem.h"
#include "vmexit.h"
#include "vmmapi.h"

#define IDT_UD 6
#define IDT_GP 13

/* x86.* switches; set before the vCPUs start, then only read. */
static bool strictio, strictmsr, verbosemsr;

void
vmexit_init(void)
{
	strictio = get_config_bool_default("x86.strictio", false);
	strictmsr = get_config_bool_default("x86.strictmsr", true);
	verbosemsr = get_config_bool_default("x86.verbosemsr", false);
}

static int
vmexit_inout(struct vmctx *ctx, struct vcpu *vcpu, const struct vm_exit *vme,
    struct vm_entry *next)
{
	struct vm_inout *io = &next->u.inout;
	uint64_t rip;

	*io = vme->u.inout;
	if (emulate_inout(ctx, io, strictio) != 0) {
		/* vm_loop() does without the exit's own. */
		if (vm_get_register(vcpu, VM_REG_GUEST_RIP, &rip) != 0)
			rip = vme->rip;
		EPRINTLN("Unhandled %s%c 0x%04x at 0x%" PRIx64,
		    io->in ? "in" : "out",
		    io->bytes == 1	 ? 'b'
			: io->bytes == 2 ? 'w'
					 : 'l',
		    io->port, rip);
		return (VMEXIT_ABORT);
	}
	next->cmd = VEC_FULFILL_INOUT;
	return (VMEXIT_CONTINUE);
}

static int
vmexit_mmio(struct vmctx *ctx, struct vcpu *vcpu, const struct vm_exit *vme,
    struct vm_entry *next)
{
	struct vm_mmio *mmio = &next->u.mmio;
	uint64_t data;

	*mmio = vme->u.mmio;
	data = mmio->data;
	/* A hole in the map reads as ones and swallows writes, as a bus. */
	if (emulate_mem(vcpu, mmio->gpa, mmio->read, mmio->bytes, &data) != 0)
		GUEST_LOG("Unhandled memory access to 0x%" PRIx64, mmio->gpa);
	mmio->data = data;
	next->cmd = VEC_FULFILL_MMIO;
	return (VMEXIT_CONTINUE);
}

/* The exception is the instruction's answer: it restarts there. */
static int
inject_fault(struct vcpu *vcpu, int vector, int errcode_valid)
{
	if (vm_inject_exception(vcpu, vector, errcode_valid, 0, 1) != 0) {
		EPRINTLN("vcpu %d: cannot inject exception %d", vcpu_id(vcpu),
		    vector);
		return (VMEXIT_FAIL);
	}
	return (VMEXIT_CONTINUE);
}

static int
vmexit_rdmsr(struct vmctx *ctx, struct vcpu *vcpu, const struct vm_exit *vme,
    struct vm_entry *next)
{
	uint64_t val;

	val = 0;
	if (emulate_rdmsr(ctx, vme->u.msr.code, &val) != 0) {
		if (strictmsr || verbosemsr)
			GUEST_LOG("rdmsr to register 0x%x on vcpu %d",
			    vme->u.msr.code, vcpu_id(vcpu));
		if (strictmsr)
			return (inject_fault(vcpu, IDT_GP, 1));
	}
	if (vm_set_register(vcpu, VM_REG_GUEST_RAX, (uint32_t)val) != 0 ||
	    vm_set_register(vcpu, VM_REG_GUEST_RDX, val >> 32) != 0) {
		EPRINTLN("vcpu %d: its registers cannot be set", vcpu_id(vcpu));
		return (VMEXIT_FAIL);
	}
	return (VMEXIT_CONTINUE);
}

static int
vmexit_wrmsr(struct vmctx *ctx, struct vcpu *vcpu, const struct vm_exit *vme,
    struct vm_entry *next)
{
	if (emulate_wrmsr(ctx, vme->u.msr.code) != 0) {
		if (strictmsr || verbosemsr)
			GUEST_LOG("wrmsr to register 0x%x(0x%" PRIx64
				  ") on vcpu %d",
			    vme->u.msr.code, vme->u.msr.wval, vcpu_id(vcpu));
		if (strictmsr)
			return (inject_fault(vcpu, IDT_GP, 1));
	}
	return (VMEXIT_CONTINUE);
}

static int
vmexit_continue(struct vmctx *ctx, struct vcpu *vcpu, const struct vm_exit *vme,
    struct vm_entry *next)
{
	return (VMEXIT_CONTINUE);
}

static int
vmexit_suspended(struct vmctx *ctx, struct vcpu *vcpu,
    const struct vm_exit *vme, struct vm_entry *next)
{
	static const int statuses[VM_SUSPEND_LAST] = {
		[VM_SUSPEND_NONE] = BHYVE_EXIT_IMPOSSIBLE,
		[VM_SUSPEND_RESET] = BHYVE_EXIT_RESET,
		[VM_SUSPEND_POWEROFF] = BHYVE_EXIT_POWEROFF,
		[VM_SUSPEND_HALT] = BHYVE_EXIT_HALT,
		[VM_SUSPEND_TRIPLEFAULT] = BHYVE_EXIT_TRIPLEFAULT,
		[VM_SUSPEND_DESTROY] = BHYVE_EXIT_POWEROFF,
	};
	uint32_t how = vme->u.suspended.how;

	if (how == VM_SUSPEND_NONE || how >= VM_SUSPEND_LAST) {
		EPRINTLN("vmexit_suspended: invalid reason %u", how);
		bhyve_stop(BHYVE_EXIT_IMPOSSIBLE);
	} else {
		bhyve_stop(statuses[how]);
	}
	return (VMEXIT_STOP);
}

/* The vCPU was suspended for debugging and waits to be resumed. */
static int
vmexit_debug(struct vmctx *ctx, struct vcpu *vcpu, const struct vm_exit *vme,
    struct vm_entry *next)
{
	static const struct timespec pause_time = { .tv_nsec = 1000000 };

	if (!gdb_cpu_suspend(vcpu))
		nanosleep(&pause_time, NULL);
	return (VMEXIT_CONTINUE);
}

static int
vmexit_inst_emul(struct vmctx *ctx, struct vcpu *vcpu,
    const struct vm_exit *vme, struct vm_entry *next)
{
	char text[3 * 15 + 1];
	int i, n;

	n = vme->u.inst_emul.num_bytes;
	if (n > 15)
		n = 15;
	text[0] = '\0';
	for (i = 0; i < n; i++)
		snprintf(text + i * 3, sizeof(text) - (size_t)i * 3, "%02x ",
		    vme->u.inst_emul.bytes[i]);
	EPRINTLN("Failed to emulate instruction sequence [ %s] at 0x%" PRIx64,
	    text, vme->rip);
	return (VMEXIT_ABORT);
}

/* Basic exit reasons of VT-x (Intel SDM 3D, appendix C). */
static const char *
vmx_reason_name(uint32_t reason)
{
	static const char *const names[] = {
		[0] = "Exception or non-maskable interrupt (NMI)",
		[1] = "External interrupt",
		[2] = "Triple fault",
		[3] = "INIT signal",
		[4] = "Start-up IPI (SIPI)",
		[5] = "I/O system-management interrupt (SMI)",
		[6] = "Other SMI",
		[7] = "Interrupt window",
		[8] = "NMI window",
		[9] = "Task switch",
		[10] = "CPUID",
		[11] = "GETSEC",
		[12] = "HLT",
		[13] = "INVD",
		[14] = "INVLPG",
		[15] = "RDPMC",
		[16] = "RDTSC",
		[17] = "RSM",
		[18] = "VMCALL",
		[19] = "VMCLEAR",
		[20] = "VMLAUNCH",
		[21] = "VMPTRLD",
		[22] = "VMPTRST",
		[23] = "VMREAD",
		[24] = "VMRESUME",
		[25] = "VMWRITE",
		[26] = "VMXOFF",
		[27] = "VMXON",
		[28] = "Control-register accesses",
		[29] = "MOV DR",
		[30] = "I/O instruction",
		[31] = "RDMSR",
		[32] = "WRMSR",
		[33] = "VM-entry failure due to invalid guest state",
		[34] = "VM-entry failure due to MSR loading",
		[36] = "MWAIT",
		[37] = "Monitor trap flag",
		[39] = "MONITOR",
		[40] = "PAUSE",
		[41] = "VM-entry failure due to machine-check event",
		[43] = "TPR below threshold",
		[44] = "APIC access",
		[45] = "Virtualized EOI",
		[46] = "Access to GDTR or IDTR",
		[47] = "Access to LDTR or TR",
		[48] = "EPT violation",
		[49] = "EPT misconfiguration",
		[50] = "INVEPT",
		[51] = "RDTSCP",
		[52] = "VMX-preemption timer expired",
		[53] = "INVVPID",
		[54] = "WBINVD",
		[55] = "XSETBV",
		[56] = "APIC write",
		[57] = "RDRAND",
		[58] = "INVPCID",
		[59] = "VMFUNC",
		[60] = "ENCLS",
		[61] = "RDSEED",
		[62] = "Page-modification log full",
		[63] = "XSAVES",
		[64] = "XRSTORS",
	};

	if (reason < sizeof(names) / sizeof(names[0]) && names[reason] != NULL)
		return (names[reason]);
	return ("Unknown");
}

static int
vmexit_vmx(struct vmctx *ctx, struct vcpu *vcpu, const struct vm_exit *vme,
    struct vm_entry *next)
{
	uint32_t reason;

	EPRINTLN("vm exit[%d]", vcpu_id(vcpu));
	EPRINTLN("\treason\t\tVMX");
	EPRINTLN("\trip\t\t0x%016" PRIx64, vme->rip);
	EPRINTLN("\tinst_length\t%d", vme->inst_length);
	EPRINTLN("\tstatus\t\t%d", (int)vme->u.vmx.status);
	/* The bits above the basic reason tell how it came about. */
	reason = vme->u.vmx.exit_reason & 0xffff;
	EPRINTLN("\texit_reason\t%u (%s)", reason, vmx_reason_name(reason));
	EPRINTLN(
	    "\tqualification\t0x%016" PRIx64, vme->u.vmx.exit_qualification);
	EPRINTLN("\tinst_type\t\t%d", vme->u.vmx.inst_type);
	EPRINTLN("\tinst_error\t\t%d", vme->u.vmx.inst_error);
	return (VMEXIT_ABORT);
}

static int
vmexit_svm(struct vmctx *ctx, struct vcpu *vcpu, const struct vm_exit *vme,
    struct vm_entry *next)
{
	EPRINTLN("vm exit[%d]", vcpu_id(vcpu));
	EPRINTLN("\treason\t\tSVM");
	EPRINTLN("\trip\t\t0x%016" PRIx64, vme->rip);
	EPRINTLN("\tinst_length\t%d", vme->inst_length);
	EPRINTLN("\texitcode\t%#x", vme->u.vmx.exit_reason);
	EPRINTLN("\texitinfo1\t%#" PRIx64, vme->u.vmx.exit_qualification);
	EPRINTLN("\texitinfo2\t%#x", vme->u.vmx.status);
	return (VMEXIT_ABORT);
}

static int
vmexit_mtrap(struct vmctx *ctx, struct vcpu *vcpu, const struct vm_exit *vme,
    struct vm_entry *next)
{
	if (gdb_cpu_mtrap(vcpu))
		return (VMEXIT_CONTINUE);
	EPRINTLN("vm_loop: unexpected VMEXIT_MTRAP");
	return (VMEXIT_FAIL);
}

static int
vmexit_breakpoint(struct vmctx *ctx, struct vcpu *vcpu,
    const struct vm_exit *vme, struct vm_entry *next)
{
	if (gdb_cpu_breakpoint(vcpu, vme))
		return (VMEXIT_CONTINUE);
	EPRINTLN("vm_loop: unexpected VMEXIT_BPT");
	return (VMEXIT_FAIL);
}

static int
vmexit_db(struct vmctx *ctx, struct vcpu *vcpu, const struct vm_exit *vme,
    struct vm_entry *next)
{
	if (gdb_cpu_watch(vcpu, vme))
		return (VMEXIT_CONTINUE);
	EPRINTLN("vm_loop: unexpected VMEXIT_DB");
	return (VMEXIT_FAIL);
}

/* MONITOR, MWAIT and the VM instructions do not exist in the guest. */
static int
vmexit_undefined(struct vmctx *ctx, struct vcpu *vcpu,
    const struct vm_exit *vme, struct vm_entry *next)
{
	return (inject_fault(vcpu, IDT_UD, 0));
}

static const vmexit_handler_t handlers[VM_EXITCODE_MAX] = {
	[VM_EXITCODE_INOUT] = vmexit_inout,
	[VM_EXITCODE_INOUT_STR] = vmexit_inout,
	[VM_EXITCODE_VMX] = vmexit_vmx,
	[VM_EXITCODE_SVM] = vmexit_svm,
	[VM_EXITCODE_BOGUS] = vmexit_continue,
	[VM_EXITCODE_REQIDLE] = vmexit_continue,
	[VM_EXITCODE_RENDEZVOUS] = vmexit_continue,
	[VM_EXITCODE_IOAPIC_EOI] = vmexit_continue,
	[VM_EXITCODE_HLT] = vmexit_continue,
	[VM_EXITCODE_PAUSE] = vmexit_continue,
	[VM_EXITCODE_RDMSR] = vmexit_rdmsr,
	[VM_EXITCODE_WRMSR] = vmexit_wrmsr,
	[VM_EXITCODE_MTRAP] = vmexit_mtrap,
	[VM_EXITCODE_BPT] = vmexit_breakpoint,
	[VM_EXITCODE_DB] = vmexit_db,
	[VM_EXITCODE_INST_EMUL] = vmexit_inst_emul,
	[VM_EXITCODE_MMIO] = vmexit_mmio,
	[VM_EXITCODE_SUSPENDED] = vmexit_suspended,
	[VM_EXITCODE_DEBUG] = vmexit_debug,
	[VM_EXITCODE_MONITOR] = vmexit_undefined,
	[VM_EXITCODE_MWAIT] = vmexit_undefined,
	[VM_EXITCODE_VMINSN] = vmexit_undefined,
};

int
vmexit_dispatch(struct vmctx *ctx, struct vcpu *vcpu, const struct vm_exit *vme,
    struct vm_entry *next)
{
	if (vme->exitcode >= VM_EXITCODE_MAX ||
	    handlers[vme->exitcode] == NULL) {
		EPRINTLN("vm_loop: unexpected exitcode 0x%x", vme->exitcode);
		return (VMEXIT_FAIL);
	}
	return (handlers[vme->exitcode](ctx, vcpu, vme, next));
}
