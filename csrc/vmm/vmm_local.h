/*
 * struct vm and struct vcpu, and what the files of csrc/vmm share among
 * themselves.
 *
 * Lock order: vm_rwlock -> vCPU frozen -> vm_mtx -> chip locks -> vcpu mtx.
 * The timer's lock and the memory map's lock are leaves.
 */
#ifndef _VMM_LOCAL_H_
#define _VMM_LOCAL_H_

#include <pthread.h>
#include <stdatomic.h>

#include "vmm.h"
#include "vmm_stat.h"

#define PAGE_SIZE_4K 0x1000UL
#define PAGE_MASK_4K 0xfffUL
#define VM_MAX_MEMMAPS 16
#define VM_MAX_SEGNAME 32
#define VM_MTRR_VARS 8
#define XSAVE_AREA_MAX 16384

struct vmm_dir;
struct ppt_vm;

struct mem_seg {
	size_t len; /* 0: free */
	char name[VM_MAX_SEGNAME];
	int fd;
	uint8_t *hva;
	void *reserve; /* hva with its guard pages */
	size_t reserve_len;
};

/* One mapping; readers take it apart under the map's sequence count. */
struct mem_map {
	vm_paddr_t gpa;
	size_t len; /* 0: free */
	uint8_t *hva;
	int64_t off;
	int segid;
	int prot;
	int flags;
};

/* MTRRs have no effect here; guests read back what they wrote. */
struct vmm_mtrr {
	uint64_t def_type;
	uint64_t fixed4k[8];
	uint64_t fixed16k[2];
	uint64_t fixed64k;
	uint64_t var[2 * VM_MTRR_VARS]; /* base, mask, base, mask... */
};

/* What a vCPU is at, vmm_account.c. */
enum vcpu_time {
	VT_INIT, /* nothing of the guest has run */
	VT_RUN,	 /* in the processor */
	VT_IDLE, /* in HLT, or waiting for SIPI */
	VT_PAUSED,
	VT_KERN, /* in the vmm */
	VT_USER, /* in whoever called vm_run() */
	VT_COUNT,
};

/* In nanoseconds; written by the vCPU's thread, read by all. */
struct vcpu_times {
	_Atomic uint32_t seq;
	_Atomic int state;
	_Atomic uint64_t since; /* the present state; 0: it never ran */
	_Atomic uint64_t spent[VT_COUNT];
	_Atomic uint64_t waited; /* by the thread, before it ran the vCPU */
	bool ran;
};

struct vcpu {
	struct vm *vm;
	int vcpuid;
	void *cookie; /* the backend's */
	struct vlapic *vlapic;

	/* One word that processors poll; wake_seq is a futex for HLT. */
	_Atomic uint32_t pending;
	_Atomic uint32_t wake_seq;

	_Atomic int state; /* enum vcpu_state; IDLE comes and goes under mtx */
	pthread_mutex_t mtx;
	pthread_cond_t cond; /* state became IDLE, or lockers left */
	bool runner;	     /* a thread is in vmm_run(), or on its way */
	int lockers;	     /* threads that wait for IDLE */
	int late;	     /* of these, who came after the last admission */
	uint64_t batch;	     /* counts admissions */
	int64_t slice_end;   /* until then it is let run, CLOCK_MONOTONIC */
	_Atomic int hostcpu;
	int lasthostcpu;

	/* Run state: written under mtx, read by the vCPU's thread. */
	_Atomic uint32_t run_state;
	uint8_t sipi_vector;
	_Atomic bool halted; /* behind a HLT, waiting for an event */
	bool ext_is_pic;     /* the last vector offered came from the 8259 */

	/* Events, under ev_mtx (a leaf). */
	pthread_mutex_t ev_mtx;
	_Atomic bool nmi_pending;
	_Atomic bool extint_pending;
	bool exc_pending;
	bool exc_errcode_valid;
	uint8_t exc_vector;
	uint32_t exc_errcode;
	uint64_t exitintinfo;

	enum x2apic_state x2apic_state;
	struct vmm_mtrr mtrr;
	uint64_t pat;
	uint64_t misc_enable;
	uint64_t spec_ctrl;
	uint64_t tsc_delta; /* from the VM's TSC */
	uint64_t exit_rip;  /* of the last exit that user space saw */
	bool exit_brief;    /* exit_rip is not exact; the register is */

	/* User space has an access of this vCPU in hand (vmm_pause.c). */
	_Atomic bool owes;
	const char *user_thread; /* of the last exit */

	/* Time accounting, by the vCPU's own thread. */
	struct vcpu_times times;
	_Atomic int tid; /* the thread of vmm_run(); 0: none yet */

	_Atomic uint64_t stats[MAX_VMM_STAT_ELEMS];
};

struct vm {
	char *name;
	char backend[8]; /* "auto", "kvm" or "soft": what is wanted */
	const struct vmm_ops *ops;
	void *cookie;
	_Atomic bool selected; /* ops is the wanted backend, not a stand-in */
	_Atomic bool started;  /* vmm_start() was done; the clock may run */
	const char *fallback;  /* why auto did not take KVM */
	struct vmm_dir *dir;   /* NULL: segments are anonymous */

	pthread_rwlock_t rwlock; /* VM read hold, VM write hold */
	pthread_mutex_t mtx;	 /* vCPU table, sets, pause, rendezvous */
	pthread_cond_t cond;	 /* resume, end of a rendezvous */

	_Atomic(struct vcpu *) vcpu[VM_MAXCPU];
	uint16_t sockets, cores, threads, maxcpus;
	_Atomic uint64_t active_cpus, debug_cpus, suspended_cpus, halted_cpus;

	_Atomic int suspend; /* enum vm_suspend_how */
	int suspend_source;
	uint64_t suspend_when;

	_Atomic bool paused;

	/* Clock: under the timer's lock, published by time_seq. */
	_Atomic uint32_t time_seq;
	_Atomic bool time_runs;
	_Atomic int64_t time_off;    /* vmm_now = monotonic + time_off */
	_Atomic int64_t time_frozen; /* vmm_now while it stands */
	uint64_t tsc_offset;
	bool tsc_valid;	     /* tsc_offset (or tsc_frozen) continues a run */
	uint64_t tsc_frozen; /* guest TSC when the clock stopped */

	/* Rendezvous: under mtx. */
	vm_cpuset_t rdv_todo;
	vm_rendezvous_func_t rdv_func;
	void *rdv_arg;

	struct mem_seg segs[VM_MAX_MEMSEGS];
	struct mem_map maps[VM_MAX_MEMMAPS];
	pthread_mutex_t mem_mtx;
	_Atomic uint32_t map_seq;
	int memflags;
	void (*_Atomic write_hook)(void *arg, vm_paddr_t gpa, size_t len);
	void *_Atomic write_hook_arg;

	struct ppt_vm *ppt; /* devices of the host; NULL: never had one */

	struct vioapic *vioapic;
	struct vhpet *vhpet;
	struct vatpic *vatpic;
	struct vatpit *vatpit;
	struct vpmtmr *vpmtmr;
	struct vrtc *vrtc;
};

/* vmm.c */
bool vmm_own_lapic(struct vm *vm); /* vlapics serve this VM's vCPUs */
struct vcpu *vmm_alloc_vcpu_held(struct vm *vm, int vcpuid);

/* vmm_state.c */
void vcpu_yield(struct vcpu *vcpu);
void vcpu_wait_event(struct vcpu *vcpu, uint32_t seq);
/* Runs whatever a rendezvous asks of this (frozen) vCPU. */
void vmm_rendezvous_handle(struct vcpu *vcpu);
/* PEND_INIT and PEND_SIPI take effect; the caller holds the vCPU frozen. */
int vcpu_apply_run_state(struct vcpu *vcpu);
void vcpu_init_run_state(struct vcpu *vcpu);

/* vmm_pause.c */
/* The vCPU's thread takes an exit to user space; owes: it brings an answer
 * that belongs to the instruction. */
void vmm_exit_owes(struct vcpu *vcpu, bool owes);
void vmm_pause_notice(struct vm *vm);

/* vmm_event.c */
void vmm_event_reset(struct vcpu *vcpu);
bool vmm_event_deliverable(struct vcpu *vcpu, bool *intr_enabled);

/* vmm_account.c */
void vcpu_time_begin(struct vcpu *vcpu);
void vcpu_time_enter(struct vcpu *vcpu, enum vcpu_time state);
void vcpu_time_rename(struct vcpu *vcpu, enum vcpu_time state);
void vcpu_time_reset(struct vcpu *vcpu);
uint64_t vcpu_time_read(struct vcpu *vcpu, uint64_t spent[VT_COUNT]);
uint64_t vcpu_time_waited(struct vcpu *vcpu);
/* vmm_mem.c */
int vmm_mem_init(struct vm *vm);
void vmm_mem_cleanup(struct vm *vm);
void vmm_mem_reinit(struct vm *vm);
int vmm_mem_remap(struct vm *vm); /* tell a new backend of all mappings */
size_t vmm_mem_resident(struct vm *vm);
/* Devices of the host shall reach all RAM, or no longer do. */
int vmm_mem_iommu(struct vm *vm, bool on);
bool vmm_mem_overlaps(struct vm *vm, vm_paddr_t gpa, size_t len);
size_t vmm_mem_wired(struct vm *vm);
void vmm_set_memflags(struct vm *vm, int flags);
/* Brings back a segment whose file exists. */
int vmm_attach_memseg(struct vm *vm, int segid, size_t len, const char *name);

/* vmm_msr.c */
void vmm_msr_reset(struct vcpu *vcpu, bool init);
/* For others than the guest: 0, ENOENT, or EINVAL for a value not taken. */
int vmm_get_msr(struct vcpu *vcpu, uint32_t msr, uint64_t *val);
int vmm_set_msr(struct vcpu *vcpu, uint32_t msr, uint64_t val);
int vmm_core_msr_list(int idx, uint32_t *msr); /* ENOENT at the end */

/* vmm_timer.c */
void vmm_time_init(struct vm *vm);
void vmm_time_run(struct vm *vm);
void vmm_time_stop(struct vm *vm);
void vmm_time_set(struct vm *vm, int64_t now);
int vcpu_sync_tsc(struct vcpu *vcpu);
uint64_t vcpu_tsc_delta(struct vcpu *vcpu);
int vcpu_set_tsc_delta(struct vcpu *vcpu, uint64_t delta);
uint64_t vmm_guest_tsc(struct vm *vm);

/* vmm_stat.c */
void vmm_stat_init(void);
int vmm_stat_count(struct vm *vm);
int vmm_stat_desc(struct vm *vm, int index, char *buf, size_t size);
int vmm_stat_copy(struct vcpu *vcpu, int index, int n, uint64_t *vals);

/* x86_cpuid.c: the width of the guest's physical addresses. */
unsigned int x86_phys_bits(struct vcpu *vcpu);

/* x86_topo.c */
void x86_topo_leaf1(struct vcpu *vcpu, uint32_t *ebx, uint32_t *edx);
void x86_topo_leaf4(struct vcpu *vcpu, uint32_t subleaf, uint32_t r4[4]);
void x86_topo_leafb(struct vcpu *vcpu, uint32_t subleaf, uint32_t r4[4]);
void x86_topo_amd8(struct vcpu *vcpu, uint32_t r4[4]);
void x86_topo_amd1d(struct vcpu *vcpu, uint32_t subleaf, uint32_t r4[4]);
void x86_topo_amd1e(struct vcpu *vcpu, uint32_t r4[4]);

#endif
