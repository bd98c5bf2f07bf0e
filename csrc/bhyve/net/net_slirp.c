/*
 * User-mode networking: frames to and from a process beside the VM, which
 * runs libslirp (slirp_helper.c).  That process is started by this file, has
 * none of the VM's memory or descriptors, and ends with the socket pair.
 *
 * The process is the running interpreter, told to load this very shared
 * object and call one function, so that nothing needs to be installed.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "debug.h"
#include "net_local.h"

#define HELPER_FD 3
#define HELPER_START_MS 20000
#define SLIRP_MTU 1500	    /* unless the device has an MTU of its own */
#define SLIRP_MTU_MIN 576   /* what IPv4 asks of every host */
#define SLIRP_MTU_MAX 65521 /* libslirp's */
#define HELPER_CODE                                      \
	"import ctypes,sys;a=sys.argv;"                  \
	"sys.exit(ctypes.CDLL(a[1]).bhyve_slirp_helper(" \
	"int(a[2]),int(a[3]),int(a[4]),a[5].encode()))"

extern char **environ;

struct slirp_priv {
	pid_t sp_pid;
};

static int
spawn(const char *self, const char *object, char *open_arg, char *mtu,
    char *hostfwd, int fd, pid_t *pid)
{
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t attr;
	sigset_t all, none;
	char fd_arg[12];
	char *argv[] = { (char *)(uintptr_t)self, "-I", "-S", "-c", HELPER_CODE,
		(char *)(uintptr_t)object, fd_arg, open_arg, mtu, hostfwd,
		NULL };
	int error;

	snprintf(fd_arg, sizeof(fd_arg), "%d", HELPER_FD);
	sigemptyset(&none);
	sigfillset(&all);
	sigdelset(&all, SIGKILL);
	sigdelset(&all, SIGSTOP);
	posix_spawn_file_actions_init(&fa);
	posix_spawnattr_init(&attr);
	/* Its own session: the terminal's signals are not for it. */
	posix_spawnattr_setflags(&attr,
	    POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK |
		POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	error = posix_spawn_file_actions_addopen(
	    &fa, STDIN_FILENO, "/dev/null", O_RDWR, 0);
	if (error == 0)
		error = posix_spawn_file_actions_adddup2(
		    &fa, STDIN_FILENO, STDOUT_FILENO);
	if (error == 0)
		error = posix_spawn_file_actions_adddup2(&fa, fd, HELPER_FD);
	if (error == 0)
		error = posix_spawn(pid, self, &fa, &attr, argv, environ);
	posix_spawn_file_actions_destroy(&fa);
	posix_spawnattr_destroy(&attr);
	return (error);
}

/* Start the process with one end of a socket pair; the other is be_fd. */
static int
start_helper(
    net_backend_t *be, bool open_net, unsigned int mtu, const char *hostfwd)
{
	struct slirp_priv *sp = be->be_priv;
	char self[4096];
	char open_arg[2], mtu_arg[12];
	Dl_info info;
	ssize_t n;
	int error, size, sv[2];

	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n <= 0)
		return (errno);
	self[n] = '\0';
	if (dladdr((void *)(uintptr_t)&bhyve_slirp_helper, &info) == 0 ||
	    info.dli_fname == NULL)
		return (ENOENT);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) != 0)
		return (errno);
	size = 4 << 20;
	(void)setsockopt(sv[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	(void)setsockopt(sv[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	be->be_fd = sv[0];
	open_arg[0] = open_net ? '1' : '0';
	open_arg[1] = '\0';
	snprintf(mtu_arg, sizeof(mtu_arg), "%u", mtu);
	error = spawn(self, info.dli_fname, open_arg, mtu_arg,
	    (char *)(uintptr_t)hostfwd, sv[1], &sp->sp_pid);
	close(sv[1]);
	return (error);
}

static int
slirp_init(net_backend_t *be, const char *name, nvlist_t *nvl)
{
	struct slirp_priv *sp;
	struct pollfd pfd;
	const char *hostfwd, *text;
	char answer[256];
	unsigned int mtu;
	ssize_t n;
	int error;

	sp = be->be_priv = calloc(1, sizeof(*sp));
	if (sp == NULL) {
		EPRINTLN("slirp: out of memory");
		return (ENOMEM);
	}
	hostfwd = get_config_value_node(nvl, "hostfwd");
	mtu = SLIRP_MTU;
	text = get_config_value_node(nvl, "mtu");
	if (text != NULL && net_parsemtu(text, &mtu) != 0)
		return (EINVAL);
	if (mtu < SLIRP_MTU_MIN)
		mtu = SLIRP_MTU_MIN;
	if (mtu > SLIRP_MTU_MAX)
		mtu = SLIRP_MTU_MAX;
	error =
	    start_helper(be, get_config_bool_node_default(nvl, "open", false),
		mtu, hostfwd != NULL ? hostfwd : "");
	if (error != 0) {
		EPRINTLN("slirp: starting its process: %s", strerror(error));
		return (error);
	}
	pfd.fd = be->be_fd;
	pfd.events = POLLIN;
	n = 0;
	if (poll(&pfd, 1, HELPER_START_MS) == 1)
		n = recv(be->be_fd, answer, sizeof(answer) - 1, MSG_DONTWAIT);
	if (n <= 0) {
		EPRINTLN("slirp: its process does not start");
		return (EIO);
	}
	answer[n] = '\0';
	if (strcmp(answer, "ok") != 0) {
		EPRINTLN("slirp: %s", answer);
		return (EINVAL);
	}
	be->be_big_tcp = true;
	be->be_trusted_sum = true;
	return (0);
}

static void
slirp_cleanup(net_backend_t *be)
{
	struct slirp_priv *sp = be->be_priv;

	if (sp != NULL && sp->sp_pid > 0) {
		kill(sp->sp_pid, SIGKILL);
		while (waitpid(sp->sp_pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	free(sp);
}

static ssize_t
slirp_recv(net_backend_t *be, const struct iovec *iov, int iovcnt)
{
	ssize_t n;

	n = net_sock_recv(be, iov, iovcnt);
	if (n > 0)
		return (n);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return (0);
	EPRINTLN("slirp: its process has ended; the network is gone");
	return (-1);
}

static const struct net_backend_ops slirp_backend = {
	.nb_prefix = "slirp",
	.nb_help = "slirp[,open][,hostfwd=PROTO:[ADDR]:PORT-[ADDR]:PORT;...]",
	.nb_init = slirp_init,
	.nb_cleanup = slirp_cleanup,
	.nb_send = net_sock_send,
	.nb_recv = slirp_recv,
};
NET_BACKEND_SET(slirp_backend);
