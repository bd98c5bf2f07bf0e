/*
 * FreeBSD's loader as a shared object (userboot.so), run in a process of its
 * own: the object is mapped and relocated here, since it brings a foreign OS
 * ABI byte and no libc, and everything it asks of its host goes over a stream
 * socket to the process that forked it.
 *
 * A request is a struct ub_request and `len` bytes, the answer a struct
 * ub_reply and `len` bytes; UB_PUTC and UB_FAIL have no answer.
 */
#ifndef _USERBOOT_H_
#define _USERBOOT_H_

#include <stddef.h>
#include <stdint.h>

#define UB_MAX_DATA (256 * 1024) /* bytes behind one request or answer */
#define UB_MAX_PATH 1024	 /* a file name, an environment's row */

/* One for each callback, in no order that matters outside. */
enum ub_op {
	UB_GETC,      /* -> error 0: arg[0] the key; else no key any more */
	UB_PUTC,      /* arg[0] the byte */
	UB_POLL,      /* -> arg[0] */
	UB_OPEN,      /* data: name -> arg[0] handle */
	UB_CLOSE,     /* arg[0] handle */
	UB_ISDIR,     /* arg[0] handle -> arg[0] */
	UB_READ,      /* arg[0] handle, arg[1] size -> data */
	UB_READDIR,   /* arg[0] handle -> arg[0] inode, arg[1] type, name */
	UB_SEEK,      /* arg[0] handle, arg[1] offset, arg[2] whence */
	UB_STAT,      /* arg[0] handle -> data: struct ub_stat */
	UB_DISKREAD,  /* arg[0] unit, arg[1] offset, arg[2] size -> data */
	UB_DISKWRITE, /* arg[0] unit, arg[1] offset, data -> arg[0] written */
	UB_DISKSIZE,  /* arg[0] unit -> arg[0] bytes */
	UB_COPYIN,    /* arg[0] guest address, data */
	UB_COPYOUT,   /* arg[0] guest address, arg[1] size -> data */
	UB_SETREG,    /* arg[0] number, arg[1] value */
	UB_SETMSR,    /* arg[0] number, arg[1] value */
	UB_SETCR,     /* arg[0] number, arg[1] value */
	UB_SETGDT,    /* arg[0] base, arg[1] size */
	UB_EXEC,      /* arg[0] address; there is no way back */
	UB_DELAY,     /* arg[0] microseconds */
	UB_EXIT,      /* arg[0] status; there is no way back */
	UB_GETMEM,    /* -> arg[0] low, arg[1] high */
	UB_GETENV,    /* arg[0] number -> data: name=value */
	UB_VMSETREG,  /* arg[0] vCPU, arg[1] register, arg[2] value */
	UB_VMSETDESC, /* arg[0] vCPU, [1] register, [2] base, data: two words */
	UB_SWAPINTERP, /* data: name */
	UB_ACCEPT,     /* the interpreter is the right one */
	UB_FAIL,       /* data: why the object cannot be run */
	UB_LASTOP
};

struct ub_request {
	uint32_t op;
	uint32_t len;
	uint64_t arg[3];
};

struct ub_reply {
	int32_t error; /* FreeBSD's errno: the first 34 are Linux' too */
	uint32_t len;
	uint64_t arg[2];
};

/* What the loader may learn of a file. */
struct ub_stat {
	uint64_t size, dev, ino;
	int64_t mtime;
	uint32_t mode, uid, gid, unused;
};

/*
 * Confine the process to the socket (fd), map the object (image, size) and
 * run its loader_main with the ABI's (version) and the number of disks.
 * Never returns.  Called by a process that was forked for it.
 */
_Noreturn void userboot_child(
    int fd, const void *image, size_t size, int version, int ndisks);

#endif
