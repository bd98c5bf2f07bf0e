/* The device of kvm-unit-tests: exit port, interrupt lines, memory. */
#ifndef _PCTESTDEV_H_
#define _PCTESTDEV_H_

struct vmctx;

/* Ports for interrupt lines, at the start of the PCI port window. */
#define PCTESTDEV_IRQ_PORT 0x2000
#define PCTESTDEV_IRQ_PORTS 24

int pctestdev_init(struct vmctx *ctx);

#endif
