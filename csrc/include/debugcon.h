/*
 * The debug port of QEMU and Bochs: bytes that firmware writes to 0x402 go
 * to lpc.debugcon.path.  The port number is also that of the PM1 enable
 * register, which has 16 bits: pm.c hands byte accesses over.
 */
#ifndef _DEBUGCON_H_
#define _DEBUGCON_H_

#include <stdint.h>

/* 0, or an errno after one line. */
int debugcon_init(void);
void debugcon_cleanup(void);
/* One byte.  Non-zero: there is no such device. */
int debugcon_access(int in, uint32_t *eax);

#endif
