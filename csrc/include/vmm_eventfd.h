/*
 * Event descriptors between user space and a processor that knows them (KVM):
 * guest writes that count on one, messages that one sends.
 */
#ifndef _VMM_EVENTFD_H_
#define _VMM_EVENTFD_H_

#include <stdint.h>

/*
 * Guest writes to a place (addr, len bytes; 0: of any length, memory only)
 * count on an event descriptor instead of leaving to user space.
 */
#define VM_IOEVENT_PIO 0x1u   /* a port; else memory */
#define VM_IOEVENT_MATCH 0x2u /* only of this value */
#define VM_IOEVENT_DEL 0x4u   /* no more; all members as they were */
struct vm_ioevent {
	uint64_t addr;
	uint64_t match;
	uint32_t len;
	int32_t fd;
	uint32_t flags;
	uint32_t pad;
};

/* A message that is sent when the event descriptor is written to. */
#define VM_IRQFD_DEL 0x1u
struct vm_irqfd {
	uint64_t addr;
	uint32_t data;
	int32_t fd;
	int32_t route; /* -1: a new one, out: its number */
	uint32_t flags;
};

#endif
