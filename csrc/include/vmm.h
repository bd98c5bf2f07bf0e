/*
 * The vmm's own API: what FreeBSD's sys/vmm.h is to the kernel.  Only
 * csrc/vmm and csrc/vmmapi include it; devices see vmmapi.h.
 *
 * libvmmapi and the vmm share many names on FreeBSD, where they live in two
 * address spaces.  Here they are linked into one object, so vmm.h's vm_x()
 * is called vmm_x() on this floor wherever libvmmapi has a vm_x() as well.
 *
 * Functions return 0 or a positive errno unless said otherwise.
 */
#ifndef _VMM_H_
#define _VMM_H_

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm_cap.h"
#include "vmm_exit.h"
#include "vmm_mem.h"
#include "vmm_regs.h"

struct vm;
struct vcpu;
struct vlapic;
struct vioapic;
struct vatpic;
struct vatpit;
struct vhpet;
struct vrtc;
struct vpmtmr;
struct vm_ioevent;
struct vm_irqfd;

/* A set of vCPU ids: bit N is vCPU N. */
_Static_assert(VM_MAXCPU <= 64, "a cpuset is one word");
typedef uint64_t vm_cpuset_t;

/*
 * The processor behind a VM.  All calls but kick are made by the thread that
 * holds the vCPU frozen (or runs it).  kick may come from any thread and
 * must make a run() in progress return to the check of vcpu_pending().
 */
struct vmm_ops {
	const char *name;
	int (*probe)(const char **why); /* 0, or errno and a phrase */
	/* Optional: the same, and worth choosing where nobody asked for it. */
	int (*probe_auto)(const char **why);
	void *(*init)(struct vm *vm); /* NULL with errno set */
	void (*cleanup)(void *vmi);
	void *(*vcpu_init)(void *vmi, struct vcpu *vcpu, int vcpuid);
	void (*vcpu_cleanup)(void *vcpui);
	/*
	 * Run until an exit that the core or user space must see.  Chips of
	 * csrc/vmm/io are served inside.  Returns 0 and fills *vme.
	 */
	int (*run)(
	    void *vcpui, const struct vm_entry *entry, struct vm_exit *vme);
	void (*kick)(void *vcpui);
	/*
	 * Optional: run() does not know where the instruction of a port or
	 * memory access stands.  Fills rip, inst_length and what kind of
	 * instruction it is, before the next run().
	 */
	void (*locate)(void *vcpui, struct vm_exit *vme);
	int (*getreg)(void *vcpui, int reg, uint64_t *val);
	int (*setreg)(void *vcpui, int reg, uint64_t val);
	int (*getdesc)(void *vcpui, int reg, struct seg_desc *desc);
	int (*setdesc)(void *vcpui, int reg, const struct seg_desc *desc);
	int (*getcap)(void *vcpui, int type, int *val);
	int (*setcap)(void *vcpui, int type, int val);
	/*
	 * The debugger's own DR0 to DR3 and DR7, beside the guest's: a hit
	 * leaves the guest with a DB exit.  dr7 0: none.
	 */
	int (*setdebug)(void *vcpui, const uint64_t dr[4], uint64_t dr7);
	int (*getmsr)(void *vcpui, uint32_t msr, uint64_t *val);
	int (*setmsr)(void *vcpui, uint32_t msr, uint64_t val);
	/* XSAVE standard-format image, *len in: room, out: length. */
	int (*getfpu)(void *vcpui, void *buf, size_t *len);
	int (*setfpu)(void *vcpui, const void *buf, size_t len);
	/* Architectural RESET (init=false) or INIT of what registers do not
	 * show (MSRs, FPU, caches of translations). */
	int (*vcpu_reset)(void *vcpui, bool init);
	/* The gpa map changed: prot 0 removes.  hva NULL only with prot 0. */
	int (*memmap)(
	    void *vmi, vm_paddr_t gpa, size_t len, void *hva, int prot);
	/*
	 * Optional: devices of the host are going to write memory unasked (no
	 * vCPU runs); they may have written any by now.
	 */
	void (*dma_begin)(void *vmi);
	void (*dma_written)(void *vmi);
	/*
	 * Local APICs.  NULL members: the core's own vlapic serves the vCPU
	 * (soft); else the backend's in-kernel LAPIC does (KVM).
	 */
	int (*lapic_msi)(void *vmi, uint64_t addr, uint64_t data);
	int (*lapic_get)(void *vcpui, void *regs4096);
	int (*lapic_set)(void *vcpui, const void *regs4096);
	/* An access at an offset of the register page, as an instruction's;
	 * ENOENT: the page is not there (x2APIC mode, or switched off). */
	int (*lapic_mmio)(
	    void *vcpui, uint64_t off, bool write, uint64_t *val, int bytes);
	/* Entry APIC_LVT_* of the local vector table fires, if not masked. */
	int (*lapic_lvt)(void *vcpui, int lvt);
	/* Optional: the vCPU's CPUID may say something else now.  An errno:
	 * the processor goes on with what it said before. */
	int (*cpuid_changed)(void *vcpui);
	/* The IOAPIC's redirection entries changed (KVM routes EOIs by it). */
	void (*ioapic_changed)(void *vmi);
	/*
	 * Optional: descriptors that guest writes count on, and descriptors
	 * that send messages (struct vm_ioevent, struct vm_irqfd).
	 */
	int (*ioevent)(void *vmi, const struct vm_ioevent *ioe);
	int (*msi_irqfd)(void *vmi, struct vm_irqfd *ifd);
	/*
	 * Optional.  Cut the features of a CPUID leaf (r4 is eax..edx as the
	 * policy would show it) to what the processor carries; called for
	 * leaves 1, 7, 0xd, 0x80000001, 0x80000007 and 0x80000008, from any
	 * thread.
	 */
	void (*cpuid_mask)(
	    void *vmi, uint32_t leaf, uint32_t subleaf, uint32_t *r4);
	/*
	 * Optional.  Guest TSC minus host TSC; exact, so that vCPUs agree.
	 * Without it the core writes MSR 0x10.
	 */
	int (*get_tsc_offset)(void *vcpui, uint64_t *offset);
	int (*set_tsc_offset)(void *vcpui, uint64_t offset);
	/* Optional.  Somebody is about to read the vCPU's counters. */
	void (*stats)(void *vcpui);
	uint32_t flags; /* VMM_OPS_* */
};

/* CPUID shows the host's vendor, model and caches (KVM), not our own. */
#define VMM_OPS_HOST_CPUID 0x1u
/* Memory of host devices stands in the gpa map (KVM); else the core makes
 * the accesses. */
#define VMM_OPS_DEVICE_SLOTS 0x2u

extern const struct vmm_ops vmm_ops_kvm;
extern const struct vmm_ops vmm_ops_soft;

/* ---- VM lifetime (vmm.c) ---- */
/*
 * backend: "auto", "kvm" or "soft"; NULL: what vmm_set_backend() said, else
 * $BHYVE_BACKEND, else auto.  The choice is made by vmm_select_backend() or
 * vmm_start(); until then the software processor keeps the registers.
 */
int vmm_create(const char *name, const char *backend, struct vm **retvm);
int vmm_set_backend(const char *backend); /* for the whole process */
/* May the software processor make host code?  Where neither was said:
 * $BHYVE_TRANSLATE ("0": no). */
void vmm_set_translate(bool on);
bool vmm_translate(void);
int vmm_select_backend(struct vm *vm); /* state moves along */
/* vCPUs are going to run: select the backend and start the VM's clock. */
int vmm_start(struct vm *vm);
/* A sentence about this thread's last failure; vmm_error() is "" if none. */
void vmm_set_error(const char *fmt, ...)
    __attribute__((__format__(printf, 1, 2)));
const char *vmm_error(void);
void vmm_destroy(struct vm *vm);
int vmm_reinit(struct vm *vm);
const char *vmm_name(struct vm *vm);
const struct vmm_ops *vmm_vm_ops(struct vm *vm);
void *vmm_vm_cookie(struct vm *vm); /* what ops->init returned */
/* vcpus are allocated on first use; NULL with errno when out of range. */
struct vcpu *vmm_alloc_vcpu(struct vm *vm, int vcpuid);
struct vcpu *vmm_vcpu(struct vm *vm, int vcpuid); /* NULL: not allocated */
uint16_t vmm_get_maxcpus(struct vm *vm);
void vmm_get_topology(struct vm *vm, uint16_t *sockets, uint16_t *cores,
    uint16_t *threads, uint16_t *maxcpus);
int vmm_set_topology(struct vm *vm, uint16_t sockets, uint16_t cores,
    uint16_t threads, uint16_t maxcpus);

/* ---- vCPU identity ---- */
int vcpu_vcpuid(struct vcpu *vcpu);
struct vm *vcpu_vm(struct vcpu *vcpu);
void *vcpu_cookie(struct vcpu *vcpu);	    /* what ops->vcpu_init returned */
struct vlapic *vm_lapic(struct vcpu *vcpu); /* NULL on a KVM LAPIC */
struct vioapic *vm_ioapic(struct vm *vm);
struct vhpet *vm_hpet(struct vm *vm);
struct vatpic *vm_atpic(struct vm *vm);
struct vatpit *vm_atpit(struct vm *vm);
struct vpmtmr *vm_pmtmr(struct vm *vm);
struct vrtc *vm_rtc(struct vm *vm);

/* ---- run states (vmm_state.c) ---- */
enum vcpu_state { VCPU_IDLE, VCPU_FROZEN, VCPU_RUNNING, VCPU_SLEEPING };
int vcpu_set_state(struct vcpu *vcpu, enum vcpu_state state, bool from_idle);
enum vcpu_state vcpu_get_state(struct vcpu *vcpu, int *hostcpu);

/*
 * Things that a running processor must look at between instructions; one
 * relaxed load of vcpu_pending() at every block head (soft) or before each
 * entry (KVM).  Bits stay set until their reader clears them.
 */
#define VCPU_EV_EVENT 0x01u   /* intr, NMI, exception: ask the core */
#define VCPU_EV_SUSPEND 0x02u /* vmm_suspend() was called */
#define VCPU_EV_REQIDLE 0x04u /* somebody wants the vCPU frozen */
#define VCPU_EV_RENDEZVOUS 0x08u
#define VCPU_EV_DEBUG 0x10u   /* vmm_suspend_cpu() */
#define VCPU_EV_BACKEND 0x20u /* the backend's own business */
#define VCPU_EV_INIT 0x40u    /* INIT or SIPI: see vcpu_run_state() */
#define VCPU_EV_PAUSE 0x80u   /* vmm_pause(); stays until vmm_resume() */
/* Bits that make run() return; EVENT and BACKEND are handled inside. */
#define VCPU_EV_LEAVE                                             \
	(VCPU_EV_SUSPEND | VCPU_EV_REQIDLE | VCPU_EV_RENDEZVOUS | \
	    VCPU_EV_DEBUG | VCPU_EV_INIT | VCPU_EV_PAUSE)
_Atomic uint32_t *vcpu_pending(struct vcpu *vcpu);
/* Set bits and kick the vCPU if it runs, wake it if it sleeps in HLT. */
void vcpu_post(struct vcpu *vcpu, uint32_t bits);
/* = vcpu_post(EVENT); the name FreeBSD's chips use. */
void vcpu_notify_event(struct vcpu *vcpu, bool lapic_intr);
/*
 * run() saw VCPU_EV_LEAVE bits: fill *vme with the exit they call for
 * (SUSPENDED, REQIDLE, RENDEZVOUS, DEBUG or, for INIT/SIPI, BOGUS).
 */
void vmm_exit_pending(struct vcpu *vcpu, uint64_t rip, struct vm_exit *vme);
/* Freeze one or all vCPUs against running (ioctl lock classes). */
int vcpu_lock_one(struct vcpu *vcpu);
void vcpu_unlock_one(struct vcpu *vcpu);
int vcpu_lock_all(struct vm *vm);
void vcpu_unlock_all(struct vm *vm);
typedef void (*vm_rendezvous_func_t)(struct vcpu *vcpu, void *arg);
/* Run func on every active vCPU's behalf while it stands still. */
int vmm_smp_rendezvous(
    struct vm *vm, vm_cpuset_t dest, vm_rendezvous_func_t func, void *arg);

/*
 * What INIT and SIPI left a processor in (illumos' run state).  A vCPU whose
 * VRS_RUN is clear sleeps in vmm_run().
 */
#define VRS_HALT 0u
#define VRS_INIT 0x1u
#define VRS_RUN 0x2u
#define VRS_PEND_INIT 0x4000u
#define VRS_PEND_SIPI 0x8000u
uint32_t vcpu_run_state(struct vcpu *vcpu, uint8_t *sipi_vector);
int vcpu_set_run_state(struct vcpu *vcpu, uint32_t state, uint8_t vector);
void vcpu_post_init(struct vcpu *vcpu);			/* from the LAPIC */
void vcpu_post_sipi(struct vcpu *vcpu, uint8_t vector); /* from the LAPIC */

/* ---- running and suspending (vmm_run.c) ---- */
int vmm_run(
    struct vcpu *vcpu, const struct vm_entry *entry, struct vm_exit *vme);
int vmm_suspend(struct vm *vm, enum vm_suspend_how how, int source);
enum vm_suspend_how vmm_suspended(struct vm *vm);
int vmm_activate_cpu(struct vcpu *vcpu);
int vmm_suspend_cpu(struct vm *vm, struct vcpu *vcpu); /* NULL: all */
int vmm_resume_cpu(struct vm *vm, struct vcpu *vcpu);  /* NULL: all */
/*
 * vCPUs and time stand still, between instructions (vmm_pause.c).  EBUSY when
 * user space keeps an access in hand for seconds.  The caller holds no lock.
 */
int vmm_pause(struct vm *vm);
int vmm_resume(struct vm *vm);
bool vmm_is_paused(struct vm *vm);
vm_cpuset_t vmm_active_cpus(struct vm *vm);
vm_cpuset_t vmm_debug_cpus(struct vm *vm);
vm_cpuset_t vmm_suspended_cpus(struct vm *vm);
int vmm_restart_instruction(struct vcpu *vcpu);

/* ---- registers and capabilities (vmm.c, vmm_cap.c) ---- */
int vmm_get_register(struct vcpu *vcpu, int reg, uint64_t *val);
int vmm_set_register(struct vcpu *vcpu, int reg, uint64_t val);
int vmm_get_seg_desc(struct vcpu *vcpu, int reg, struct seg_desc *desc);
int vmm_set_seg_desc(struct vcpu *vcpu, int reg, const struct seg_desc *desc);
int vmm_get_capability(struct vcpu *vcpu, int type, int *val);
int vmm_set_capability(struct vcpu *vcpu, int type, int val);
int vmm_get_x2apic_state(struct vcpu *vcpu, enum x2apic_state *state);
int vmm_set_x2apic_state(struct vcpu *vcpu, enum x2apic_state state);
/* Power-on state (init=false) or INIT; everything that a RESET clears. */
int vmm_vcpu_reset(struct vcpu *vcpu, bool init);

/* ---- events (vmm_event.c) ---- */
int vmm_inject_nmi(struct vcpu *vcpu);
bool vmm_nmi_pending(struct vcpu *vcpu);
void vmm_nmi_clear(struct vcpu *vcpu);
int vmm_inject_extint(struct vcpu *vcpu);
bool vmm_extint_pending(struct vcpu *vcpu);
void vmm_extint_clear(struct vcpu *vcpu);
int vmm_inject_exception(struct vcpu *vcpu, int vector, bool errcode_valid,
    uint32_t errcode, bool restart_instruction);
/* An event whose delivery was interrupted; 0 clears. */
int vmm_exit_intinfo(struct vcpu *vcpu, uint64_t intinfo);
/*
 * Before an entry: the event to deliver now, with nested faults combined
 * (double fault, triple fault suspends the VM).  True when *info is valid.
 */
bool vmm_entry_intinfo(struct vcpu *vcpu, uint64_t *info);
int vmm_get_intinfo(struct vcpu *vcpu, uint64_t *pending, uint64_t *current);
/*
 * Combine an exception with the event being delivered when it rose (Intel
 * SDM 3A table 6-5).  Returns the intinfo to deliver, or 0: triple fault.
 */
uint64_t vmm_nested_fault(uint64_t being_delivered, uint64_t raised);
/* The one question before taking a maskable interrupt (soft; KVM: PIC only):
 * vector to take, or -1.  The taker then calls vmm_intr_accepted(). */
int vmm_intr_pending(struct vcpu *vcpu);
void vmm_intr_accepted(struct vcpu *vcpu, int vector);

/* ---- guest memory (vmm_mem.c) ---- */
#define VM_MAX_MEMSEGS 16
int vmm_alloc_memseg(struct vm *vm, int segid, size_t len, const char *name);
/* EINVAL past the last id; name "" is system memory; fd of the segment. */
int vmm_get_memseg(
    struct vm *vm, int segid, size_t *len, char *name, size_t namesz, int *fd);
void *vmm_memseg_hva(struct vm *vm, int segid); /* NULL: no such segment */
int vmm_mmap_memseg(struct vm *vm, vm_paddr_t gpa, int segid, int64_t off,
    size_t len, int prot, int flags);
int vmm_munmap_memseg(struct vm *vm, vm_paddr_t gpa, size_t len);
/* First mapping at or above *gpa; ENOENT at the end. */
int vmm_mmap_getnext(struct vm *vm, vm_paddr_t *gpa, int *segid, int64_t *off,
    size_t *len, int *prot, int *flags);
/* Host address of [gpa, gpa+len), NULL unless wholly inside one mapping
 * that allows prot.  The only way from a gpa to a pointer on this floor. */
void *vmm_gpa2hva(struct vm *vm, vm_paddr_t gpa, size_t len, int prot);
void *vmm_gpa2sysmem(struct vm *vm, vm_paddr_t gpa, size_t len);
vm_paddr_t vmm_sysmem_maxaddr(struct vm *vm);
/* Copy to or from guest memory, page by page; EFAULT outside of it. */
int vmm_gpa_read(struct vm *vm, vm_paddr_t gpa, void *buf, size_t len);
int vmm_gpa_write(struct vm *vm, vm_paddr_t gpa, const void *buf, size_t len);
/*
 * Somebody other than a vCPU wrote guest memory (DMA, libvmmapi, a loader):
 * decoded code there is void.  Devices reach it by vm_dirty_gpa().
 */
void vmm_memory_written(struct vm *vm, vm_paddr_t gpa, size_t len);
/* The software processor registers here to hear of it (one at a time). */
void vmm_set_write_hook(struct vm *vm,
    void (*hook)(void *arg, vm_paddr_t gpa, size_t len), void *arg);

/* Guest paging state and the walk (vie_paging.c). */
struct vm_guest_paging {
	uint64_t cr3;
	int32_t cpl;
	int32_t cpu_mode;    /* enum vm_cpu_mode */
	int32_t paging_mode; /* enum vm_paging_mode */
	int32_t pad;
};
/* 0: *gpa valid, or *is_fault set: the guest gets #PF (or #GP) when inject is
 * true.  EFAULT: tables outside of memory; EBUSY: an exception waits already.
 */
int vmm_gla2gpa(struct vcpu *vcpu, const struct vm_guest_paging *paging,
    uint64_t gla, int prot, uint64_t *gpa, int *is_fault, bool inject);

/* How the vCPU translates now. */
int vmm_get_paging(struct vcpu *vcpu, struct vm_guest_paging *paging);

/* ---- accesses served by the vmm's own chips (vmm_ioport.c) ---- */
/* True when a chip of csrc/vmm/io owns the port; *val in/out. */
bool vmm_handle_inout(
    struct vcpu *vcpu, bool in, uint16_t port, int bytes, uint32_t *val);
/* True when LAPIC, IOAPIC or HPET own the address. */
bool vmm_handle_mmio(
    struct vcpu *vcpu, vm_paddr_t gpa, bool write, uint64_t *val, int bytes);
/* MSRs that the core owns for both backends: APIC base, x2APIC, MTRR, PAT
 * policy, MISC_ENABLE...  0: done; ENOENT: not ours (exit to user space);
 * EINVAL: #GP (vmm_msr.c, vmm_lapic.c). */
int vmm_rdmsr(struct vcpu *vcpu, uint32_t msr, uint64_t *val);
int vmm_wrmsr(struct vcpu *vcpu, uint32_t msr, uint64_t val);

/* Guest CPUID policy (x86_cpuid.c): what the guest sees for eax/ecx in.
 * Features are cut to what the backend's mask allows. */
struct vmm_cpuid_policy; /* opaque; per VM */
bool x86_host_is_amd(void);
/* What leaf 0 says to the VM's guests, with a NUL behind it. */
void x86_cpuid_vendor(struct vm *vm, char vendor[13]);
void x86_emulate_cpuid(struct vcpu *vcpu, uint32_t *eax, uint32_t *ebx,
    uint32_t *ecx, uint32_t *edx);

/* ---- interrupts for devices (vmm_lapic.c, io/) ---- */
int lapic_intr_msi(struct vm *vm, uint64_t addr, uint64_t msg);
int lapic_set_local_intr(struct vm *vm, struct vcpu *vcpu, int lvt);
int lapic_set_intr(struct vcpu *vcpu, int vector, bool level);

/* ---- time (vmm_timer.c): one timer thread a process ---- */
/* ns since an arbitrary point; stops while the VM is paused. */
int64_t vmm_now(struct vm *vm);
typedef void (*vmm_callout_fn)(void *arg);
struct vmm_callout {
	struct vm *vm;
	vmm_callout_fn fn;
	void *arg;
	int64_t when;	/* vmm_now() units */
	int heap_index; /* -1: idle */
	bool firing;
};
void vmm_callout_init(
    struct vmm_callout *c, struct vm *vm, vmm_callout_fn fn, void *arg);
/* (Re)arm for the absolute time `when`.  May be called from fn. */
void vmm_callout_reset(struct vmm_callout *c, int64_t when);
/* Disarm; does not wait for a running fn (fn takes its chip's lock and looks
 * again).  vmm_callout_drain() waits, and must not hold that lock. */
void vmm_callout_stop(struct vmm_callout *c);
void vmm_callout_drain(struct vmm_callout *c);

/* TSC of the guest: host TSC times 1 plus an offset per vCPU. */
uint64_t vmm_tsc_hz(void);

/* One line on stderr ("vmm: ..."), CRLF when the terminal is raw. */
void vmm_log(const char *fmt, ...) __attribute__((__format__(printf, 1, 2)));

#endif
