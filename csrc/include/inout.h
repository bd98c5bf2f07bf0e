/*
 * The port bus: a table of 64K ports.  Fixed ports come from a linker set;
 * devices with movable ports register at run time.
 */
#ifndef _INOUT_H_
#define _INOUT_H_

#include <stdint.h>

#include "linker_set.h"

struct vcpu;
struct vm_exit;
struct vm_inout;
struct vmctx;

/*
 * in: *eax is all ones on entry and truncated to the size afterwards.
 * Returns 0; anything else means that the device does not answer such an
 * access: the bus then behaves as for an absent port.  Called with no bus
 * lock held, on any vCPU's thread.
 */
typedef int (*inout_handler_t)(
    struct vmctx *ctx, int in, int port, int bytes, uint32_t *eax, void *arg);

struct inout_port {
	const char *name;
	int port;
	int size;
	int flags;
	inout_handler_t handler;
	void *arg;
};
#define IOPORT_F_IN 0x1
#define IOPORT_F_OUT 0x2
#define IOPORT_F_INOUT (IOPORT_F_IN | IOPORT_F_OUT)
/* An 8-bit device: the bus splits wider accesses into bytes, each of which
 * goes to the port that has it. */
#define IOPORT_F_BYTES 0x4

#define INOUT_PORT_RANGE(nam, prt, cnt, flg, hnd)                     \
	static const struct inout_port __inout_port_##nam##_##hnd = { \
		.name = #nam,                                         \
		.port = (prt),                                        \
		.size = (cnt),                                        \
		.flags = (flg),                                       \
		.handler = (hnd),                                     \
	};                                                            \
	DATA_SET(inout_port_set, __inout_port_##nam##_##hnd)
#define INOUT_PORT(nam, prt, flg, hnd) INOUT_PORT_RANGE(nam, prt, 1, flg, hnd)

/* Empty the table, then fill it from the linker set. */
int init_inout(void);
/* All or nothing: EEXIST when a port is taken, EINVAL, ENOMEM. */
int register_inout(const struct inout_port *iop);
/* Ports of [port, port+size) that this handler and argument own. */
int unregister_inout(const struct inout_port *iop);
/*
 * One access (no string repetition).  IN: io->eax gets the value.  Returns
 * 0, or -1 when strict and nobody answered.
 */
int emulate_inout(struct vmctx *ctx, struct vm_inout *io, int strict);

#endif
