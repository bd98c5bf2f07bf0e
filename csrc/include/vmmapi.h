/*
 * libvmmapi: the C face of the vmm.  The caller cannot tell whether this
 * process owns the VM or talks to its owner over the control socket; only
 * vm_run(), vm_map_gpa() of another machine's VM and the like need the owner.
 *
 * Functions return 0, or -1 with errno, unless said otherwise.
 */
#ifndef _VMMAPI_H_
#define _VMMAPI_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/time.h>
#include <sys/uio.h>

#include "vmm_cap.h"
#include "vmm_class.h"
#include "vmm_eventfd.h"
#include "vmm_exit.h"
#include "vmm_mem.h"
#include "vmm_regs.h"

#define VMMAPI_VERSION 0300

struct vmctx;
struct vcpu;

enum vm_mmap_style { VM_MMAP_NONE, VM_MMAP_ALL, VM_MMAP_SPARSE };

/* A part of guest memory and the nodes of the host that it comes from. */
enum vm_mem_policy { VM_MEM_FIRST_TOUCH, VM_MEM_ROUND_ROBIN, VM_MEM_PREFER };
struct vm_mem_domain {
	size_t size;
	int policy;	/* enum vm_mem_policy */
	uint64_t nodes; /* bit N: node N; 0: all */
};

#define VMMAPI_OPEN_CREATE 0x01
#define VMMAPI_OPEN_REINIT 0x02
#define VMMAPI_OPEN_CREATE_DESTROY_ON_CLOSE 0x04
/* Ours: be the owner or fail with EBUSY; never talk to another process. */
#define VMMAPI_OPEN_OWNER 0x08

#define VM_LOWMEM_LIMIT (3UL << 30)
#define VM_HIGHMEM_BASE (4UL << 30)

/* ---- lifetime ---- */
int vm_create(const char *name);
struct vmctx *vm_open(const char *name);
struct vmctx *vm_openf(const char *name, int flags);
void vm_close(struct vmctx *ctx);
void vm_destroy(struct vmctx *ctx); /* also closes */
/* Ours: end the VM and free its name now; ctx and its memory stay till
 * vm_close(). */
int vm_unlink(struct vmctx *ctx);
int vm_reinit(struct vmctx *ctx);
int vm_suspend(struct vmctx *ctx, enum vm_suspend_how how);
int vm_limit_rights(struct vmctx *ctx);
const char *vm_get_name(struct vmctx *ctx);
int vm_get_device_fd(struct vmctx *ctx);
/* len NULL: a copy for the caller to free; else only their number. */
const uint32_t *vm_get_ioctls(size_t *len);
/* Ours: a VM that VMMAPI_OPEN_CREATE_DESTROY_ON_CLOSE made stays after all,
 * however this process ends. */
int vm_keep(struct vmctx *ctx);
/* Ours: true when this process owns the VM; the backend's name. */
bool vm_is_owner(struct vmctx *ctx);
const char *vm_get_backend(struct vmctx *ctx);
/* Ours: whether the processors that its guests see are AMD's or Hygon's. */
bool vm_amd_guests(struct vmctx *ctx);
/* Ours: one sentence on why the last vm_open*() or vm_create() of this
 * thread failed, "" when errno says it all. */
const char *vm_open_error(void);
/* Ours: the backend of the VMs that this process opens from now on: "auto",
 * "kvm" or "soft".  EINVAL for another name. */
int vm_set_backend(const char *backend);
/* Ours: may hot code of software processors that start from now on be
 * translated to host code (the default)? */
void vm_set_translate(bool on);
/*
 * Ours: what VMs do that other processes run, all asked at once and waited
 * for at most `ms` milliseconds.  `error` is 0, EAGAIN where no process has
 * the VM, EBUSY or ETIMEDOUT where one has it and does not answer, or says
 * why the VM cannot be looked at.  `memory` is in bytes.
 */
struct vm_glance {
	int error;
	int pid; /* of the process that has it; 0: not known */
	uint64_t active_cpus, suspended_cpus, debug_cpus;
	uint64_t memory;
	int vcpus;
	bool paused;
	char backend[16];
};
int vm_glances(
    const char *const *names, int n, int ms, struct vm_glance *glances);
/* Ours: why the VM can only be destroyed or reinitialised (its owner died,
 * its state is damaged); "" when nothing is wrong. */
const char *vm_trouble(struct vmctx *ctx);
/* Ours: start serving the control socket of a VM that this process owns. */
int vm_serve(struct vmctx *ctx);
/* Ours: write state back to the VM's directory now (vm_close does too). */
int vm_save(struct vmctx *ctx);

/* ---- vCPUs ---- */
struct vcpu *vm_vcpu_open(struct vmctx *ctx, int vcpuid);
void vm_vcpu_close(struct vcpu *vcpu);
int vcpu_id(struct vcpu *vcpu);
struct vmctx *vcpu_ctx(struct vcpu *vcpu);
int vcpu_reset(struct vcpu *vcpu);
int vm_activate_cpu(struct vcpu *vcpu);
int vm_suspend_cpu(struct vcpu *vcpu);
int vm_resume_cpu(struct vcpu *vcpu);
int vm_suspend_all_cpus(struct vmctx *ctx);
int vm_resume_all_cpus(struct vmctx *ctx);
/* Waits for accesses that other threads serve: EBUSY after 5 seconds. */
int vm_pause(struct vmctx *ctx);
int vm_resume(struct vmctx *ctx);
/* Ours: 1 between vm_pause() and vm_resume(), else 0. */
int vm_is_paused(struct vmctx *ctx);
/* illumos': take and release the lock that stops every vCPU. */
int vm_wrlock_cycle(struct vmctx *ctx);
/* Sets of vCPUs are one word: bit N is vCPU N (VM_MAXCPU <= 64). */
int vm_active_cpus(struct vmctx *ctx, uint64_t *cpus);
int vm_suspended_cpus(struct vmctx *ctx, uint64_t *cpus);
int vm_debug_cpus(struct vmctx *ctx, uint64_t *cpus);
int vm_apicid2vcpu(struct vmctx *ctx, int apicid);
int vm_set_topology(struct vmctx *ctx, uint16_t sockets, uint16_t cores,
    uint16_t threads, uint16_t maxcpus);
int vm_get_topology(struct vmctx *ctx, uint16_t *sockets, uint16_t *cores,
    uint16_t *threads, uint16_t *maxcpus);
/* Blocks until an exit that the caller must see.  entry NULL: default. */
int vm_run(
    struct vcpu *vcpu, const struct vm_entry *entry, struct vm_exit *vme);
int vm_restart_instruction(struct vcpu *vcpu);
int vm_get_run_state(struct vcpu *vcpu, uint32_t *state, uint8_t *sipi);
int vm_set_run_state(struct vcpu *vcpu, uint32_t state, uint8_t sipi);

/* ---- memory ---- */
int vm_parse_memsize(const char *opt, size_t *memsize);
int vm_setup_memory(struct vmctx *ctx, size_t len, enum vm_mmap_style style);
/* Parts of one segment, in their order; the owner's call. */
int vm_setup_memory_domains(struct vmctx *ctx, enum vm_mmap_style style,
    const struct vm_mem_domain *domains, int ndomains);
/* Host pointer to [gpa, gpa+len), or NULL: all of it is system memory. */
void *vm_map_gpa(struct vmctx *ctx, vm_paddr_t gpa, size_t len);
/* Ours: the same, but for devmem as well, whatever the guest may do there; for
 * debuggers, not for devices. */
void *vm_map_devmem(struct vmctx *ctx, vm_paddr_t gpa, size_t len);
/* The device wrote there (DMA): decoded code in it is void. */
void vm_dirty_gpa(struct vmctx *ctx, vm_paddr_t gpa, size_t len);
vm_paddr_t vm_rev_map_gpa(struct vmctx *ctx, void *addr);
size_t vm_get_lowmem_size(struct vmctx *ctx);
size_t vm_get_highmem_size(struct vmctx *ctx);
vm_paddr_t vm_get_lowmem_limit(struct vmctx *ctx);
vm_paddr_t vm_get_highmem_base(struct vmctx *ctx);
void vm_set_memflags(struct vmctx *ctx, int flags);
int vm_get_memflags(struct vmctx *ctx);
int vm_get_memseg(
    struct vmctx *ctx, int segid, size_t *len, char *name, size_t namesz);
int vm_mmap_getnext(struct vmctx *ctx, vm_paddr_t *gpa, int *segid,
    int64_t *off, size_t *len, int *prot, int *flags);
void *vm_create_devmem(struct vmctx *ctx, int segid, const char *name,
    size_t len); /* MAP_FAILED with errno */
int vm_mmap_memseg(struct vmctx *ctx, vm_paddr_t gpa, int segid, int64_t off,
    size_t len, int prot);
int vm_munmap_memseg(struct vmctx *ctx, vm_paddr_t gpa, size_t len);
int vm_get_gpa_pmap(
    struct vmctx *ctx, vm_paddr_t gpa, uint64_t pte[4], int *num);

struct vm_guest_paging_api {
	uint64_t cr3;
	int32_t cpl, cpu_mode, paging_mode, pad;
};
int vm_get_paging(struct vcpu *vcpu, struct vm_guest_paging_api *paging);
int vm_gla2gpa(struct vcpu *vcpu, struct vm_guest_paging_api *paging,
    uint64_t gla, int prot, uint64_t *gpa, int *fault);
int vm_gla2gpa_nofault(struct vcpu *vcpu, struct vm_guest_paging_api *paging,
    uint64_t gla, int prot, uint64_t *gpa, int *fault);
int vm_copy_setup(struct vcpu *vcpu, struct vm_guest_paging_api *paging,
    uint64_t gla, size_t len, int prot, struct iovec *iov, int iovcnt,
    int *fault);
void vm_copyin(struct iovec *iov, void *dst, size_t len);
void vm_copyout(const void *src, struct iovec *iov, size_t len);
void vm_copy_teardown(struct iovec *iov, int iovcnt);

/* ---- registers ---- */
int vm_set_register(struct vcpu *vcpu, int reg, uint64_t val);
int vm_get_register(struct vcpu *vcpu, int reg, uint64_t *val);
int vm_set_register_set(struct vcpu *vcpu, unsigned int count, const int *regs,
    const uint64_t *vals);
int vm_get_register_set(
    struct vcpu *vcpu, unsigned int count, const int *regs, uint64_t *vals);
int vm_set_desc(
    struct vcpu *vcpu, int reg, uint64_t base, uint32_t limit, uint32_t access);
int vm_get_desc(struct vcpu *vcpu, int reg, uint64_t *base, uint32_t *limit,
    uint32_t *access);
int vm_get_seg_desc(struct vcpu *vcpu, int reg, struct seg_desc *desc);
int vm_get_msr(struct vcpu *vcpu, uint32_t msr, uint64_t *val);
int vm_set_msr(struct vcpu *vcpu, uint32_t msr, uint64_t val);
int vm_setup_freebsd_registers(struct vcpu *vcpu, uint64_t rip, uint64_t cr3,
    uint64_t gdtbase, uint64_t rsp);
int vm_setup_freebsd_registers_i386(
    struct vcpu *vcpu, uint32_t eip, uint32_t gdtbase, uint32_t esp);
void vm_setup_freebsd_gdt(uint64_t *gdtr);

/* ---- interrupts and events ---- */
int vm_inject_exception(struct vcpu *vcpu, int vector, int errcode_valid,
    uint32_t errcode, int restart_instruction);
int vm_inject_nmi(struct vcpu *vcpu);
int vm_lapic_irq(struct vcpu *vcpu, int vector);
int vm_lapic_local_irq(struct vcpu *vcpu, int lvt);
/* Ours, for a vcpuid of -1: of all active vCPUs. */
int vm_lapic_local_irq_all(struct vmctx *ctx, int lvt);
int vm_lapic_msi(struct vmctx *ctx, uint64_t addr, uint64_t msg);
/*
 * Ours.  Event descriptors that the processor itself counts on, and sends
 * messages for; -1 with EOPNOTSUPP where it does not (soft).
 */
int vm_ioevent(struct vmctx *ctx, const struct vm_ioevent *ioe);
int vm_irqfd(struct vmctx *ctx, struct vm_irqfd *ifd);
int vm_raise_msi(struct vmctx *ctx, uint64_t addr, uint64_t msg, int bus,
    int slot, int func);
int vm_ioapic_assert_irq(struct vmctx *ctx, int irq);
int vm_ioapic_deassert_irq(struct vmctx *ctx, int irq);
int vm_ioapic_pulse_irq(struct vmctx *ctx, int irq);
int vm_ioapic_pincount(struct vmctx *ctx, int *pincount);
int vm_isa_assert_irq(struct vmctx *ctx, int atpic_irq, int ioapic_irq);
int vm_isa_deassert_irq(struct vmctx *ctx, int atpic_irq, int ioapic_irq);
int vm_isa_pulse_irq(struct vmctx *ctx, int atpic_irq, int ioapic_irq);
enum vm_intr_trigger { EDGE_TRIGGER, LEVEL_TRIGGER };
int vm_isa_set_irq_trigger(
    struct vmctx *ctx, int atpic_irq, enum vm_intr_trigger trigger);
int vm_get_intinfo(struct vcpu *vcpu, uint64_t *i1, uint64_t *i2);
int vm_set_intinfo(struct vcpu *vcpu, uint64_t info);
int vm_readwrite_kernemu_device(
    struct vcpu *vcpu, vm_paddr_t gpa, bool write, int size, uint64_t *value);
int vm_get_x2apic_state(struct vcpu *vcpu, enum x2apic_state *state);
int vm_set_x2apic_state(struct vcpu *vcpu, enum x2apic_state state);
int vm_get_hpet_capabilities(struct vmctx *ctx, uint32_t *cap);

/* ---- capabilities, statistics, clock ---- */
int vm_get_capability(struct vcpu *vcpu, int type, int *val);
int vm_set_capability(struct vcpu *vcpu, int type, int val);
/*
 * Ours: DR0 to DR3 and DR7 of a debugger, beside the guest's own; what hits
 * them is a DB exit.  dr7 0: none.
 */
int vm_set_debugregs(struct vcpu *vcpu, const uint64_t dr[4], uint64_t dr7);
/* Ours: what the guest's TSC is ahead of the host's. */
int vm_get_tsc_offset(struct vcpu *vcpu, uint64_t *offset);
/* Not thread safe: the array is reused; NULL with errno on failure. */
uint64_t *vm_get_stats(struct vcpu *vcpu, struct timeval *tv, int *count);
const char *vm_get_stat_desc(struct vmctx *ctx, int index);
int vm_rtc_write(struct vmctx *ctx, int offset, uint8_t value);
int vm_rtc_read(struct vmctx *ctx, int offset, uint8_t *value);
int vm_rtc_settime(struct vmctx *ctx, int64_t secs);
int vm_rtc_gettime(struct vmctx *ctx, int64_t *secs);
int vm_pmtmr_set_location(struct vmctx *ctx, uint16_t ioport);

/* ---- snapshots ---- */
/* Not built: both say ENOTSUP and why (vm_open_error()). */
struct vm_snapshot_meta;
int vm_snapshot_req(struct vmctx *ctx, struct vm_snapshot_meta *meta);
int vm_restore_time(struct vmctx *ctx);

/* ---- devices of the host ---- */
int vm_assign_pptdev(struct vmctx *ctx, int bus, int slot, int func);
int vm_unassign_pptdev(struct vmctx *ctx, int bus, int slot, int func);
int vm_map_pptdev_mmio(struct vmctx *ctx, int bus, int slot, int func,
    vm_paddr_t gpa, size_t len, vm_paddr_t hpa);
int vm_unmap_pptdev_mmio(
    struct vmctx *ctx, int bus, int slot, int func, vm_paddr_t gpa, size_t len);
int vm_setup_pptdev_msi(struct vmctx *ctx, int bus, int slot, int func,
    uint64_t addr, uint64_t msg, int numvec);
int vm_setup_pptdev_msix(struct vmctx *ctx, int bus, int slot, int func,
    int idx, uint64_t addr, uint64_t msg, uint32_t vector_control);
int vm_disable_pptdev_msix(struct vmctx *ctx, int bus, int slot, int func);
/* illumos': how many messages the device can send. */
int vm_get_pptdev_limits(struct vmctx *ctx, int bus, int slot, int func,
    int *msi_limit, int *msix_limit);
/* Ours: where BAR 0 to 5 lies on the host (len 0: none); accesses to one, or
 * to the configuration space, of 1, 2, 4 or 8 bytes. */
int vm_get_pptdev_bar(struct vmctx *ctx, int bus, int slot, int func, int bar,
    vm_paddr_t *hpa, size_t *len, bool *io);
#define VM_PPT_CONFIG 7 /* region of these */
int vm_read_pptdev(struct vmctx *ctx, int bus, int slot, int func, int region,
    uint64_t offset, int size, uint64_t *val);
int vm_write_pptdev(struct vmctx *ctx, int bus, int slot, int func, int region,
    uint64_t offset, int size, uint64_t val);

/* ---- illumos' versioned state classes (VM_DATA_READ/WRITE) ---- */
/* Returns the length read (<= len), or -1. */
int vm_data_read(struct vmctx *ctx, int vcpuid, uint16_t cls, uint16_t version,
    void *buf, size_t len);
int vm_data_write(struct vmctx *ctx, int vcpuid, uint16_t cls, uint16_t version,
    const void *buf, size_t len);

#endif
