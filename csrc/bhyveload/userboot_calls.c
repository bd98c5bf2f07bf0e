/*
 * The callbacks that a loader object calls, FreeBSD's userboot.h, versions 3
 * to 6: each one asks the process at the other end of the socket.
 *
 * Two tables of callbacks are in use.  Later loaders have one for writing to
 * disks behind that for reading, and stat fills a struct stat; the version
 * that they ask for does not tell.  What does is where a loader looks for its
 * first word of the environment, which it does before it asks for anything
 * that stands elsewhere in the other table.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "userboot_local.h"

#define FREEBSD_ENOTTY 25
#define FREEBSD_EIO 5
#define DIOCGSECTORSIZE 0x40046480UL
#define DIOCGMEDIASIZE 0x40086481UL
#define SECTOR 512
#define ENV_ROOM 65536
#define ENV_ROWS 1024
#define STAT_SIZE 224 /* FreeBSD's struct stat since version 12 */

enum layout { LAYOUT_UNKNOWN, LAYOUT_OLD, LAYOUT_NEW };

static enum layout layout;

/* ---- the socket ---- */

static void
put_all(const void *data, size_t len)
{
	const char *p = data;
	ssize_t n;

	for (; len > 0; p += n, len -= (size_t)n) {
		n = write(UB_FD, p, len);
		if (n <= 0)
			_exit(1);
	}
}

static void
get_all(void *data, size_t len)
{
	char *p = data;
	ssize_t n;

	for (; len > 0; p += n, len -= (size_t)n) {
		n = read(UB_FD, p, len);
		if (n <= 0)
			_exit(1);
	}
}

static void
send_request(enum ub_op op, const uint64_t arg[3], const void *data, size_t len)
{
	struct ub_request req = { .op = op, .len = (uint32_t)len };

	memcpy(req.arg, arg, sizeof(req.arg));
	put_all(&req, sizeof(req));
	put_all(data, len);
}

/*
 * Ask and wait.  (in, inlen) goes along; at most (outlen) bytes come back to
 * (out).  Returns the answer, whose len is what came.
 */
static struct ub_reply
ask(enum ub_op op, const uint64_t arg[3], const void *in, size_t inlen,
    void *out, size_t outlen)
{
	struct ub_reply reply;

	send_request(op, arg, in, inlen);
	get_all(&reply, sizeof(reply));
	if (reply.len > outlen)
		_exit(1);
	get_all(out, reply.len);
	return (reply);
}

#define ARGS(...) ((const uint64_t[3]) { __VA_ARGS__ })

static struct ub_reply
ask0(enum ub_op op, const uint64_t arg[3])
{
	return (ask(op, arg, NULL, 0, NULL, 0));
}

void
ub_fail(const char *fmt, ...)
{
	char text[256];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n > 0)
		send_request(UB_FAIL, ARGS(0), text,
		    (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
	_exit(1);
}

/* ---- console ---- */

static int
cb_getc(void *arg)
{
	struct ub_reply reply = ask0(UB_GETC, ARGS(0));

	return (reply.error != 0 ? -1 : (int)(reply.arg[0] & 0xff));
}

static void
cb_putc(void *arg, int ch)
{
	send_request(UB_PUTC, ARGS((uint8_t)ch), NULL, 0);
}

static int
cb_poll(void *arg)
{
	return (ask0(UB_POLL, ARGS(0)).arg[0] != 0);
}

/* ---- the host's files ---- */

static int
cb_open(void *arg, const char *name, void **handle)
{
	struct ub_reply reply;
	size_t len = strnlen(name, UB_MAX_PATH);

	reply = ask(UB_OPEN, ARGS(0), name, len, NULL, 0);
	/* A handle is a number; NULL would look like none. */
	if (reply.error == 0)
		*handle = (void *)(uintptr_t)(reply.arg[0] + 1);
	return (reply.error);
}

static uint64_t
number(void *handle)
{
	return ((uint64_t)(uintptr_t)handle - 1);
}

static int
cb_close(void *arg, void *handle)
{
	return (ask0(UB_CLOSE, ARGS(number(handle))).error);
}

static int
cb_isdir(void *arg, void *handle)
{
	return (ask0(UB_ISDIR, ARGS(number(handle))).arg[0] != 0);
}

static int
cb_read(void *arg, void *handle, void *to, size_t size, size_t *resid)
{
	struct ub_reply reply;
	size_t want, done = 0;

	do {
		want = size - done < UB_MAX_DATA ? size - done : UB_MAX_DATA;
		reply = ask(UB_READ, ARGS(number(handle), want), NULL, 0,
		    (char *)to + done, want);
		if (reply.error != 0)
			return (reply.error);
		done += reply.len;
	} while (done < size && reply.len == want);
	*resid = size - done;
	return (0);
}

static int
cb_readdir(void *arg, void *handle, uint32_t *inode, uint8_t *type,
    size_t *namelen, char *name)
{
	struct ub_reply reply;
	char text[256];

	reply = ask(
	    UB_READDIR, ARGS(number(handle)), NULL, 0, text, sizeof(text) - 1);
	if (reply.error != 0)
		return (reply.error);
	text[reply.len] = '\0';
	*inode = (uint32_t)reply.arg[0];
	*type = (uint8_t)reply.arg[1];
	*namelen = reply.len;
	memcpy(name, text, reply.len + 1);
	return (0);
}

static int
cb_seek(void *arg, void *handle, uint64_t offset, int whence)
{
	return (ask0(
	    UB_SEEK, ARGS(number(handle), offset, (uint64_t)(int64_t)whence))
		    .error);
}

static void
put_stat(const struct ub_stat *us, uint8_t *to)
{
	uint16_t mode = (uint16_t)us->mode;

	memset(to, 0, STAT_SIZE);
	memcpy(to, &us->dev, 8);
	memcpy(to + 8, &us->ino, 8);
	memcpy(to + 24, &mode, 2);
	memcpy(to + 28, &us->uid, 4);
	memcpy(to + 32, &us->gid, 4);
	memcpy(to + 64, &us->mtime, 8);
	memcpy(to + 112, &us->size, 8);
}

/* The new table's stat has one argument more than the handle. */
static int
cb_stat(void *arg, void *handle, void *mode_or_stat, int *uid, int *gid,
    uint64_t *size)
{
	struct ub_stat us = { 0 };
	struct ub_reply reply;

	reply = ask(UB_STAT, ARGS(number(handle)), NULL, 0, &us, sizeof(us));
	if (reply.error != 0)
		return (reply.error);
	if (layout == LAYOUT_NEW) {
		put_stat(&us, mode_or_stat);
		return (0);
	}
	*(int *)mode_or_stat = (int)us.mode;
	*uid = (int)us.uid;
	*gid = (int)us.gid;
	*size = us.size;
	return (0);
}

/* ---- disks ---- */

static int
cb_diskread(
    void *arg, int unit, uint64_t offset, void *to, size_t size, size_t *resid)
{
	struct ub_reply reply;
	size_t want, done = 0;

	do {
		want = size - done < UB_MAX_DATA ? size - done : UB_MAX_DATA;
		reply =
		    ask(UB_DISKREAD, ARGS((uint64_t)unit, offset + done, want),
			NULL, 0, (char *)to + done, want);
		if (reply.error != 0)
			return (reply.error);
		done += reply.len;
	} while (done < size && reply.len == want);
	*resid = size - done;
	return (0);
}

static int
cb_diskwrite(void *arg, int unit, uint64_t offset, const void *from,
    size_t size, size_t *resid)
{
	struct ub_reply reply;
	size_t want, done = 0;

	do {
		want = size - done < UB_MAX_DATA ? size - done : UB_MAX_DATA;
		reply = ask(UB_DISKWRITE, ARGS((uint64_t)unit, offset + done),
		    (const char *)from + done, want, NULL, 0);
		if (reply.error != 0)
			return (reply.error);
		if (reply.arg[0] > want)
			return (FREEBSD_EIO);
		done += reply.arg[0];
	} while (done < size && reply.arg[0] == want);
	*resid = size - done;
	return (0);
}

static int
cb_diskioctl(void *arg, int unit, unsigned long cmd, void *data)
{
	struct ub_reply reply = ask0(UB_DISKSIZE, ARGS((uint64_t)unit));
	uint32_t sector = SECTOR;

	if (reply.error != 0)
		return (reply.error);
	if (cmd == DIOCGSECTORSIZE)
		memcpy(data, &sector, sizeof(sector));
	else if (cmd == DIOCGMEDIASIZE)
		memcpy(data, &reply.arg[0], sizeof(reply.arg[0]));
	else
		return (FREEBSD_ENOTTY);
	return (0);
}

/* ---- the guest ---- */

static int
cb_copyin(void *arg, const void *from, uint64_t to, size_t size)
{
	struct ub_reply reply = { 0 };
	size_t n;

	for (size_t at = 0; at < size && reply.error == 0; at += n) {
		n = size - at < UB_MAX_DATA ? size - at : UB_MAX_DATA;
		reply = ask(UB_COPYIN, ARGS(to + at), (const char *)from + at,
		    n, NULL, 0);
	}
	return (reply.error);
}

static int
cb_copyout(void *arg, uint64_t from, void *to, size_t size)
{
	struct ub_reply reply;
	size_t n;

	for (size_t at = 0; at < size; at += n) {
		n = size - at < UB_MAX_DATA ? size - at : UB_MAX_DATA;
		reply = ask(UB_COPYOUT, ARGS(from + at, n), NULL, 0,
		    (char *)to + at, n);
		if (reply.error != 0)
			return (reply.error);
	}
	return (0);
}

static void
cb_setreg(void *arg, int number_, uint64_t value)
{
	(void)ask0(UB_SETREG, ARGS((uint64_t)number_, value));
}

static void
cb_setmsr(void *arg, int number_, uint64_t value)
{
	(void)ask0(UB_SETMSR, ARGS((uint32_t)number_, value));
}

static void
cb_setcr(void *arg, int number_, uint64_t value)
{
	(void)ask0(UB_SETCR, ARGS((uint64_t)number_, value));
}

static void
cb_setgdt(void *arg, uint64_t base, size_t size)
{
	(void)ask0(UB_SETGDT, ARGS(base, size));
}

static void
cb_exec(void *arg, uint64_t pc)
{
	(void)ask0(UB_EXEC, ARGS(pc));
	_exit(0);
}

static int
cb_vm_set_register(void *arg, int vcpu, int reg, uint64_t value)
{
	return (ask0(UB_VMSETREG, ARGS((uint64_t)vcpu, (uint64_t)reg, value))
		    .error);
}

static int
cb_vm_set_desc(void *arg, int vcpu, int reg, uint64_t base, uint32_t limit,
    uint32_t access)
{
	const uint32_t words[2] = { limit, access };

	return (ask(UB_VMSETDESC, ARGS((uint64_t)vcpu, (uint64_t)reg, base),
	    words, sizeof(words), NULL, 0)
		    .error);
}

/* ---- the rest ---- */

static void
cb_delay(void *arg, int usec)
{
	(void)ask0(UB_DELAY, ARGS(usec > 0 ? (uint64_t)usec : 0));
}

static void
cb_exit(void *arg, int status)
{
	(void)ask0(UB_EXIT, ARGS((uint64_t)(int64_t)status));
	_exit(0);
}

static void
cb_getmem(void *arg, uint64_t *low, uint64_t *high)
{
	struct ub_reply reply = ask0(UB_GETMEM, ARGS(0));

	*low = reply.arg[0];
	*high = reply.arg[1];
}

/* Rows stay where they are: a loader may keep the pointer. */
static char *
cb_getenv(void *arg, int num)
{
	static char room[ENV_ROOM];
	static char *rows[ENV_ROWS];
	static size_t used;
	struct ub_reply reply;

	if (num < 0 || num >= ENV_ROWS || used > ENV_ROOM - UB_MAX_PATH - 1)
		return (NULL);
	if (rows[num] != NULL)
		return (rows[num]);
	reply = ask(
	    UB_GETENV, ARGS((uint64_t)num), NULL, 0, room + used, UB_MAX_PATH);
	if (reply.error != 0)
		return (NULL);
	rows[num] = room + used;
	rows[num][reply.len] = '\0';
	used += reply.len + 1;
	return (rows[num]);
}

static void
cb_swap_interpreter(void *arg, const char *name)
{
	(void)ask(UB_SWAPINTERP, ARGS(0), name,
	    name != NULL ? strnlen(name, 64) : 0, NULL, 0);
	_exit(0);
}

static void
cb_accept_interpreter(void *arg)
{
	(void)ask0(UB_ACCEPT, ARGS(0));
}

/* ---- the two tables in one ---- */

/*
 * From the twelfth slot on, the new table is the old one moved by a slot.
 * Each shared slot takes what fits either function, and calls the one that
 * stands there in the table that the loader has shown to use.
 */
typedef uint64_t (*slot_fn)(
    uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);

#define FN(f) ((slot_fn)(void (*)(void))(f))
#define SHARED(name, old, new)                                               \
	static uint64_t name(uint64_t a, uint64_t b, uint64_t c, uint64_t d, \
	    uint64_t e, uint64_t f)                                          \
	{                                                                    \
		return ((layout == LAYOUT_NEW ? FN(new) : FN(old))(          \
		    a, b, c, d, e, f));                                      \
	}
/* The slot of getenv in one of the tables: the first to be called tells. */
#define TELLING(name, old, new, first)                                       \
	static uint64_t name(uint64_t a, uint64_t b, uint64_t c, uint64_t d, \
	    uint64_t e, uint64_t f)                                          \
	{                                                                    \
		if (layout == LAYOUT_UNKNOWN)                                \
			layout = (first);                                    \
		return ((layout == LAYOUT_NEW ? FN(new) : FN(old))(          \
		    a, b, c, d, e, f));                                      \
	}

SHARED(slot11, cb_copyin, cb_diskwrite)
SHARED(slot12, cb_copyout, cb_copyin)
SHARED(slot13, cb_setreg, cb_copyout)
SHARED(slot14, cb_setmsr, cb_setreg)
SHARED(slot15, cb_setcr, cb_setmsr)
SHARED(slot16, cb_setgdt, cb_setcr)
SHARED(slot17, cb_exec, cb_setgdt)
SHARED(slot18, cb_delay, cb_exec)
SHARED(slot19, cb_exit, cb_delay)
SHARED(slot20, cb_getmem, cb_exit)
SHARED(slot21, cb_diskioctl, cb_getmem)
TELLING(slot22, cb_getenv, cb_diskioctl, LAYOUT_OLD)
TELLING(slot23, cb_vm_set_register, cb_getenv, LAYOUT_NEW)
SHARED(slot24, cb_vm_set_desc, cb_vm_set_register)
SHARED(slot25, cb_swap_interpreter, cb_vm_set_desc)
SHARED(slot26, cb_accept_interpreter, cb_swap_interpreter)

void *const *
ub_callbacks(void)
{
	static void *table[] = { cb_getc, cb_putc, cb_poll, cb_open, cb_close,
		cb_isdir, cb_read, cb_readdir, cb_seek, cb_stat, cb_diskread,
		slot11, slot12, slot13, slot14, slot15, slot16, slot17, slot18,
		slot19, slot20, slot21, slot22, slot23, slot24, slot25, slot26,
		cb_accept_interpreter, NULL };

	return (table);
}

/* ---- what an object wants beside the callbacks ---- */

static unsigned long stack_guard = 0x5bd1e995a7c30d00UL;

static _Noreturn void
stack_failed(void)
{
	ub_fail("it overran its stack");
}

static _Noreturn void
aborted(void)
{
	ub_fail("it gave up (abort)");
}

void *
ub_host_symbol(const char *name)
{
	static const struct {
		const char *name;
		void *what;
	} rows[] = {
		{ "abort", aborted },
		{ "time", time },
		{ "__stack_chk_fail", stack_failed },
		{ "__stack_chk_guard", &stack_guard },
		{ "memcpy", memcpy },
		{ "memmove", memmove },
		{ "memset", memset },
		{ "memcmp", memcmp },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (strcmp(rows[i].name, name) == 0)
			return (rows[i].what);
	return (NULL);
}

void
userboot_child(int fd, const void *image, size_t size, int version, int ndisks)
{
	void (*loader_main)(void *const *, void *, int, int);
	void *entry;

	ub_confine(fd);
	entry = ub_map(image, size);
	ub_seal();
	memcpy(&loader_main, &entry, sizeof(loader_main));
	loader_main(ub_callbacks(), NULL, version, ndisks);
	ub_fail("it came back without a kernel");
}
