/*
 * The port bus.  Each port's slot points to a record that never goes away
 * while the machine exists, so that vCPUs look ports up without a lock.  A
 * device that moves its ports uses its old record again.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "debug.h"
#include "inout.h"
#include "vmm_exit.h"

#define MAX_IOPORTS 65536

SET_DECLARE(inout_port_set, const struct inout_port);

struct port_record {
	struct inout_port iop; /* port and size are not used */
	struct port_record *next;
};

static _Atomic(const struct port_record *) port_table[MAX_IOPORTS];
static struct port_record *records;
static pthread_mutex_t inout_mtx = PTHREAD_MUTEX_INITIALIZER;

static bool
same_owner(const struct inout_port *a, const struct inout_port *b)
{
	return (a->handler == b->handler && a->arg == b->arg &&
	    a->flags == b->flags);
}

static const struct port_record *
record_get(const struct inout_port *iop)
{
	struct port_record *r;

	for (r = records; r != NULL; r = r->next) {
		if (same_owner(&r->iop, iop))
			return (r);
	}
	r = calloc(1, sizeof(*r));
	if (r == NULL)
		return (NULL);
	r->iop = *iop;
	r->next = records;
	records = r;
	return (r);
}

static bool
range_ok(const struct inout_port *iop)
{
	return (iop->port >= 0 && iop->size > 0 && iop->port < MAX_IOPORTS &&
	    iop->size <= MAX_IOPORTS - iop->port);
}

int
register_inout(const struct inout_port *iop)
{
	const struct port_record *r;
	int error, i;

	if (!range_ok(iop))
		return (EINVAL);
	pthread_mutex_lock(&inout_mtx);
	error = 0;
	for (i = iop->port; i < iop->port + iop->size; i++) {
		if (atomic_load(&port_table[i]) != NULL)
			error = EEXIST;
	}
	if (error == 0) {
		r = record_get(iop);
		if (r == NULL)
			error = ENOMEM;
		for (i = iop->port; error == 0 && i < iop->port + iop->size;
		     i++)
			atomic_store(&port_table[i], r);
	}
	pthread_mutex_unlock(&inout_mtx);
	return (error);
}

int
unregister_inout(const struct inout_port *iop)
{
	const struct port_record *r;
	int i;

	if (!range_ok(iop))
		return (EINVAL);
	pthread_mutex_lock(&inout_mtx);
	for (i = iop->port; i < iop->port + iop->size; i++) {
		r = atomic_load(&port_table[i]);
		if (r != NULL && r->iop.handler == iop->handler &&
		    r->iop.arg == iop->arg)
			atomic_store(&port_table[i], NULL);
	}
	pthread_mutex_unlock(&inout_mtx);
	return (0);
}

int
init_inout(void)
{
	const struct inout_port *const *iopp;
	struct port_record *r;
	int error, i;

	for (i = 0; i < MAX_IOPORTS; i++)
		atomic_store_explicit(
		    &port_table[i], NULL, memory_order_relaxed);
	while ((r = records) != NULL) {
		records = r->next;
		free(r);
	}
	SET_FOREACH(iopp, inout_port_set)
	{
		error = register_inout(*iopp);
		if (error != 0) {
			EPRINTLN("inout: %s at 0x%04x: %s", (*iopp)->name,
			    (unsigned int)(*iopp)->port, strerror(error));
			return (error);
		}
	}
	return (0);
}

static inline uint32_t
size_mask(int bytes)
{
	return (bytes >= 4 ? 0xffffffffu : (1u << (bytes * 8)) - 1);
}

/* One access as the port's device sees it; non-zero: nobody answers. */
static int
port_access(struct vmctx *ctx, bool in, int port, int bytes, uint32_t *val)
{
	const struct port_record *r;
	int need;

	r = atomic_load_explicit(&port_table[port], memory_order_acquire);
	need = in ? IOPORT_F_IN : IOPORT_F_OUT;
	if (r == NULL || (r->iop.flags & need) == 0)
		return (-1);
	return (r->iop.handler(ctx, in, port, bytes, val, r->iop.arg));
}

/* A wide access to an 8-bit device: byte by byte, lowest port first. */
static int
split_access(struct vmctx *ctx, bool in, int port, int bytes, uint32_t *val)
{
	uint32_t byte, sum;
	int i, unclaimed;

	sum = 0;
	unclaimed = 0;
	for (i = 0; i < bytes; i++) {
		byte = in ? 0xff : (*val >> (i * 8)) & 0xff;
		if (port + i >= MAX_IOPORTS ||
		    port_access(ctx, in, port + i, 1, &byte) != 0) {
			unclaimed++;
			byte = 0xff;
		}
		sum |= (byte & 0xff) << (i * 8);
	}
	if (in)
		*val = sum;
	return (unclaimed == bytes ? -1 : 0);
}

int
emulate_inout(struct vmctx *ctx, struct vm_inout *io, int strict)
{
	const struct port_record *r;
	uint32_t mask, val;
	int bytes, error;

	bytes = io->bytes;
	if (bytes != 1 && bytes != 2 && bytes != 4)
		return (-1);
	mask = size_mask(bytes);
	val = io->in ? mask : io->eax & mask;

	r = atomic_load_explicit(&port_table[io->port], memory_order_acquire);
	if (r != NULL && bytes > 1 && (r->iop.flags & IOPORT_F_BYTES) != 0)
		error = split_access(ctx, io->in, io->port, bytes, &val);
	else
		error = port_access(ctx, io->in, io->port, bytes, &val);
	if (error != 0) {
		if (strict)
			return (-1);
		val = mask; /* an absent port floats high */
	}
	if (io->in)
		io->eax = val & mask;
	return (0);
}
