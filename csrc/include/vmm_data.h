/*
 * The versioned state of the chips of csrc/vmm/io: what VM_DATA_READ gives
 * and VM_DATA_WRITE takes (classes VDC_* of vmmapi.h; the local APIC's is in
 * vlapic.h).  All times are vmm_now() nanoseconds unless said otherwise.
 * Little endian, without padding or pointers: also the format of snapshots.
 */
#ifndef _VMM_DATA_H_
#define _VMM_DATA_H_

#include <stdint.h>

/* VDC_IOAPIC */
struct vdi_ioapic_v1 {
	uint64_t pin_reg[32];
	uint32_t pin_level[32]; /* how many sources assert the pin */
	uint32_t id;
	uint32_t reg_sel;
};

/* VDC_ATPIC: [0] master, [1] slave */
struct vdi_atpic_v1 {
	struct vdi_atpic_chip_v1 {
		uint8_t icw_state;  /* 0: idle, else the next ICW's number */
		uint8_t icw_expect; /* bit 0: ICW3, bit 1: ICW4 to come */
		uint8_t status;	    /* VDI_ATPIC_* */
		uint8_t vec_base;
		uint8_t lowprio;
		uint8_t reg_irr;
		uint8_t reg_isr;
		uint8_t reg_imr;
		uint8_t reg_elc;
		uint8_t pad[7];
		uint32_t line_level[8];
	} chip[2];
};
#define VDI_ATPIC_READY 0x01u
#define VDI_ATPIC_AEOI 0x02u
#define VDI_ATPIC_POLL 0x04u
#define VDI_ATPIC_ROTATE 0x08u
#define VDI_ATPIC_SFNM 0x10u
#define VDI_ATPIC_SMM 0x20u
#define VDI_ATPIC_READ_ISR 0x40u

/* VDC_ATPIT */
struct vdi_atpit_v1 {
	struct vdi_atpit_channel_v1 {
		uint16_t initial; /* as written; 0: the full range */
		uint16_t reload;  /* waits for the end of the period */
		uint16_t latched; /* the latched count */
		uint8_t status;	  /* the latched status */
		uint8_t mode;	  /* 0 to 5 */
		uint8_t access;	  /* 1: low, 2: high, 3: both */
		uint8_t bcd;
		uint8_t write_low; /* first byte of a pair */
		uint8_t flags[5];  /* see vatpit.c, pit_pack() */
		int64_t base;	   /* when counting began */
		uint64_t frozen;   /* clocks done while the gate is low */
		uint64_t tick;	   /* index of the last edge delivered */
	} channel[3];
	uint8_t port61;
	uint8_t pad[7];
};

/* VDC_HPET */
struct vdi_hpet_v1 {
	uint64_t config;
	uint64_t isr;
	uint64_t count_base; /* counter at time_base, or when halted */
	int64_t time_base;
	struct vdi_hpet_timer_v1 {
		uint64_t config;
		uint64_t msi;
		uint32_t comp_val;
		uint32_t comp_rate;
		uint64_t due; /* absolute count */
		uint32_t armed;
		uint32_t pad;
	} timers[8];
};

/* VDC_PM_TIMER */
struct vdi_pm_timer_v1 {
	int64_t time_base;
	uint16_t ioport;
	uint8_t pad[6];
};

/* VDC_RTC */
struct vdi_rtc_v1 {
	uint8_t nvram[128]; /* with the clock's own registers */
	uint8_t addr;
	uint8_t running; /* the clock advances */
	uint8_t irq;	 /* IRQ 8 is asserted */
	uint8_t pad;
	uint32_t offset_nsec; /* the clock minus the host's CLOCK_REALTIME */
	int64_t offset_sec;
	int64_t last_second; /* last second looked at by the flags */
	int64_t pi_base;
	uint64_t pi_tick;
};

_Static_assert(sizeof(struct vdi_ioapic_v1) == 392, "fixed layout");
_Static_assert(sizeof(struct vdi_atpic_v1) == 96, "fixed layout");
_Static_assert(sizeof(struct vdi_atpit_v1) == 128, "fixed layout");
_Static_assert(sizeof(struct vdi_hpet_v1) == 352, "fixed layout");
_Static_assert(sizeof(struct vdi_pm_timer_v1) == 16, "fixed layout");
_Static_assert(sizeof(struct vdi_rtc_v1) == 168, "fixed layout");

#endif
