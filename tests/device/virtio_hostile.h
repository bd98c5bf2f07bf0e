/*
 * What the parts of the hostile virtio driver share: one driver, a disk, and
 * the rows that concern the transport (virtio_rings.c, virtio_registers.c).
 */
#ifndef _VIRTIO_HOSTILE_H_
#define _VIRTIO_HOSTILE_H_

#include "virtio_attack.h"

/* How a request of virtio-blk ends. */
#define OK 0
#define IOERR 1
#define UNSUPP 2

extern struct drv *const d;

/* A request's header, and a status that nobody has written yet. */
void header(uint32_t type, uint64_t sector);
/* Push chain 0, kick, and return the request's status byte. */
int submit(void);
/* Header, len bytes of data and status, one descriptor each. */
int request(uint32_t type, uint64_t sector, uint32_t len, uint16_t flags);
/* Sectors 7 and 8 are what they were. */
void good_read(void);
/*
 * The chain at 0 has to stop the device; a reset has to revive it.  But for
 * what is wrong with it, the chain is a good request: with its check gone it
 * would be taken.
 */
void refused(const char *what);

/* virtio_rings.c: V05, V06; V01, V04, V11; V03; V02; V07, V08; V12 */
void bad_buffers(void);
void bad_chains(void);
void bad_indirects(void);
void huge_total(void);
void bad_indexes(void);
void rings_move(void);
/* virtio_registers.c: V18; V19; V09, V10 */
void odd_registers(void);
void config_window(void);
void vectors(void);
void features_stay(void);
void modern_order(void);

#endif
