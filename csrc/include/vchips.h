/*
 * The platform chips that FreeBSD's vmm emulates in the kernel, one file
 * each in csrc/vmm/io.  Every chip has _init, _cleanup, _reset, and a pair
 * _data_read/_data_write for its versioned state class (returning bytes used
 * or a negative errno).  Chips lock themselves; the lock order is
 * chip -> vioapic/vatpic -> vlapic -> vcpu notification.
 */
#ifndef _VCHIPS_H_
#define _VCHIPS_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "vmm_regs.h"

struct vm;
struct vcpu;

/* A port access: *eax in or out; 0, or an errno: treated as absent. */
typedef int (*inout_func_t)(
    struct vm *vm, bool in, int port, int bytes, uint32_t *eax);

/*
 * What an edge on a controller's pin comes to now: the pin is masked, it is
 * taken, or it is lost because the one before it still waits.
 */
enum edge_fate { EDGE_MASKED, EDGE_TAKEN, EDGE_LOST };

/* ---- vatpic.c: the 8259 pair with ELCR ---- */
struct vatpic;
struct vatpic *vatpic_init(struct vm *vm);
void vatpic_cleanup(struct vatpic *vatpic);
void vatpic_reset(struct vatpic *vatpic);
int vatpic_master_handler(struct vm *, bool, int, int, uint32_t *);
int vatpic_slave_handler(struct vm *, bool, int, int, uint32_t *);
int vatpic_elc_handler(struct vm *, bool, int, int, uint32_t *);
int vatpic_assert_irq(struct vm *vm, int irq);
int vatpic_deassert_irq(struct vm *vm, int irq);
int vatpic_pulse_irq(struct vm *vm, int irq);
enum edge_fate vatpic_edge_fate(struct vm *vm, int irq);
int vatpic_set_irq_trigger(struct vm *vm, int irq, int level);
bool vatpic_pending_intr(struct vm *vm, int *vecptr); /* INTR pin; vector */
void vatpic_intr_accepted(struct vm *vm, int vector); /* INTA */
int vatpic_data_read(struct vatpic *, void *buf, size_t len);
int vatpic_data_write(struct vatpic *, const void *buf, size_t len);

/* ---- vatpit.c: the 8254 and port 0x61 ---- */
struct vatpit;
struct vatpit *vatpit_init(struct vm *vm);
void vatpit_cleanup(struct vatpit *vatpit);
void vatpit_reset(struct vatpit *vatpit);
int vatpit_handler(struct vm *, bool, int, int, uint32_t *);
int vatpit_nmisc_handler(struct vm *, bool, int, int, uint32_t *);
int vatpit_data_read(struct vatpit *, void *buf, size_t len);
int vatpit_data_write(struct vatpit *, const void *buf, size_t len);

/* ---- vrtc.c: MC146818 ---- */
struct vrtc;
struct vrtc *vrtc_init(struct vm *vm);
void vrtc_cleanup(struct vrtc *vrtc);
void vrtc_reset(struct vrtc *vrtc);
int vrtc_addr_handler(struct vm *, bool, int, int, uint32_t *);
int vrtc_data_handler(struct vm *, bool, int, int, uint32_t *);
time_t vrtc_get_time(struct vm *vm);
int vrtc_set_time(struct vm *vm, time_t secs);
int vrtc_nvram_read(struct vm *vm, int offset, uint8_t *val);
int vrtc_nvram_write(struct vm *vm, int offset, uint8_t val);
int vrtc_data_read(struct vrtc *, void *buf, size_t len);
int vrtc_data_write(struct vrtc *, const void *buf, size_t len);

/* ---- vpmtmr.c: the ACPI PM timer, 3.579545 MHz, 32 bits, port 0x408 ---- */
struct vpmtmr;
struct vpmtmr *vpmtmr_init(struct vm *vm);
void vpmtmr_cleanup(struct vpmtmr *pmtmr);
void vpmtmr_reset(struct vpmtmr *pmtmr);
int vpmtmr_handler(struct vm *, bool, int, int, uint32_t *);
int vpmtmr_set_ioport(struct vm *vm, uint16_t port);
uint16_t vpmtmr_ioport(struct vm *vm);
int vpmtmr_data_read(struct vpmtmr *, void *buf, size_t len);
int vpmtmr_data_write(struct vpmtmr *, const void *buf, size_t len);

/* ---- vhpet.c ---- */
#define VHPET_BASE 0xfed00000UL
#define VHPET_SIZE 1024
struct vhpet;
struct vhpet *vhpet_init(struct vm *vm);
void vhpet_cleanup(struct vhpet *vhpet);
void vhpet_reset(struct vhpet *vhpet);
int vhpet_mmio_read(struct vcpu *, uint64_t gpa, uint64_t *rval, int size);
int vhpet_mmio_write(struct vcpu *, uint64_t gpa, uint64_t val, int size);
int vhpet_getcap(uint32_t *cap);
int vhpet_data_read(struct vhpet *, void *buf, size_t len);
int vhpet_data_write(struct vhpet *, const void *buf, size_t len);

/* ---- vioapic.c: 32 pins ---- */
#define VIOAPIC_BASE 0xfec00000UL
#define VIOAPIC_SIZE 4096
#define VIOAPIC_PINS 32
struct vioapic;
struct vioapic *vioapic_init(struct vm *vm);
void vioapic_cleanup(struct vioapic *vioapic);
void vioapic_reset(struct vioapic *vioapic);
int vioapic_mmio_read(struct vcpu *, uint64_t gpa, uint64_t *rval, int size);
int vioapic_mmio_write(struct vcpu *, uint64_t gpa, uint64_t val, int size);
int vioapic_assert_irq(struct vm *vm, int irq);
int vioapic_deassert_irq(struct vm *vm, int irq);
int vioapic_pulse_irq(struct vm *vm, int irq);
enum edge_fate vioapic_edge_fate(struct vm *vm, int irq);
int vioapic_pincount(struct vm *vm);
/* A local APIC (ours or KVM's exit) saw the EOI of a level vector. */
void vioapic_process_eoi(struct vm *vm, int vector);
uint64_t vioapic_get_rte(struct vm *vm, int pin);
/* The message that a redirection entry sends. */
void vioapic_rte_to_msi(uint64_t rte, uint64_t *addr, uint64_t *data);
int vioapic_data_read(struct vioapic *, void *buf, size_t len);
int vioapic_data_write(struct vioapic *, const void *buf, size_t len);

#endif
