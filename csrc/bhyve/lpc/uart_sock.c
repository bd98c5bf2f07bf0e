/*
 * Listening sockets for consoles: TCP on one address, or a UNIX path.
 */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "debug.h"
#include "uart_local.h"

static int
bind_first(struct addrinfo *list, const char *spec)
{
	struct addrinfo *ai;
	int error, one, s;

	error = EADDRNOTAVAIL;
	one = 1;
	for (ai = list; ai != NULL; ai = ai->ai_next) {
		s = socket(ai->ai_family,
		    ai->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK,
		    ai->ai_protocol);
		if (s < 0) {
			error = errno;
			continue;
		}
		(void)setsockopt(
		    s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		if (bind(s, ai->ai_addr, ai->ai_addrlen) == 0 &&
		    listen(s, 4) == 0)
			return (s);
		error = errno;
		close(s);
	}
	EPRINTLN("uart: tcp=%s: %s", spec, strerror(error));
	return (-1);
}

static bool
is_port(const char *text)
{
	size_t len;

	len = strspn(text, "0123456789");
	return (len >= 1 && len <= 5 && text[len] == '\0' &&
	    strtoul(text, NULL, 10) <= 65535);
}

int
uart_listen_tcp(const char *spec)
{
	struct addrinfo hints = {
		.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
		.ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV,
	};
	struct addrinfo *list;
	char host[256], *addr;
	const char *port;
	size_t len;
	int rc, s;

	port = strrchr(spec, ':');
	len = port != NULL ? (size_t)(port - spec) : 0;
	/* getaddrinfo(3) takes a port modulo 65536. */
	if (port == NULL || len >= sizeof(host) || !is_port(port + 1)) {
		EPRINTLN("uart: invalid address \"tcp=%s\": want IP:port or "
			 "[IPv6]:port with a port up to 65535",
		    spec);
		return (-1);
	}
	memcpy(host, spec, len);
	host[len] = '\0';
	addr = host;
	if (len >= 2 && host[0] == '[' && host[len - 1] == ']') {
		host[len - 1] = '\0';
		addr = host + 1;
	}
	if (strcmp(addr, "localhost") == 0)
		hints.ai_flags &= ~AI_NUMERICHOST;
	rc =
	    getaddrinfo(addr[0] != '\0' ? addr : NULL, port + 1, &hints, &list);
	if (rc != 0) {
		EPRINTLN("uart: tcp=%s: %s", spec, gai_strerror(rc));
		return (-1);
	}
	s = bind_first(list, spec);
	freeaddrinfo(list);
	return (s);
}

int
uart_listen_unix(const char *spec, char **path, bool *wait)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	struct stat st;
	const char *comma;
	mode_t mask;
	size_t len;
	int s;

	comma = strchr(spec, ',');
	len = comma != NULL ? (size_t)(comma - spec) : strlen(spec);
	if (len == 0 || len >= sizeof(sun.sun_path) ||
	    (comma != NULL && strcmp(comma, ",wait") != 0)) {
		EPRINTLN("uart: invalid socket \"%s\"", spec);
		return (-1);
	}
	*wait = comma != NULL;
	memcpy(sun.sun_path, spec, len);
	/* A socket that an earlier run left behind is in the way. */
	if (lstat(sun.sun_path, &st) == 0 && S_ISSOCK(st.st_mode))
		unlink(sun.sun_path);
	s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s < 0) {
		EPRINTLN("uart: socket: %s", strerror(errno));
		return (-1);
	}
	mask = umask(0077);
	if (bind(s, (struct sockaddr *)&sun, sizeof(sun)) != 0 ||
	    listen(s, 4) != 0) {
		EPRINTLN("uart: socket %s: %s", sun.sun_path, strerror(errno));
		umask(mask);
		close(s);
		return (-1);
	}
	umask(mask);
	*path = strdup(sun.sun_path);
	return (s);
}
