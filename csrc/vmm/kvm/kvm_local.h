/*
 * What the files of the KVM backend share.  Only this folder knows
 * <linux/kvm.h>.
 *
 * A vCPU's registers live in KVM.  Between two KVM_RUNs they are cached here:
 * general registers in the shared run page (KVM_CAP_SYNC_REGS, so an exit
 * costs no ioctl to look at them), the system registers after the first
 * question for one.  Dirty caches go back before the next KVM_RUN.
 */
#ifndef _KVM_LOCAL_H_
#define _KVM_LOCAL_H_

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "vchips.h"
#include "vmm.h"
#include "vmm_stat.h"

#define KVM_SLOTS 64
#define KVM_XSAVE_MAX 16384

struct kvm_slot {
	uint64_t gpa;
	uint64_t len; /* 0: free */
};

#define KVM_MSI_ROUTES 1024
struct kvm_msi_route {
	bool used;
	uint64_t addr;
	uint32_t data;
	int fd; /* of the irqfd; open while the route is used */
};

struct kvm_vcpu;

struct kvm_vm {
	struct vm *vm;
	int dev_fd;
	int fd;
	pthread_mutex_t mtx; /* slots, routes, the vCPU table */
	/* Messages pass by it (read); who changes a local APIC's page between
	 * getting and setting it keeps them out (write).  Before mtx. */
	pthread_rwlock_t lapic_gate;
	struct kvm_slot slot[KVM_SLOTS];
	struct kvm_vcpu *vcpu[VM_MAXCPU];
	int vcpu_run_size;
	int xsave_size;
	bool sync_regs;
	bool interpreted;  /* no vmx or svm: many instructions fall back */
	bool tsc_deadline; /* a mode of KVM's local APIC timer */
	struct kvm_cpuid2 *supported;
	/* Level pins of the I/O APIC as KVM knows them; 0: no route. */
	uint64_t route[VIOAPIC_PINS];
	struct kvm_msi_route msi[KVM_MSI_ROUTES]; /* behind the pins */
	/* Halt detection (kvm_event.c). */
	struct vmm_callout halt_callout;
	_Atomic uint64_t deaf; /* vCPUs that no interrupt can wake */
	_Atomic bool halt_watch;
};

/* What user space owes an answer to. */
enum kvm_owed { OWED_NONE, OWED_INOUT, OWED_MMIO, OWED_SOFT };

struct kvm_vcpu {
	struct kvm_vm *kv;
	struct vcpu *vcpu;
	int id;
	int fd;
	struct kvm_run *run;

	/* The thread inside kvm_vcpu_run(); kicks go there. */
	_Atomic pid_t tid;
	_Atomic bool in_run;
	_Atomic uint64_t exits; /* exits that tell of a guest that runs */
	uint64_t exits_seen;	/* by the halt detection */

	bool ran; /* KVM_RUN was called: CPUID is fixed */
	bool cpuid_set;
	bool regs_valid, regs_dirty;
	bool sregs_valid, sregs_dirty;
	bool dregs_valid, dregs_dirty;
	bool xcr0_valid, xcr0_dirty;
	bool debug_dirty;
	struct kvm_sregs sregs;
	struct kvm_debugregs dregs;
	uint64_t xcr0;

	/* KVM has half of an instruction in hand until the next KVM_RUN. */
	bool unfinished;
	enum kvm_owed owed;
	struct vm_exit owed_exit; /* told again if nobody answers */
	bool located;		  /* owed_exit says where it stands */
	uint32_t io_done;	  /* elements of a string access */

	bool extint_held; /* `extint` waits for KVM to take it */
	uint8_t extint;

	bool cap_mtrap, cap_bpt, cap_halt, cap_pause, cap_maskintr;
	uint64_t debug_dr[4], debug_dr7; /* the debugger's */

	struct kvm_stats *stats; /* kvm_stats.c; NULL: none */

	/* An instruction that the software processor runs (kvm_soft.c). */
	struct kvm_soft *soft;
};

/* kvm_stats.c */
void kvm_stats_init(struct kvm_vcpu *kc);
void kvm_stats_update(void *vcpui);
void kvm_stats_cleanup(struct kvm_vcpu *kc);

/* kvm_ops.c */
/* As ioctl(2), but retried after EINTR; logs the name of what failed. */
int kvm_ioctl(int fd, const char *name, unsigned long cmd, void *arg);
#define KVM_IOCTL(fd, cmd, arg) \
	kvm_ioctl(fd, #cmd, cmd, (void *)(uintptr_t)(arg))
int kvm_kick_signal(void);
int kvm_probe_auto(const char **why);

/* kvm_vcpu.c */
void *kvm_vcpu_init(void *vmi, struct vcpu *vcpu, int vcpuid);
void kvm_vcpu_cleanup(void *vcpui);
int kvm_vcpu_run(
    void *vcpui, const struct vm_entry *entry, struct vm_exit *vme);
void kvm_vcpu_kick(void *vcpui);
/* Let KVM finish the instruction it has in hand; reads as all ones. */
int kvm_vcpu_settle(struct kvm_vcpu *kc);
int kvm_vcpu_reset(void *vcpui, bool init);

/* kvm_locate.c */
void kvm_locate(void *vcpui, struct vm_exit *vme);
void kvm_locate_owed(struct kvm_vcpu *kc);

/* kvm_reg.c */
struct kvm_regs *kvm_regs(struct kvm_vcpu *kc);	  /* valid; NULL: errno */
struct kvm_sregs *kvm_sregs(struct kvm_vcpu *kc); /* valid; NULL: errno */
void kvm_regs_forget(struct kvm_vcpu *kc);	  /* after KVM_RUN */
int kvm_regs_flush(struct kvm_vcpu *kc);	  /* before it */
int kvm_getreg(void *vcpui, int reg, uint64_t *val);
int kvm_setreg(void *vcpui, int reg, uint64_t val);
int kvm_getdesc(void *vcpui, int reg, struct seg_desc *desc);
int kvm_setdesc(void *vcpui, int reg, const struct seg_desc *desc);
int kvm_getfpu(void *vcpui, void *buf, size_t *len);
int kvm_setfpu(void *vcpui, const void *buf, size_t len);

/* kvm_cap.c */
int kvm_getcap(void *vcpui, int type, int *val);
int kvm_setcap(void *vcpui, int type, int val);
int kvm_debug_flush(struct kvm_vcpu *kc);
int kvm_setdebug(void *vcpui, const uint64_t dr[4], uint64_t dr7);

/* kvm_cpuid.c */
int kvm_cpuid_init(struct kvm_vm *kv);
void kvm_cpuid_mask(void *vmi, uint32_t leaf, uint32_t sub, uint32_t *r4);
int kvm_cpuid_set(struct kvm_vcpu *kc);
int kvm_cpuid_changed(void *vcpui);

/* kvm_msr.c */
int kvm_msr_init(struct kvm_vm *kv);
int kvm_getmsr(void *vcpui, uint32_t msr, uint64_t *val);
int kvm_setmsr(void *vcpui, uint32_t msr, uint64_t val);
/* As kvm_getmsr() and kvm_setmsr() for several; returns how many. */
int kvm_msrs_get(
    struct kvm_vcpu *kc, const uint32_t *msrs, uint64_t *vals, int n);
int kvm_msrs_set(
    struct kvm_vcpu *kc, const uint32_t *msrs, const uint64_t *vals, int n);
int kvm_msr_reset(struct kvm_vcpu *kc, bool init);
int kvm_get_tsc_offset(void *vcpui, uint64_t *offset);
int kvm_set_tsc_offset(void *vcpui, uint64_t offset);
/* KVM_EXIT_X86_RDMSR and WRMSR.  True: *vme is an exit. */
bool kvm_exit_msr(struct kvm_vcpu *kc, struct vm_exit *vme, int *error);

/* kvm_mem.c */
int kvm_memmap(void *vmi, vm_paddr_t gpa, size_t len, void *hva, int prot);

/* kvm_irqchip.c */
int kvm_irqchip_init(struct kvm_vm *kv);
int kvm_lapic_msi(void *vmi, uint64_t addr, uint64_t data);
int kvm_lapic_get(void *vcpui, void *regs4096);
int kvm_lapic_set(void *vcpui, const void *regs4096);
int kvm_lapic_mmio(
    void *vcpui, uint64_t off, bool write, uint64_t *val, int bytes);
int kvm_lapic_lvt(void *vcpui, int lvt);
void kvm_ioapic_changed(void *vmi);
int kvm_lapic_reset(struct kvm_vcpu *kc, bool init);

int kvm_routes_write(struct kvm_vm *kv); /* under mtx; -1 with errno */

/* kvm_eventfd.c */
int kvm_ioevent(void *vmi, const struct vm_ioevent *ioe);
int kvm_msi_irqfd(void *vmi, struct vm_irqfd *ifd);
/* Descriptors that are written to meanwhile send when they are let go. */
int kvm_irqfds_hold(struct kvm_vm *kv, bool hold);

/* kvm_event.c */
/* Hand pending events to KVM, before an entry. */
int kvm_event_push(struct kvm_vcpu *kc);
uint64_t kvm_events_intinfo(const struct kvm_vcpu_events *ev);
int kvm_event_reset(struct kvm_vcpu *kc);
int kvm_get_shadow(struct kvm_vcpu *kc, uint64_t *val);
int kvm_set_shadow(struct kvm_vcpu *kc, uint64_t val);
void kvm_halt_init(struct kvm_vm *kv);
void kvm_halt_start(struct kvm_vm *kv);
void kvm_halt_cleanup(struct kvm_vm *kv);

/* kvm_soft.c */
/*
 * KVM cannot emulate the instruction at RIP: run it on the software
 * processor.  True: *vme is an exit; false: go on, or *error.
 */
bool kvm_soft_run(struct kvm_vcpu *kc, struct vm_exit *vme, int *error);
/* The same instruction goes on with the answer to its exit. */
bool kvm_soft_resume(struct kvm_vcpu *kc, const struct vm_entry *entry,
    struct vm_exit *vme, int *error);
void kvm_soft_cleanup(struct kvm_vcpu *kc);

#endif
