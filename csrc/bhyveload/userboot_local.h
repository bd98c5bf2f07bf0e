/*
 * What the parts of the loader's process share.
 */
#ifndef _USERBOOT_LOCAL_H_
#define _USERBOOT_LOCAL_H_

#include <stddef.h>
#include <stdint.h>

#include "userboot.h"

#define UB_FD 3 /* where the socket stands in the confined process */

/* End the process after telling the other side why. */
_Noreturn void ub_fail(const char *fmt, ...)
    __attribute__((format(printf, 1, 2)));

/*
 * Leave nothing but the socket at UB_FD: other descriptors closed, no new
 * privileges, system calls filtered.  Mapping anonymous memory stays allowed
 * until ub_seal().
 */
void ub_confine(int fd);
void ub_seal(void);

/*
 * Map the object and return loader_main's address.  Each number in it is
 * checked; ub_fail() says in one line what is wrong with it.
 */
void *ub_map(const uint8_t *image, size_t size);

/* A function or variable that the object may want of its host, or NULL. */
void *ub_host_symbol(const char *name);

/* The table of callbacks, FreeBSD's struct loader_callbacks. */
void *const *ub_callbacks(void);

#endif
