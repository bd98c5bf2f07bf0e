/*
 * The control socket of a VM that this process owns: a thread that answers
 * ioctls of other processes with the functions that the owner calls itself.
 * A request is a header and the command's argument in one packet, and so is
 * the answer.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "vmm_dev.h"
#include "vmm_local.h"

#define MAX_PEERS 32

struct vmm_ctl {
	struct vm *vm;
	struct vmm_dir *dir;
	pthread_t thread;
	int listenfd;
	int stopfd[2];
	int peers[MAX_PEERS];
	int npeers;
	/* One request at a time: the argument's room. */
	_Alignas(8) uint8_t arg[VMM_IOCTL_ARG_MAX];
};

/* The owner's user and root may come in. */
static bool
peer_allowed(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) != 0)
		return (false);
	return (cred.uid == 0 || cred.uid == geteuid());
}

static void
accept_peer(struct vmm_ctl *ctl)
{
	int fd;

	fd = accept4(ctl->listenfd, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0)
		return;
	if (ctl->npeers == MAX_PEERS || !peer_allowed(fd)) {
		close(fd);
		return;
	}
	ctl->peers[ctl->npeers++] = fd;
}

static bool
answer(int fd, int error, const void *data, size_t len)
{
	struct vmm_ctl_rep rep = { error, (uint32_t)len };
	struct iovec iov[2] = { { &rep, sizeof(rep) },
		{ (void *)(uintptr_t)data, len } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };

	/* A peer that does not read its answers is no peer. */
	return (sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) ==
	    (ssize_t)(sizeof(rep) + len));
}

/* False: the peer goes. */
static bool
serve_one(struct vmm_ctl *ctl, int fd)
{
	struct vmm_ctl_req req;
	struct iovec iov[2] = { { &req, sizeof(req) },
		{ ctl->arg, sizeof(ctl->arg) } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
	const struct vmm_ioctl *ioc;
	const char *text;
	ssize_t n;
	int error;

	n = recvmsg(fd, &msg, MSG_DONTWAIT);
	if (n < 0)
		return (errno == EAGAIN || errno == EINTR);
	if (n < (ssize_t)sizeof(req) || (msg.msg_flags & MSG_TRUNC) != 0 ||
	    (size_t)n != sizeof(req) + req.len)
		return (false);
	ioc = vmm_ioctl_find(req.cmd);
	if (ioc == NULL || req.len != ioc->size)
		return (answer(fd, ioc == NULL ? ENOTTY : EINVAL, NULL, 0));
	if ((ioc->flags & VMI_LOCAL) != 0)
		return (answer(fd, EBUSY, NULL, 0));
	vmm_set_error("%s", "");
	error = vmm_ioctl(ctl->vm, req.cmd, ctl->arg, req.len);
	if (error != 0) {
		text = vmm_error();
		return (answer(fd, error, text, strnlen(text, 200)));
	}
	return (answer(
	    fd, 0, ctl->arg, (ioc->flags & VMI_OUT) != 0 ? ioc->size : 0));
}

static void
drop_peer(struct vmm_ctl *ctl, int i)
{
	close(ctl->peers[i]);
	ctl->peers[i] = ctl->peers[--ctl->npeers];
}

static void *
ctl_main(void *arg)
{
	struct pollfd pfd[MAX_PEERS + 2];
	struct vmm_ctl *ctl = arg;

	prctl(PR_SET_NAME, "ctl");
	for (;;) {
		pfd[0] = (struct pollfd) { ctl->stopfd[0], POLLIN, 0 };
		pfd[1] = (struct pollfd) { ctl->listenfd, POLLIN, 0 };
		for (int i = 0; i < ctl->npeers; i++)
			pfd[i + 2] =
			    (struct pollfd) { ctl->peers[i], POLLIN, 0 };
		if (poll(pfd, (nfds_t)ctl->npeers + 2, -1) < 0) {
			if (errno == EINTR)
				continue;
			break;
		}
		if (pfd[0].revents != 0)
			break;
		for (int i = ctl->npeers - 1; i >= 0; i--)
			if (pfd[i + 2].revents != 0 &&
			    !serve_one(ctl, ctl->peers[i]))
				drop_peer(ctl, i);
		if (pfd[1].revents != 0)
			accept_peer(ctl);
	}
	return (NULL);
}

static int
ctl_listen(struct vmm_ctl *ctl)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int dirfd = vmm_dir_fd(ctl->dir);

	ctl->listenfd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (ctl->listenfd < 0)
		return (errno);
	snprintf(
	    sun.sun_path, sizeof(sun.sun_path), "/proc/self/fd/%d/ctl", dirfd);
	unlinkat(dirfd, "ctl", 0);
	/* The directory is 0700: nobody comes between bind and chmod. */
	if (bind(ctl->listenfd, (struct sockaddr *)&sun, sizeof(sun)) != 0 ||
	    fchmodat(dirfd, "ctl", 0600, 0) != 0 ||
	    listen(ctl->listenfd, MAX_PEERS) != 0)
		return (errno);
	return (0);
}

static void
ctl_free(struct vmm_ctl *ctl)
{
	for (int i = 0; i < ctl->npeers; i++)
		close(ctl->peers[i]);
	if (ctl->listenfd >= 0)
		close(ctl->listenfd);
	for (int i = 0; i < 2; i++)
		if (ctl->stopfd[i] >= 0)
			close(ctl->stopfd[i]);
	free(ctl);
}

int
vmm_ctl_start(struct vm *vm, struct vmm_dir *dir, struct vmm_ctl **retctl)
{
	struct vmm_ctl *ctl;
	sigset_t all, old;
	int error;

	ctl = calloc(1, sizeof(*ctl));
	if (ctl == NULL)
		return (ENOMEM);
	ctl->vm = vm;
	ctl->dir = dir;
	ctl->listenfd = ctl->stopfd[0] = ctl->stopfd[1] = -1;
	error = pipe2(ctl->stopfd, O_CLOEXEC) != 0 ? errno : ctl_listen(ctl);
	if (error == 0) {
		sigfillset(&all);
		pthread_sigmask(SIG_SETMASK, &all, &old);
		error = pthread_create(&ctl->thread, NULL, ctl_main, ctl);
		pthread_sigmask(SIG_SETMASK, &old, NULL);
	}
	if (error != 0) {
		vmm_set_error("control socket: %s", strerror(error));
		ctl_free(ctl);
		return (error);
	}
	*retctl = ctl;
	return (0);
}

void
vmm_ctl_stop(struct vmm_ctl *ctl)
{
	if (write(ctl->stopfd[1], "", 1) == 1)
		pthread_join(ctl->thread, NULL);
	if (!vmm_dir_removed(ctl->dir))
		unlinkat(vmm_dir_fd(ctl->dir), "ctl", 0);
	ctl_free(ctl);
}

/* ---- the other end ---- */

int
vmm_ctl_send(int fd, uint32_t cmd, void *arg, size_t len)
{
	struct vmm_ctl_req req = { cmd, (uint32_t)len };
	struct iovec iov[2] = { { &req, sizeof(req) }, { arg, len } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };

	if (sendmsg(fd, &msg, MSG_NOSIGNAL) < 0)
		return (errno == ECONNRESET ? EPIPE : errno);
	return (0);
}

int
vmm_ctl_receive(int fd, void *arg, size_t len)
{
	struct vmm_ctl_rep rep;
	char text[256];
	const size_t room = len > sizeof(text) ? len : sizeof(text);
	struct iovec iov[2] = { { &rep, sizeof(rep) }, { NULL, room } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
	uint8_t *buf;
	ssize_t n;
	int error;

	buf = malloc(room);
	if (buf == NULL)
		return (ENOMEM);
	iov[1].iov_base = buf;
	do
		n = recvmsg(fd, &msg, 0);
	while (n < 0 && errno == EINTR);
	if (n < (ssize_t)sizeof(rep) || (size_t)n != sizeof(rep) + rep.len) {
		error = EPIPE;
	} else if (rep.error != 0) {
		error = rep.error;
		vmm_set_error("%.*s", (int)rep.len, (char *)buf);
	} else {
		error = 0;
		if (rep.len > len)
			error = EPIPE;
		else
			memcpy(arg, buf, rep.len);
	}
	free(buf);
	return (error);
}

int
vmm_ctl_call(int fd, uint32_t cmd, void *arg, size_t len)
{
	int error = vmm_ctl_send(fd, cmd, arg, len);

	return (error != 0 ? error : vmm_ctl_receive(fd, arg, len));
}
