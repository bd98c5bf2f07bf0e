/*
 * The debug console of firmware: each byte written is output, a read says
 * that somebody listens.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "config.h"
#include "debug.h"
#include "debugcon.h"

#define DEBUGCON_READBACK 0xe9
#define DEBUGCON_ROOM 256

static pthread_mutex_t debugcon_mtx = PTHREAD_MUTEX_INITIALIZER;
static int debugcon_fd = -1;
static char line[DEBUGCON_ROOM];
static size_t line_len;

/* Whole lines go out at once.  A reader that is gone or slow loses text:
 * the guest never waits for it.  Locked. */
static void
flush_line(void)
{
	ssize_t n;

	do
		n = write(debugcon_fd, line, line_len);
	while (n < 0 && errno == EINTR);
	line_len = 0;
}

int
debugcon_init(void)
{
	const char *path;

	path = get_config_value("lpc.debugcon.path");
	if (path == NULL)
		return (0);
	if (strcmp(path, "stdio") == 0)
		path = "/dev/stdout";
	debugcon_fd = open(path,
	    O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
	    0600);
	if (debugcon_fd >= 0)
		return (0);
	EPRINTLN("lpc.debugcon: cannot open \"%s\": %s", path, strerror(errno));
	return (errno);
}

void
debugcon_cleanup(void)
{
	pthread_mutex_lock(&debugcon_mtx);
	if (debugcon_fd >= 0) {
		flush_line();
		close(debugcon_fd);
	}
	debugcon_fd = -1;
	pthread_mutex_unlock(&debugcon_mtx);
}

int
debugcon_access(int in, uint32_t *eax)
{
	int error;

	error = 0;
	pthread_mutex_lock(&debugcon_mtx);
	if (debugcon_fd < 0) {
		error = ENXIO;
	} else if (in) {
		*eax = DEBUGCON_READBACK;
	} else {
		line[line_len++] = (char)*eax;
		if ((char)*eax == '\n' || line_len == sizeof(line))
			flush_line();
	}
	pthread_mutex_unlock(&debugcon_mtx);
	return (error);
}
