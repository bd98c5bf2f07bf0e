/*
 * The ioctl ABI of a VM: every VM_* command with its argument, as libvmmapi
 * calls it in the owner or sends it over the control socket.  Commands and
 * lock classes are those of illumos' vmm device; numbers are group | n.
 * Arguments hold no pointers, so that they travel as they are.
 */
#ifndef _VMM_DEV_H_
#define _VMM_DEV_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm_eventfd.h"
#include "vmm_exit.h"
#include "vmm_ppt.h"
#include "vmm_regs.h"

struct vm;

#define VMMCTL_IOC_BASE 0x5100u
#define VMM_CPU_IOC_BASE 0x5600u
#define VMM_LOCK_IOC_BASE 0x5700u
#define VMM_IOC_BASE 0x5800u

enum vmm_ioctl_cmd {
	/* One vCPU: the first member of the argument is its id. */
	VM_RUN = VMM_CPU_IOC_BASE | 0x01,
	VM_SET_REGISTER = VMM_CPU_IOC_BASE | 0x02,
	VM_GET_REGISTER = VMM_CPU_IOC_BASE | 0x03,
	VM_SET_SEGMENT_DESCRIPTOR = VMM_CPU_IOC_BASE | 0x04,
	VM_GET_SEGMENT_DESCRIPTOR = VMM_CPU_IOC_BASE | 0x05,
	VM_SET_REGISTER_SET = VMM_CPU_IOC_BASE | 0x06,
	VM_GET_REGISTER_SET = VMM_CPU_IOC_BASE | 0x07,
	VM_INJECT_EXCEPTION = VMM_CPU_IOC_BASE | 0x08,
	VM_SET_CAPABILITY = VMM_CPU_IOC_BASE | 0x09,
	VM_GET_CAPABILITY = VMM_CPU_IOC_BASE | 0x0a,
	VM_SET_X2APIC_STATE = VMM_CPU_IOC_BASE | 0x0d,
	VM_GLA2GPA = VMM_CPU_IOC_BASE | 0x0e,
	VM_GLA2GPA_NOFAULT = VMM_CPU_IOC_BASE | 0x0f,
	VM_ACTIVATE_CPU = VMM_CPU_IOC_BASE | 0x10,
	VM_SET_INTINFO = VMM_CPU_IOC_BASE | 0x11,
	VM_GET_INTINFO = VMM_CPU_IOC_BASE | 0x12,
	VM_RESTART_INSTRUCTION = VMM_CPU_IOC_BASE | 0x13,
	VM_SET_KERNEMU_DEV = VMM_CPU_IOC_BASE | 0x14,
	VM_GET_KERNEMU_DEV = VMM_CPU_IOC_BASE | 0x15,
	VM_RESET_CPU = VMM_CPU_IOC_BASE | 0x16,
	VM_GET_RUN_STATE = VMM_CPU_IOC_BASE | 0x17,
	VM_SET_RUN_STATE = VMM_CPU_IOC_BASE | 0x18,
	/* Ours. */
	VM_GET_MSR = VMM_CPU_IOC_BASE | 0x40,
	VM_SET_MSR = VMM_CPU_IOC_BASE | 0x41,
	VM_GET_PAGING = VMM_CPU_IOC_BASE | 0x42,
	VM_SET_DEBUGREGS = VMM_CPU_IOC_BASE | 0x43,
	VM_GET_TSC_OFFSET = VMM_CPU_IOC_BASE | 0x44,

	/* The whole VM, all vCPUs frozen. */
	VM_REINIT = VMM_LOCK_IOC_BASE | 0x01,
	VM_BIND_PPTDEV = VMM_LOCK_IOC_BASE | 0x02,
	VM_UNBIND_PPTDEV = VMM_LOCK_IOC_BASE | 0x03,
	VM_MAP_PPTDEV_MMIO = VMM_LOCK_IOC_BASE | 0x04,
	VM_ALLOC_MEMSEG = VMM_LOCK_IOC_BASE | 0x05,
	VM_MMAP_MEMSEG = VMM_LOCK_IOC_BASE | 0x06,
	VM_PMTMR_LOCATE = VMM_LOCK_IOC_BASE | 0x07,
	VM_MUNMAP_MEMSEG = VMM_LOCK_IOC_BASE | 0x08,
	VM_UNMAP_PPTDEV_MMIO = VMM_LOCK_IOC_BASE | 0x09,
	VM_PAUSE = VMM_LOCK_IOC_BASE | 0x0a,
	VM_RESUME = VMM_LOCK_IOC_BASE | 0x0b,
	VM_WRLOCK_CYCLE = VMM_LOCK_IOC_BASE | 0xff,

	/* Read hold, or no hold at all. */
	VM_GET_GPA_PMAP = VMM_IOC_BASE | 0x01,
	VM_GET_MEMSEG = VMM_IOC_BASE | 0x02,
	VM_MMAP_GETNEXT = VMM_IOC_BASE | 0x03,
	VM_LAPIC_IRQ = VMM_IOC_BASE | 0x04,
	VM_LAPIC_LOCAL_IRQ = VMM_IOC_BASE | 0x05,
	VM_LAPIC_MSI = VMM_IOC_BASE | 0x06,
	VM_IOAPIC_ASSERT_IRQ = VMM_IOC_BASE | 0x07,
	VM_IOAPIC_DEASSERT_IRQ = VMM_IOC_BASE | 0x08,
	VM_IOAPIC_PULSE_IRQ = VMM_IOC_BASE | 0x09,
	VM_ISA_ASSERT_IRQ = VMM_IOC_BASE | 0x0a,
	VM_ISA_DEASSERT_IRQ = VMM_IOC_BASE | 0x0b,
	VM_ISA_PULSE_IRQ = VMM_IOC_BASE | 0x0c,
	VM_ISA_SET_IRQ_TRIGGER = VMM_IOC_BASE | 0x0d,
	VM_RTC_WRITE = VMM_IOC_BASE | 0x0e,
	VM_RTC_READ = VMM_IOC_BASE | 0x0f,
	VM_RTC_SETTIME = VMM_IOC_BASE | 0x10,
	VM_RTC_GETTIME = VMM_IOC_BASE | 0x11,
	VM_SUSPEND = VMM_IOC_BASE | 0x12,
	VM_IOAPIC_PINCOUNT = VMM_IOC_BASE | 0x13,
	VM_GET_PPTDEV_LIMITS = VMM_IOC_BASE | 0x14,
	VM_GET_HPET_CAPABILITIES = VMM_IOC_BASE | 0x15,
	VM_STATS_IOC = VMM_IOC_BASE | 0x16,
	VM_STAT_DESC = VMM_IOC_BASE | 0x17,
	VM_INJECT_NMI = VMM_IOC_BASE | 0x18,
	VM_GET_X2APIC_STATE = VMM_IOC_BASE | 0x19,
	VM_SET_TOPOLOGY = VMM_IOC_BASE | 0x1a,
	VM_GET_TOPOLOGY = VMM_IOC_BASE | 0x1b,
	VM_GET_CPUS = VMM_IOC_BASE | 0x1c,
	VM_SUSPEND_CPU = VMM_IOC_BASE | 0x1d,
	VM_RESUME_CPU = VMM_IOC_BASE | 0x1e,
	VM_DATA_READ = VMM_IOC_BASE | 0x22,
	VM_DATA_WRITE = VMM_IOC_BASE | 0x23,
	VM_DESTROY_SELF = VMM_IOC_BASE | 0x25,
	/* Ours. */
	VM_GET_BACKEND = VMM_IOC_BASE | 0x40,
	VM_MEMORY_WRITTEN = VMM_IOC_BASE | 0x41,
	VM_SET_MEMFLAGS = VMM_IOC_BASE | 0x42,
	VM_GET_MEMFLAGS = VMM_IOC_BASE | 0x43,
	VM_IS_PAUSED = VMM_IOC_BASE | 0x44,
	VM_IOEVENT = VMM_IOC_BASE | 0x45,
	VM_IRQFD = VMM_IOC_BASE | 0x46,
	/* Messages of devices concern no vCPU here. */
	VM_PPTDEV_MSI = VMM_IOC_BASE | 0x47,
	VM_PPTDEV_MSIX = VMM_IOC_BASE | 0x48,
	VM_PPTDEV_DISABLE_MSIX = VMM_IOC_BASE | 0x49,
	VM_PPTDEV_BAR = VMM_IOC_BASE | 0x4a,
	VM_PPTDEV_RW = VMM_IOC_BASE | 0x4b,
	VM_GLANCE = VMM_IOC_BASE | 0x4c,
};

struct vm_run {
	int32_t vcpuid;
	int32_t pad;
	struct vm_entry entry;
	struct vm_exit exit;
};

struct vm_vcpuid {
	int32_t vcpuid;
	int32_t arg; /* RESET_CPU: 0 RESET, 1 INIT; else 0 */
};

struct vm_run_state {
	int32_t vcpuid;
	uint32_t state;
	uint8_t sipi_vector;
	uint8_t pad[7];
};

struct vm_register {
	int32_t vcpuid;
	int32_t regnum; /* MSR commands: the MSR */
	uint64_t regval;
};

struct vm_seg_desc {
	int32_t vcpuid;
	int32_t regnum;
	struct seg_desc desc;
};

#define VM_REGSET_MAX 64
struct vm_register_set {
	int32_t vcpuid;
	uint32_t count;
	int32_t regnums[VM_REGSET_MAX];
	uint64_t regvals[VM_REGSET_MAX];
};

struct vm_exception {
	int32_t vcpuid;
	int32_t vector;
	uint32_t error_code;
	int32_t error_code_valid;
	int32_t restart_instruction;
	int32_t pad;
};

struct vm_capability {
	int32_t vcpuid;
	int32_t captype;
	int32_t capval;
	int32_t pad;
};

struct vm_debugregs {
	int32_t vcpuid;
	int32_t pad;
	uint64_t dr[4];
	uint64_t dr7;
};

struct vm_x2apic {
	int32_t vcpuid;
	int32_t state;
};

struct vm_gla2gpa {
	int32_t vcpuid;
	int32_t prot;
	uint64_t cr3;
	int32_t cpl, cpu_mode, paging_mode, pad;
	uint64_t gla;
	uint64_t gpa;
	int32_t fault;
	int32_t pad2;
};

struct vm_intinfo {
	int32_t vcpuid;
	int32_t pad;
	uint64_t info1; /* pending */
	uint64_t info2; /* current */
};

struct vm_readwrite_kernemu_device {
	int32_t vcpuid;
	int32_t access_width;
	uint64_t gpa;
	uint64_t value;
};

struct vm_memseg {
	int32_t segid;
	int32_t pad;
	uint64_t len;
	char name[32];
};

struct vm_memmap {
	uint64_t gpa;
	int32_t segid;
	int32_t prot;
	int64_t segoff;
	uint64_t len;
	int32_t flags;
	int32_t pad;
};

struct vm_gpa_pte {
	uint64_t gpa;
	uint64_t pte[4];
	int32_t ptenum;
	int32_t pad;
};

struct vm_lapic_irq {
	int32_t vcpuid; /* LOCAL_IRQ: -1 is every active vCPU */
	int32_t vector;
};

struct vm_lapic_msi {
	uint64_t addr;
	uint64_t msg;
};

struct vm_ioapic_irq {
	int32_t irq;
	int32_t pad;
};

struct vm_isa_irq {
	int32_t atpic_irq;
	int32_t ioapic_irq; /* -1: none */
};

struct vm_isa_irq_trigger {
	int32_t atpic_irq;
	int32_t trigger; /* 0 edge, 1 level */
};

struct vm_rtc_data {
	int32_t offset;
	uint8_t value;
	uint8_t pad[3];
};

struct vm_rtc_time {
	int64_t secs;
};

struct vm_suspend {
	int32_t how;
	int32_t source;
};

struct vm_word {
	uint64_t value; /* PINCOUNT, HPET caps, PMTMR port, memory flags */
};

#define VM_STATS_PER_CALL 64
struct vm_stats {
	int32_t vcpuid;
	int32_t index;	     /* of the first one wanted */
	int32_t num_entries; /* out: in this answer */
	int32_t pad;
	int64_t tv_sec, tv_usec;
	uint64_t statbuf[VM_STATS_PER_CALL];
};

/* As many at a time as fit: bhyvectl asks for all of them. */
#define VM_STAT_DESCS_PER_CALL 64
struct vm_stat_desc {
	int32_t index;	     /* of the first one wanted */
	int32_t num_entries; /* out: in this answer */
	char desc[VM_STAT_DESCS_PER_CALL][120];
};

struct vm_cpu_topology {
	uint16_t sockets, cores, threads, maxcpus;
};

enum vm_cpus_which { VM_ACTIVE_CPUS, VM_SUSPENDED_CPUS, VM_DEBUG_CPUS };
struct vm_cpuset {
	int32_t which;
	int32_t pad;
	uint64_t cpus;
};

struct vm_dirty_range {
	uint64_t gpa;
	uint64_t len;
};

struct vm_backend {
	char name[16];
	char vendor[16]; /* of the processors that guests see */
};

/* What a list of VMs shows of each. */
struct vm_state {
	uint64_t active_cpus, suspended_cpus, debug_cpus;
	uint64_t memory; /* bytes of segments without a name */
	uint32_t vcpus;	 /* by the topology */
	uint32_t paused;
	char backend[16];
};

#define VM_DATA_XFER_LIMIT 8192
struct vm_data_xfer {
	int32_t vcpuid; /* -1: a class of the VM */
	uint16_t cls;
	uint16_t version;
	uint32_t len; /* room or length */
	uint32_t result_len;
	uint8_t data[VM_DATA_XFER_LIMIT];
};

enum vmm_lock_class { LOCK_NONE, LOCK_VCPU, LOCK_READ_HOLD, LOCK_WRITE_HOLD };

#define VMI_IN 0x1u    /* the argument is read */
#define VMI_OUT 0x2u   /* the argument is written */
#define VMI_RO 0x4u    /* changes nothing that is saved */
#define VMI_LOCAL 0x8u /* not over the control socket */

struct vmm_ioctl {
	uint32_t cmd;
	const char *name;
	uint16_t size; /* of the argument */
	uint8_t lock;  /* enum vmm_lock_class */
	uint8_t flags; /* VMI_* */
	/* vcpuid was checked for LOCK_VCPU.  0 or a positive errno. */
	int (*func)(struct vm *vm, void *arg);
};

#define VMM_IOCTL_ARG_MAX sizeof(struct vm_data_xfer)

/* ---- vmm_dev.c ---- */
const struct vmm_ioctl *vmm_ioctl_find(uint32_t cmd);
const struct vmm_ioctl *vmm_ioctl_table(size_t *count);
/* Take the locks of the class, call the function.  Any thread. */
int vmm_ioctl(struct vm *vm, uint32_t cmd, void *arg, size_t len);
/* VM_RUN takes no struct: it is the vCPU thread's own call. */
int vmm_run_vcpuid(struct vm *vm, int vcpuid, const struct vm_entry *entry,
    struct vm_exit *vme);

/* ---- vmm_data.c: versioned classes ---- */
/* Bytes used, or a negative errno. */
int vmm_data_read(struct vm *vm, int vcpuid, uint16_t cls, uint16_t version,
    void *buf, size_t len);
int vmm_data_write(struct vm *vm, int vcpuid, uint16_t cls, uint16_t version,
    const void *buf, size_t len);
struct vmm_sbuf {
	uint8_t *buf;
	size_t len, room;
	int error;
};
/* The caller keeps the vCPUs from running. */
int vmm_state_save(struct vm *vm, struct vmm_sbuf *sb);
int vmm_state_load(struct vm *vm, const uint8_t *buf, size_t len);
int vmm_vcpus_save(struct vm *vm, struct vmm_sbuf *sb); /* vCPUs alone */
void vmm_sbuf_free(struct vmm_sbuf *sb);

/* ---- vmm_dir.c: the VM's directory ---- */
struct vmm_dir;
/* The directory that holds all VMs; an errno and vmm_error() text. */
int vmm_dir_root(char *buf, size_t size);
int vmm_dir_check_name(const char *name);
/* Makes the directory of a new VM, with the state of an empty machine. */
int vmm_dir_create(const char *name);
/*
 * Opens NAME.  Either this process becomes the owner (*peer is -1), or
 * *peer is a connection to the owner's control socket.  Waits up to two
 * seconds for a tool that has the VM for a moment.
 */
int vmm_dir_open(
    const char *name, bool must_own, struct vmm_dir **retdir, int *peer);
void vmm_dir_close(struct vmm_dir *dir);
/* The owner: take the VM out of the file system. */
int vmm_dir_remove(struct vmm_dir *dir);
bool vmm_dir_removed(struct vmm_dir *dir);
int vmm_dir_fd(struct vmm_dir *dir);
/*
 * Looks at who has NAME, and waits for nobody.  0: *peer is a connection to
 * the owner; EBUSY: somebody has it who cannot be asked; EAGAIN: nobody has
 * it.  *pid is the owner's, 0 where it is not known.
 */
int vmm_dir_peek(const char *name, int *pid, int *peer);
/* The pid of an owner that died without a word; 0: none. */
int vmm_dir_dead_owner(struct vmm_dir *dir);
/* From here a sudden death is noticed (serving: and ctl is answered). */
int vmm_dir_mark(struct vmm_dir *dir, bool serving);
int vmm_dir_unmark(struct vmm_dir *dir);
/* Marks from now on say that the VM ends with its owner, however that goes:
 * whoever finds it without its owner removes it.  Or they no longer do. */
void vmm_dir_once(struct vmm_dir *dir, bool once);
int vmm_dir_load(struct vmm_dir *dir, struct vm *vm);
int vmm_dir_save(struct vmm_dir *dir, struct vm *vm);
int vmm_attach_dir(struct vm *vm, struct vmm_dir *dir);
/* A segment's file: created with room for len (ENOMEM and a text), or
 * opened; removed. */
int vmm_dir_segment_create(struct vmm_dir *dir, const char *name, size_t len);
int vmm_dir_segment_open(struct vmm_dir *dir, const char *name, size_t len);
void vmm_dir_segment_remove(struct vmm_dir *dir, const char *name);

/* ---- vmm_ctl.c: the control socket ---- */
struct vmm_ctl;
struct vmm_ctl_req {
	uint32_t cmd;
	uint32_t len;
};
struct vmm_ctl_rep {
	int32_t error;
	uint32_t len;
	/* then the argument, or for an error up to 200 bytes of text */
};
/* destroy: called (by the ctl thread) for VM_DESTROY_SELF. */
int vmm_ctl_start(struct vm *vm, struct vmm_dir *dir, struct vmm_ctl **ctl);
void vmm_ctl_stop(struct vmm_ctl *ctl);
/* The other end: 0, or the peer's errno; EPIPE when it went away. */
int vmm_ctl_call(int fd, uint32_t cmd, void *arg, size_t len);
/* Its two halves, for whoever asks several owners at once. */
int vmm_ctl_send(int fd, uint32_t cmd, void *arg, size_t len);
int vmm_ctl_receive(int fd, void *arg, size_t len);

#endif
