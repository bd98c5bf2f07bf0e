/*
 * A cable between two VMs: a pair of UNIX datagram sockets in the file
 * system, a frame a datagram.  "path" is this VM's end, "peer" the other's,
 * which may come and go.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "debug.h"
#include "net_local.h"

struct unix_priv {
	struct sockaddr_un up_peer;
	char *up_path; /* bound by us, removed at the end */
};

static int
set_addr(struct sockaddr_un *sun, const char *path, const char *option)
{
	memset(sun, 0, sizeof(*sun));
	sun->sun_family = AF_UNIX;
	if (path == NULL || *path == '\0' ||
	    strlen(path) >= sizeof(sun->sun_path)) {
		EPRINTLN("network backend unix: %s \"%s\"",
		    path == NULL || *path == '\0' ? "no option" : "too long",
		    path == NULL || *path == '\0' ? option : path);
		return (EINVAL);
	}
	memcpy(sun->sun_path, path, strlen(path));
	return (0);
}

/* A socket that a dead VM has left is removed; a live one's is in use. */
static int
remove_stale(const struct sockaddr_un *sun)
{
	struct stat st;
	int error, s;

	if (lstat(sun->sun_path, &st) != 0)
		return (errno == ENOENT ? 0 : errno);
	if (!S_ISSOCK(st.st_mode))
		return (EEXIST);
	s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (s < 0)
		return (errno);
	error = 0;
	if (connect(s, (const struct sockaddr *)sun, sizeof(*sun)) == 0 ||
	    errno != ECONNREFUSED)
		error = EADDRINUSE;
	close(s);
	if (error == 0 && unlink(sun->sun_path) != 0 && errno != ENOENT)
		error = errno;
	return (error);
}

static int
unix_init(net_backend_t *be, const char *name, nvlist_t *nvl)
{
	struct sockaddr_un sun;
	struct unix_priv *up;
	const char *path;
	int error, size;

	up = be->be_priv = calloc(1, sizeof(*up));
	if (up == NULL) {
		EPRINTLN("network backend unix: out of memory");
		return (ENOMEM);
	}
	path = get_config_value_node(nvl, "path");
	error = set_addr(&sun, path, "path");
	if (error == 0)
		error = set_addr(
		    &up->up_peer, get_config_value_node(nvl, "peer"), "peer");
	if (error != 0)
		return (error);
	be->be_fd =
	    socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	error = be->be_fd < 0 ? errno : remove_stale(&sun);
	if (error == 0 &&
	    bind(be->be_fd, (struct sockaddr *)&sun, sizeof(sun)) != 0)
		error = errno;
	if (error != 0) {
		EPRINTLN("network backend unix: %s: %s", path, strerror(error));
		return (error);
	}
	up->up_path = strdup(path);
	size = 4 << 20;
	(void)setsockopt(be->be_fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	return (0);
}

static void
unix_cleanup(net_backend_t *be)
{
	struct unix_priv *up = be->be_priv;

	if (up != NULL && up->up_path != NULL)
		unlink(up->up_path);
	if (up != NULL)
		free(up->up_path);
	free(up);
}

static ssize_t
unix_send(net_backend_t *be, const struct iovec *iov, int iovcnt)
{
	struct unix_priv *up = be->be_priv;
	ssize_t n;

	/* Only a connected socket can be waited for; the peer that was
	 * there may have been another one. */
	n = net_sock_send(be, iov, iovcnt);
	if (n < 0 &&
	    (errno == ENOTCONN || errno == ECONNREFUSED ||
		errno == ECONNRESET || errno == EDESTADDRREQ) &&
	    connect(be->be_fd, (struct sockaddr *)&up->up_peer,
		sizeof(up->up_peer)) == 0)
		n = net_sock_send(be, iov, iovcnt);
	return (n);
}

static ssize_t
unix_recv(net_backend_t *be, const struct iovec *iov, int iovcnt)
{
	ssize_t n;

	do {
		n = net_sock_recv(be, iov, iovcnt);
	} while (n == 0 || (n < 0 && errno == ECONNRESET));
	return (n < 0 ? 0 : n);
}

static const struct net_backend_ops unix_backend = {
	.nb_prefix = "unix",
	.nb_help = "unix,path=PATH,peer=PATH",
	.nb_init = unix_init,
	.nb_cleanup = unix_cleanup,
	.nb_send = unix_send,
	.nb_recv = unix_recv,
};
NET_BACKEND_SET(unix_backend);
