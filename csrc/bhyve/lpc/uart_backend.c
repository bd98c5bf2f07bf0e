/*
 * Where a UART's bytes go.  vCPU threads only touch the two rings; the event
 * thread moves bytes between them and the descriptors, which never block:
 * stdio is opened again so that the flag is not set for the user's shell.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "debug.h"
#include "mevent.h"
#include "uart_backend.h"
#include "uart_local.h"

#define TX_RING 65536
#define TX_HIGH_WATER 49152 /* above it THRE stays clear */
#define RX_RING 1024
#define FLUSH_USECS 1000
#define CLOSE_WAIT_MS 2000

struct uart_softc {
	pthread_mutex_t mtx;
	enum { BE_STDIO, BE_TTY, BE_SERVER } kind;
	int rfd, wfd; /* -1: nobody there */
	bool own_rfd, own_wfd;
	bool rsocket, wsocket; /* recv and send, with flags */
	bool polite;	       /* wfd may block: ask poll(2) first */
	int listen_fd;
	char *socket_path;
	struct mevent *mev_rd, *mev_wr, *mev_timer, *mev_listen;
	bool flush_armed, tx_blocked, rx_paused;
	_Atomic bool tx_full; /* looked at without the lock */

	uint8_t tx[TX_RING];
	unsigned int tx_head, tx_count;
	uint8_t rx[RX_RING];
	unsigned int rx_head;
	_Atomic unsigned int rx_count; /* this, too */

	uart_event_func_t rx_event, tx_event;
	void *arg;
};

static struct uart_softc *stdio_owner;
static struct termios stdio_orig;
static bool stdio_raw;
static pthread_mutex_t stdio_mtx = PTHREAD_MUTEX_INITIALIZER;

/* ---- the user's terminal ---- */

void
uart_restore_tty(void)
{
	pthread_mutex_lock(&stdio_mtx);
	if (stdio_raw) {
		tcsetattr(STDIN_FILENO, TCSANOW, &stdio_orig);
		debug_set_raw_stdio(false);
		stdio_raw = false;
	}
	pthread_mutex_unlock(&stdio_mtx);
}

static void
stdio_make_raw(void)
{
	static bool registered;
	struct termios tio;

	if (tcgetattr(STDIN_FILENO, &stdio_orig) != 0)
		return; /* not a terminal */
	if (!registered) {
		registered = true;
		(void)atexit(uart_restore_tty);
	}
	tio = stdio_orig;
	cfmakeraw(&tio);
	tio.c_cflag |= CLOCAL;
	pthread_mutex_lock(&stdio_mtx);
	if (tcsetattr(STDIN_FILENO, TCSANOW, &tio) == 0) {
		stdio_raw = true;
		debug_set_raw_stdio(true);
	}
	pthread_mutex_unlock(&stdio_mtx);
}

/* ---- output ---- */

static ssize_t
write_some(struct uart_softc *sc, const uint8_t *buf, size_t len)
{
	struct pollfd pfd = { .fd = sc->wfd, .events = POLLOUT };

	if (sc->wsocket)
		return (send(sc->wfd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL));
	if (sc->polite) {
		if (poll(&pfd, 1, 0) != 1) {
			errno = EAGAIN;
			return (-1);
		}
		if (len > 64)
			len = 64;
	}
	return (write(sc->wfd, buf, len));
}

/*
 * Write what the ring holds.  Returns 0 when it is empty, EAGAIN when the
 * other side is slow.  Without another side the bytes are dropped.  Locked.
 */
static int
flush_ring(struct uart_softc *sc)
{
	size_t chunk;
	ssize_t n;

	while (sc->tx_count > 0) {
		if (sc->wfd < 0) {
			sc->tx_count = 0;
			break;
		}
		chunk = TX_RING - sc->tx_head;
		if (chunk > sc->tx_count)
			chunk = sc->tx_count;
		n = write_some(sc, sc->tx + sc->tx_head, chunk);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return (EAGAIN);
		if (n <= 0)
			n = (ssize_t)chunk; /* it broke: the byte is gone */
		sc->tx_head = (sc->tx_head + (unsigned int)n) % TX_RING;
		sc->tx_count -= (unsigned int)n;
	}
	return (0);
}

/* Flush on the event thread, and tell the UART when room was made. */
static void
flush_event(struct uart_softc *sc)
{
	bool blocked, tell;

	pthread_mutex_lock(&sc->mtx);
	sc->flush_armed = false;
	blocked = flush_ring(sc) != 0;
	if (blocked && sc->mev_wr != NULL) {
		if (!sc->tx_blocked)
			mevent_enable(sc->mev_wr);
	} else if (blocked) {
		sc->flush_armed = true;
		mevent_timer_oneshot(sc->mev_timer, 10 * FLUSH_USECS);
	} else if (sc->tx_blocked && sc->mev_wr != NULL) {
		mevent_disable(sc->mev_wr);
	}
	sc->tx_blocked = blocked;
	tell = sc->tx_full && sc->tx_count <= TX_HIGH_WATER / 2;
	if (tell)
		sc->tx_full = false;
	pthread_mutex_unlock(&sc->mtx);
	if (tell)
		sc->tx_event(sc->arg);
}

static void
flush_timer(int fd, enum ev_type type, void *param)
{
	flush_event(param);
}

bool
uart_tx_put(struct uart_softc *sc, uint8_t ch)
{
	bool ok;

	pthread_mutex_lock(&sc->mtx);
	ok = sc->tx_count < TX_RING;
	if (ok) {
		sc->tx[(sc->tx_head + sc->tx_count) % TX_RING] = ch;
		sc->tx_count++;
		if (sc->tx_count > TX_HIGH_WATER)
			sc->tx_full = true;
		if (!sc->flush_armed && !sc->tx_blocked) {
			sc->flush_armed = true;
			mevent_timer_oneshot(sc->mev_timer, FLUSH_USECS);
		}
	}
	pthread_mutex_unlock(&sc->mtx);
	return (ok);
}

bool
uart_tx_ready(struct uart_softc *sc)
{
	/* A stale answer is as good as one a moment earlier. */
	return (!sc->tx_full);
}

/* ---- input ---- */

/* The connection is gone: a server waits for the next one.  Locked. */
static void
drop_client(struct uart_softc *sc)
{
	if (sc->mev_rd != NULL)
		mevent_delete(sc->mev_rd);
	if (sc->mev_wr != NULL)
		mevent_delete(sc->mev_wr);
	sc->mev_rd = sc->mev_wr = NULL;
	sc->tx_blocked = false;
	if (sc->own_rfd && sc->rfd >= 0)
		close(sc->rfd);
	sc->rfd = sc->wfd = -1;
}

/* End of input.  stdio's output event must survive.  Locked. */
static void
end_of_input(struct uart_softc *sc)
{
	if (sc->kind != BE_STDIO) {
		drop_client(sc);
		return;
	}
	if (sc->mev_rd != NULL)
		mevent_delete(sc->mev_rd);
	sc->mev_rd = NULL;
}

static void
rx_ready(int fd, enum ev_type type, void *param)
{
	struct uart_softc *sc = param;
	unsigned int i, room;
	uint8_t buf[RX_RING];
	ssize_t n;

	pthread_mutex_lock(&sc->mtx);
	room = RX_RING - sc->rx_count;
	if (sc->mev_rd == NULL || sc->rfd != fd) {
		n = 0;
	} else if (room == 0) {
		sc->rx_paused = true;
		mevent_disable(sc->mev_rd);
		n = 0;
	} else {
		n = sc->rsocket ? recv(fd, buf, room, MSG_DONTWAIT)
				: read(fd, buf, room);
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			end_of_input(sc);
		for (i = 0; n > 0 && i < (unsigned int)n; i++)
			sc->rx[(sc->rx_head + sc->rx_count++) % RX_RING] =
			    buf[i];
	}
	pthread_mutex_unlock(&sc->mtx);
	if (n > 0)
		sc->rx_event(sc->arg);
}

int
uart_rx_get(struct uart_softc *sc)
{
	int ch;

	/* Called for each register read: look before locking. */
	if (sc->rx_count == 0)
		return (-1);
	pthread_mutex_lock(&sc->mtx);
	ch = -1;
	if (sc->rx_count > 0) {
		ch = sc->rx[sc->rx_head];
		sc->rx_head = (sc->rx_head + 1) % RX_RING;
		sc->rx_count--;
		if (sc->rx_paused && sc->rx_count <= RX_RING / 2) {
			sc->rx_paused = false;
			if (sc->mev_rd != NULL)
				mevent_enable(sc->mev_rd);
		}
	}
	pthread_mutex_unlock(&sc->mtx);
	return (ch);
}

/* ---- events of one connection; locked or before the threads run ---- */

static void
wr_ready(int fd, enum ev_type type, void *param)
{
	flush_event(param);
}

static int
attach_fds(struct uart_softc *sc)
{
	if (sc->rfd >= 0) {
		sc->mev_rd = mevent_add(sc->rfd, EVF_READ, rx_ready, sc);
		if (sc->mev_rd == NULL)
			return (-1);
	}
	if (sc->wfd >= 0)
		sc->mev_wr =
		    mevent_add_disabled(sc->wfd, EVF_WRITE, wr_ready, sc);
	/* Without it a slow side is tried again by the timer. */
	return (0);
}

static void
accept_client(int fd, enum ev_type type, void *param)
{
	static const char msg[] = "Socket already connected\n";
	struct uart_softc *sc = param;
	int s;

	s = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (s < 0)
		return;
	pthread_mutex_lock(&sc->mtx);
	if (sc->rfd >= 0) {
		(void)send(
		    s, msg, sizeof(msg) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
		close(s);
	} else {
		sc->rfd = sc->wfd = s;
		sc->own_rfd = true;
		sc->rx_paused = false;
		if (attach_fds(sc) != 0)
			drop_client(sc);
	}
	pthread_mutex_unlock(&sc->mtx);
}

/* ---- opening ---- */

/*
 * A descriptor of our own for what fd refers to, which does not block.  A
 * plain file keeps fd itself: it has a position, and never blocks.
 */
static int
reopen_nonblock(struct uart_softc *sc, int fd, int mode, bool *own)
{
	char path[32];
	struct stat st;
	int newfd;

	*own = false;
	if (fstat(fd, &st) != 0)
		return (-1);
	if (S_ISSOCK(st.st_mode)) {
		if (mode == O_WRONLY)
			sc->wsocket = true;
		else
			sc->rsocket = true;
		return (fd);
	}
	if (S_ISREG(st.st_mode))
		return (fd);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	newfd = open(path, mode | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (newfd < 0) {
		if (mode == O_WRONLY)
			sc->polite = true;
		return (fd);
	}
	*own = true;
	return (newfd);
}

static int
open_stdio(struct uart_softc *sc)
{
	if (stdio_owner != NULL) {
		EPRINTLN("uart: stdio is in use already");
		return (-1);
	}
	sc->kind = BE_STDIO;
	sc->rfd = reopen_nonblock(sc, STDIN_FILENO, O_RDONLY, &sc->own_rfd);
	sc->wfd = reopen_nonblock(sc, STDOUT_FILENO, O_WRONLY, &sc->own_wfd);
	stdio_owner = sc;
	stdio_make_raw();
	return (attach_fds(sc));
}

static int
open_tty(struct uart_softc *sc, const char *path)
{
	struct termios tio;
	int fd;

	sc->kind = BE_TTY;
	fd = open(path, O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0) {
		EPRINTLN("uart: %s: %s", path, strerror(errno));
		return (-1);
	}
	if (tcgetattr(fd, &tio) != 0) {
		EPRINTLN("uart: %s is not a terminal device", path);
		close(fd);
		return (-1);
	}
	cfmakeraw(&tio);
	tio.c_cflag |= CLOCAL;
	tcsetattr(fd, TCSANOW, &tio);
	sc->rfd = sc->wfd = fd;
	sc->own_rfd = true;
	return (attach_fds(sc));
}

static int
open_server(struct uart_softc *sc, const char *device)
{
	bool wait;

	sc->kind = BE_SERVER;
	sc->rsocket = sc->wsocket = true;
	wait = false;
	if (strncmp(device, "tcp=", 4) == 0)
		sc->listen_fd = uart_listen_tcp(device + 4);
	else
		sc->listen_fd = uart_listen_unix(
		    device + strlen("socket,"), &sc->socket_path, &wait);
	if (sc->listen_fd < 0)
		return (-1);
	if (wait) {
		struct pollfd pfd = { .fd = sc->listen_fd, .events = POLLIN };

		EPRINTLN("uart: waiting for a client on %s", sc->socket_path);
		if (poll(&pfd, 1, -1) != 1)
			return (-1);
		accept_client(sc->listen_fd, EVF_READ, sc);
	}
	sc->mev_listen = mevent_add(sc->listen_fd, EVF_READ, accept_client, sc);
	if (sc->mev_listen == NULL) {
		EPRINTLN("uart: %s: %s", device, strerror(errno));
		return (-1);
	}
	return (0);
}

struct uart_softc *
uart_backend_open(
    const char *device, uart_event_func_t rx, uart_event_func_t tx, void *arg)
{
	struct uart_softc *sc;
	int error;

	sc = calloc(1, sizeof(*sc));
	if (sc == NULL) {
		EPRINTLN("uart: out of memory");
		return (NULL);
	}
	pthread_mutex_init(&sc->mtx, NULL);
	sc->rfd = sc->wfd = sc->listen_fd = -1;
	sc->rx_event = rx;
	sc->tx_event = tx;
	sc->arg = arg;
	sc->mev_timer = mevent_add_disabled(1, EVF_TIMER, flush_timer, sc);
	if (sc->mev_timer == NULL) {
		EPRINTLN("uart: %s", strerror(errno));
		error = -1;
	} else if (strcmp(device, "stdio") == 0) {
		error = open_stdio(sc);
	} else if (strncmp(device, "tcp=", 4) == 0 ||
	    strncmp(device, "socket,", 7) == 0) {
		error = open_server(sc, device);
	} else {
		error = open_tty(sc, device);
	}
	if (error != 0) {
		uart_backend_close(sc);
		return (NULL);
	}
	return (sc);
}

/* ---- closing ---- */

static int64_t
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ((int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000);
}

/* The last bytes, unless the other side does not read for two seconds. */
static void
final_flush(struct uart_softc *sc)
{
	struct pollfd pfd = { .fd = sc->wfd, .events = POLLOUT };
	unsigned int before;
	int64_t deadline, left;

	deadline = now_ms() + CLOSE_WAIT_MS;
	for (;;) {
		before = sc->tx_count;
		if (flush_ring(sc) == 0)
			return;
		if (sc->tx_count < before)
			deadline = now_ms() + CLOSE_WAIT_MS;
		left = deadline - now_ms();
		if (left <= 0)
			return;
		(void)poll(&pfd, 1, (int)left);
	}
}

void
uart_backend_close(struct uart_softc *sc)
{
	struct mevent *rd, *wr;

	/* Each waits for its callback to end, so not under the lock. */
	if (sc->mev_listen != NULL)
		mevent_delete(sc->mev_listen);
	/* The other side may be leaving now: its callback takes them, too. */
	pthread_mutex_lock(&sc->mtx);
	rd = sc->mev_rd;
	wr = sc->mev_wr;
	sc->mev_rd = sc->mev_wr = NULL;
	pthread_mutex_unlock(&sc->mtx);
	if (rd != NULL)
		mevent_delete(rd);
	if (wr != NULL)
		mevent_delete(wr);
	/* The last, because all the others may have armed it. */
	if (sc->mev_timer != NULL)
		mevent_delete(sc->mev_timer);
	final_flush(sc);
	if (stdio_owner == sc) {
		uart_restore_tty();
		stdio_owner = NULL;
	}
	if (sc->own_wfd && sc->wfd >= 0)
		close(sc->wfd);
	if (sc->own_rfd && sc->rfd >= 0)
		close(sc->rfd);
	if (sc->listen_fd >= 0)
		close(sc->listen_fd);
	if (sc->socket_path != NULL) {
		unlink(sc->socket_path);
		free(sc->socket_path);
	}
	pthread_mutex_destroy(&sc->mtx);
	free(sc);
}
