/* FreeBSD's loader object in a process of its own, of userboot.h. */
#define UB_MAX_DATA ...
#define UB_MAX_PATH ...

enum ub_op {
	UB_GETC,
	UB_PUTC,
	UB_POLL,
	UB_OPEN,
	UB_CLOSE,
	UB_ISDIR,
	UB_READ,
	UB_READDIR,
	UB_SEEK,
	UB_STAT,
	UB_DISKREAD,
	UB_DISKWRITE,
	UB_DISKSIZE,
	UB_COPYIN,
	UB_COPYOUT,
	UB_SETREG,
	UB_SETMSR,
	UB_SETCR,
	UB_SETGDT,
	UB_EXEC,
	UB_DELAY,
	UB_EXIT,
	UB_GETMEM,
	UB_GETENV,
	UB_VMSETREG,
	UB_VMSETDESC,
	UB_SWAPINTERP,
	UB_ACCEPT,
	UB_FAIL,
	UB_LASTOP,
	...
};

void userboot_child(
    int fd, const void *image, size_t size, int version, int ndisks);
