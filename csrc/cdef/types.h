/*
 * Types and numbers that the other declarations use.  "= ..." and "..." let
 * the compiler fill in values and layouts from the real headers.
 */
typedef uint64_t vm_paddr_t;

struct vmctx;
struct vcpu;

struct timeval {
	long tv_sec;
	long tv_usec;
	...;
};

#define VM_MAXCPU ...
#define VM_MAX_NAMELEN ...

enum vm_reg_name {
	VM_REG_GUEST_RAX,
	VM_REG_GUEST_RBX,
	VM_REG_GUEST_RCX,
	VM_REG_GUEST_RDX,
	VM_REG_GUEST_RSI,
	VM_REG_GUEST_RDI,
	VM_REG_GUEST_RBP,
	VM_REG_GUEST_R8,
	VM_REG_GUEST_R9,
	VM_REG_GUEST_R10,
	VM_REG_GUEST_R11,
	VM_REG_GUEST_R12,
	VM_REG_GUEST_R13,
	VM_REG_GUEST_R14,
	VM_REG_GUEST_R15,
	VM_REG_GUEST_CR0,
	VM_REG_GUEST_CR3,
	VM_REG_GUEST_CR4,
	VM_REG_GUEST_DR7,
	VM_REG_GUEST_RSP,
	VM_REG_GUEST_RIP,
	VM_REG_GUEST_RFLAGS,
	VM_REG_GUEST_ES,
	VM_REG_GUEST_CS,
	VM_REG_GUEST_SS,
	VM_REG_GUEST_DS,
	VM_REG_GUEST_FS,
	VM_REG_GUEST_GS,
	VM_REG_GUEST_LDTR,
	VM_REG_GUEST_TR,
	VM_REG_GUEST_IDTR,
	VM_REG_GUEST_GDTR,
	VM_REG_GUEST_EFER,
	VM_REG_GUEST_CR2,
	VM_REG_GUEST_PDPTE0,
	VM_REG_GUEST_PDPTE1,
	VM_REG_GUEST_PDPTE2,
	VM_REG_GUEST_PDPTE3,
	VM_REG_GUEST_INTR_SHADOW,
	VM_REG_GUEST_DR0,
	VM_REG_GUEST_DR1,
	VM_REG_GUEST_DR2,
	VM_REG_GUEST_DR3,
	VM_REG_GUEST_DR6,
	VM_REG_GUEST_ENTRY_INST_LENGTH,
	VM_REG_GUEST_FS_BASE,
	VM_REG_GUEST_GS_BASE,
	VM_REG_GUEST_KGS_BASE,
	VM_REG_GUEST_TPR,
	VM_REG_GUEST_XCR0,
	VM_REG_LAST,
	...
};

struct seg_desc {
	uint64_t base;
	uint32_t limit;
	uint32_t access;
	...;
};

enum x2apic_state { X2APIC_DISABLED, X2APIC_ENABLED, ... };

enum vm_cap_type {
	VM_CAP_HALT_EXIT,
	VM_CAP_MTRAP_EXIT,
	VM_CAP_PAUSE_EXIT,
	VM_CAP_UNRESTRICTED_GUEST,
	VM_CAP_ENABLE_INVPCID,
	VM_CAP_BPT_EXIT,
	VM_CAP_RDPID,
	VM_CAP_RDTSCP,
	VM_CAP_IPI_EXIT,
	VM_CAP_MASK_HWINTR,
	VM_CAP_RFLAGS_TF,
	VM_CAP_MAX,
	...
};

int vm_capability_name2type(const char *name);
const char *vm_capability_type2name(int type);

enum vm_suspend_how {
	VM_SUSPEND_NONE,
	VM_SUSPEND_RESET,
	VM_SUSPEND_POWEROFF,
	VM_SUSPEND_HALT,
	VM_SUSPEND_TRIPLEFAULT,
	VM_SUSPEND_DESTROY,
	...
};

enum vm_exitcode {
	VM_EXITCODE_INOUT,
	VM_EXITCODE_VMX,
	VM_EXITCODE_BOGUS,
	VM_EXITCODE_RDMSR,
	VM_EXITCODE_WRMSR,
	VM_EXITCODE_HLT,
	VM_EXITCODE_MTRAP,
	VM_EXITCODE_PAUSE,
	VM_EXITCODE_PAGING,
	VM_EXITCODE_INST_EMUL,
	VM_EXITCODE_SPINUP_AP,
	VM_EXITCODE_DEPRECATED1,
	VM_EXITCODE_RENDEZVOUS,
	VM_EXITCODE_IOAPIC_EOI,
	VM_EXITCODE_SUSPENDED,
	VM_EXITCODE_INOUT_STR,
	VM_EXITCODE_TASK_SWITCH,
	VM_EXITCODE_MONITOR,
	VM_EXITCODE_MWAIT,
	VM_EXITCODE_SVM,
	VM_EXITCODE_REQIDLE,
	VM_EXITCODE_DEBUG,
	VM_EXITCODE_VMINSN,
	VM_EXITCODE_BPT,
	VM_EXITCODE_IPI,
	VM_EXITCODE_DB,
	VM_EXITCODE_MMIO,
	VM_EXITCODE_MAX,
	...
};

struct vm_inout {
	uint8_t bytes;
	bool in;
	bool string;
	bool rep;
	uint16_t port;
	uint16_t pad;
	uint32_t eax;
};

struct vm_mmio {
	uint8_t bytes;
	bool read;
	uint8_t pad[6];
	uint64_t gpa;
	uint64_t data;
};

/* The union's members have no names of their own: written out in full. */
struct vm_exit {
	uint32_t exitcode;
	int32_t inst_length;
	uint64_t rip;
	union {
		struct vm_inout inout;
		struct vm_mmio mmio;
		struct {
			uint32_t code;
			uint32_t pad;
			uint64_t wval;
		} msr;
		struct {
			uint64_t rflags;
			uint64_t intr_status;
		} hlt;
		struct {
			uint32_t how;
			int32_t source;
			uint64_t when;
		} suspended;
		struct {
			uint64_t gpa;
			uint64_t gla;
			uint8_t num_bytes;
			uint8_t bytes[15];
		} inst_emul;
		struct {
			int32_t trace_trap, pushf_intercept;
			uint64_t drx_access;
		} dbg;
		struct {
			int32_t inst_length;
		} bpt;
		struct {
			int32_t vector;
		} ioapic_eoi;
		struct {
			uint32_t status;
			uint32_t exit_reason;
			uint64_t exit_qualification;
			int32_t inst_type, inst_error;
		} vmx;
		struct {
			uint32_t mode;
			uint32_t vector;
			uint64_t dmask;
		} ipi;
	} u;
};

enum vm_entry_cmds {
	VEC_DEFAULT,
	VEC_DISCARD_INSTR,
	VEC_FULFILL_MMIO,
	VEC_FULFILL_INOUT,
	...
};

struct vm_entry {
	uint32_t cmd;
	uint32_t flags;
	union {
		struct vm_inout inout;
		struct vm_mmio mmio;
	} u;
};
