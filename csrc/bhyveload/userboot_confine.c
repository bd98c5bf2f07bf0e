/*
 * The loader's process can read and write one socket and end; any other
 * system call ends it.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "userboot_local.h"

#define CPU_SECONDS 600 /* of one loader, from its start to its end */

#define NR_OFF offsetof(struct seccomp_data, nr)
#define ARCH_OFF offsetof(struct seccomp_data, arch)
#define ARG_OFF(n) (offsetof(struct seccomp_data, args) + (n)*8)

#define LOAD(off) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (off))
#define RETURN(what) BPF_STMT(BPF_RET | BPF_K, (what))
/* Skip `no` instructions unless the accumulator is `k`. */
#define IS(k, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (k), 0, (no))
/* Allow the call with this number. */
#define ALLOW(nr) IS((nr), 1), RETURN(SECCOMP_RET_ALLOW)
/*
 * Allow it if the low half of argument n is k; the low half is all that
 * counts of a file descriptor.
 */
#define ALLOW_ARG(nr, n, k)                                                   \
	IS((nr), 4), LOAD(ARG_OFF(n)), IS((k), 1), RETURN(SECCOMP_RET_ALLOW), \
	    RETURN(SECCOMP_RET_KILL_PROCESS)

#ifdef __x86_64__
static const struct sock_filter confine_filter[] = {
	LOAD(ARCH_OFF),
	IS(AUDIT_ARCH_X86_64, 1),
	LOAD(NR_OFF),
	/* Another architecture's numbers do not get here as calls of ours. */
	BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1),
	RETURN(SECCOMP_RET_KILL_PROCESS),
	ALLOW_ARG(SYS_read, 0, UB_FD),
	ALLOW_ARG(SYS_write, 0, UB_FD),
	ALLOW(SYS_exit_group),
	ALLOW(SYS_rt_sigreturn),
	ALLOW(SYS_clock_gettime),
	ALLOW(SYS_time),
	ALLOW(SYS_mprotect),
	ALLOW(SYS_munmap),
	ALLOW(SYS_prctl),
#ifdef __SANITIZE_ADDRESS__
	ALLOW(
	    SYS_sigaltstack), /* its library asks where a call never returns */
#endif
	ALLOW_ARG(SYS_mmap, 4, 0xffffffff),
	RETURN(SECCOMP_RET_KILL_PROCESS),
};

/* Added to the first one when the object is mapped. */
static const struct sock_filter seal_filter[] = {
	LOAD(NR_OFF),
	IS(SYS_mmap, 1),
	RETURN(SECCOMP_RET_KILL_PROCESS),
	IS(SYS_mprotect, 1),
	RETURN(SECCOMP_RET_KILL_PROCESS),
	IS(SYS_munmap, 1),
	RETURN(SECCOMP_RET_KILL_PROCESS),
	IS(SYS_prctl, 1),
	RETURN(SECCOMP_RET_KILL_PROCESS),
	RETURN(SECCOMP_RET_ALLOW),
};
#endif

#ifdef __x86_64__
static void
install(const struct sock_filter *rows, size_t n)
{
	struct sock_fprog program = { .len = (unsigned short)n,
		.filter = (struct sock_filter *)(uintptr_t)rows };

	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
		ub_fail("this host cannot confine a loader: errno %d", errno);
}
#endif

static void
limit(int what, rlim_t most)
{
	struct rlimit rl = { .rlim_cur = most, .rlim_max = most };

	(void)setrlimit((__rlimit_resource_t)what, &rl);
}

void
ub_confine(int fd)
{
	static const int ends[] = { SIGINT, SIGTERM, SIGPIPE, SIGHUP, SIGSEGV,
		SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGALRM, SIGUSR1, SIGUSR2 };

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		(void)signal(ends[i], SIG_DFL);
	if (fd != UB_FD && dup2(fd, UB_FD) < 0)
		_exit(1);
	(void)prctl(PR_SET_NAME, "bhyveload-ub");
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)prctl(PR_SET_DUMPABLE, 0);
	(void)close_range(0, UB_FD - 1, 0);
	(void)close_range(UB_FD + 1, ~0U, 0);
	limit(RLIMIT_CORE, 0);
	limit(RLIMIT_FSIZE, 0);
	limit(RLIMIT_CPU, CPU_SECONDS);
#ifdef __x86_64__
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		ub_fail("this host cannot confine a loader: errno %d", errno);
	install(
	    confine_filter, sizeof(confine_filter) / sizeof(confine_filter[0]));
#else
	ub_fail("an amd64 loader cannot run on this host's processor");
#endif
}

void
ub_seal(void)
{
#ifdef __x86_64__
	install(seal_filter, sizeof(seal_filter) / sizeof(seal_filter[0]));
#endif
}
