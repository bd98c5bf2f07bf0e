/*
 * The event thread: epoll over descriptors, timerfds, and a pipe that signal
 * handlers and other threads write to.
 *
 * mevent_mtx guards the lists; it is never held while a callback runs.  A
 * deleted event leaves the lists at once and its memory is freed by the
 * event thread between two rounds, so a pointer that epoll returned stays
 * valid for the round.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "debug.h"
#include "mevent.h"

#define MEVENT_MAX 64 /* events of one epoll round */
#define MEV_NSIG 65

struct mevent {
	int fd;	    /* EVF_TIMER: the timerfd; EVF_SIGNAL: -1 */
	int arg_fd; /* what the callback is told */
	enum ev_type type;
	mevent_func_t func;
	void *param;
	bool enabled;
	bool deleted;
	bool close_fd;
	int period_ms;
	struct mev_fd *mfd;
	struct mevent *next;
};

/* epoll knows a descriptor once; readers and writers share it. */
struct mev_fd {
	int fd;
	struct mevent *rd, *wr;
	bool in_epoll;
	bool always; /* a plain file: always ready, epoll refuses it */
	bool dead;
	struct mev_fd *next;
};

static pthread_mutex_t mevent_mtx = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t mevent_cond = PTHREAD_COND_INITIALIZER;
static struct mevent *events, *graveyard;
static struct mev_fd *fds, *fd_graveyard;
static struct mevent *running; /* whose callback runs now */
static int epoll_fd = -1;
static int wake_fds[2] = { -1, -1 };
static pthread_t mevent_tid;
static bool thread_started;
static atomic_bool quit;

/* Signals: the handler only marks and wakes. */
static atomic_bool signal_pending[MEV_NSIG];
static struct sigaction old_actions[MEV_NSIG];
static bool action_saved[MEV_NSIG];
static atomic_int signal_wake_fd = -1;

static void
wake(void)
{
	ssize_t n;
	char c = 0;

	/* A full pipe wakes the reader just as well. */
	n = write(wake_fds[1], &c, 1);
	(void)n;
}

static void
signal_handler(int signo)
{
	int fd, saved;
	ssize_t n;
	char c = 0;

	saved = errno;
	atomic_store(&signal_pending[signo], true);
	fd = atomic_load(&signal_wake_fd);
	if (fd >= 0) {
		n = write(fd, &c, 1);
		(void)n;
	}
	errno = saved;
}

int
mevent_init(void)
{
	struct epoll_event ev = { .events = EPOLLIN };
	int error;

	atomic_store(&quit, false);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd < 0)
		return (errno);
	if (pipe2(wake_fds, O_CLOEXEC | O_NONBLOCK) != 0) {
		error = errno;
		close(epoll_fd);
		epoll_fd = -1;
		return (error);
	}
	ev.data.ptr = NULL;
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, wake_fds[0], &ev) != 0) {
		error = errno;
		mevent_stop();
		return (error);
	}
	atomic_store(&signal_wake_fd, wake_fds[1]);
	return (0);
}

/* Tell epoll what the events of a descriptor want now.  Locked. */
static int
mfd_update(struct mev_fd *mfd)
{
	struct epoll_event ev = { 0 };
	int op;

	if (mfd->rd != NULL && mfd->rd->enabled)
		ev.events |= EPOLLIN;
	if (mfd->wr != NULL && mfd->wr->enabled)
		ev.events |= EPOLLOUT;
	ev.data.ptr = mfd;
	if (mfd->always) {
		wake();
		return (0);
	}
	if (ev.events == 0) {
		/* Out of the set: a hangup would be reported even now. */
		if (mfd->in_epoll)
			epoll_ctl(epoll_fd, EPOLL_CTL_DEL, mfd->fd, NULL);
		mfd->in_epoll = false;
		return (0);
	}
	op = mfd->in_epoll ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
	if (epoll_ctl(epoll_fd, op, mfd->fd, &ev) != 0) {
		if (errno != EPERM)
			return (errno);
		mfd->always = true;
		wake();
		return (0);
	}
	mfd->in_epoll = true;
	return (0);
}

static struct mev_fd *
mfd_get(int fd)
{
	struct mev_fd *mfd;

	for (mfd = fds; mfd != NULL; mfd = mfd->next) {
		if (mfd->fd == fd)
			return (mfd);
	}
	mfd = calloc(1, sizeof(*mfd));
	if (mfd == NULL)
		return (NULL);
	mfd->fd = fd;
	mfd->next = fds;
	fds = mfd;
	return (mfd);
}

static void
mfd_put(struct mev_fd *mfd)
{
	struct mev_fd **pp;

	if (mfd->rd != NULL || mfd->wr != NULL)
		return;
	for (pp = &fds; *pp != mfd; pp = &(*pp)->next)
		;
	*pp = mfd->next;
	mfd->dead = true;
	mfd->next = fd_graveyard;
	fd_graveyard = mfd;
}

static int
timer_arm(struct mevent *evp)
{
	struct itimerspec its = { 0 };

	if (evp->enabled) {
		its.it_interval.tv_sec = evp->period_ms / 1000;
		its.it_interval.tv_nsec = evp->period_ms % 1000 * 1000000L;
		its.it_value = its.it_interval;
	}
	return (timerfd_settime(evp->fd, 0, &its, NULL) != 0 ? errno : 0);
}

static int
signal_attach(struct mevent *evp)
{
	struct sigaction sa = { .sa_handler = signal_handler };
	int signo = evp->arg_fd;

	if (signo <= 0 || signo >= MEV_NSIG)
		return (EINVAL);
	sigemptyset(&sa.sa_mask);
	sa.sa_flags = SA_RESTART;
	atomic_store(&signal_pending[signo], false);
	if (sigaction(signo, &sa, &old_actions[signo]) != 0)
		return (errno);
	action_saved[signo] = true;
	return (0);
}

/* Make the descriptor side of a new event.  Locked. */
static int
event_attach(struct mevent *evp)
{
	struct mevent **slot;
	int error;

	if (evp->type == EVF_SIGNAL)
		return (signal_attach(evp));
	if (evp->type == EVF_TIMER) {
		evp->period_ms = evp->arg_fd;
		evp->fd =
		    timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
		if (evp->fd < 0)
			return (errno);
		evp->close_fd = true;
	}
	evp->mfd = mfd_get(evp->fd);
	if (evp->mfd == NULL)
		return (ENOMEM);
	slot = evp->type == EVF_WRITE ? &evp->mfd->wr : &evp->mfd->rd;
	if (*slot != NULL) {
		evp->mfd = NULL; /* another event's */
		return (EEXIST);
	}
	*slot = evp;
	if (evp->type == EVF_TIMER) {
		error = timer_arm(evp);
		if (error != 0)
			return (error);
	}
	return (mfd_update(evp->mfd));
}

static void
event_detach(struct mevent *evp)
{
	if (evp->type == EVF_SIGNAL) {
		if (action_saved[evp->arg_fd]) {
			sigaction(evp->arg_fd, &old_actions[evp->arg_fd], NULL);
			action_saved[evp->arg_fd] = false;
		}
		return;
	}
	if (evp->mfd != NULL) {
		if (evp->mfd->rd == evp)
			evp->mfd->rd = NULL;
		if (evp->mfd->wr == evp)
			evp->mfd->wr = NULL;
		mfd_update(evp->mfd);
		mfd_put(evp->mfd);
		evp->mfd = NULL;
	}
}

static struct mevent *
add(int fd, enum ev_type type, mevent_func_t func, void *param, bool enabled)
{
	struct mevent *evp;
	int error;

	if (epoll_fd < 0 || func == NULL || fd < 0) {
		errno = EINVAL;
		return (NULL);
	}
	evp = calloc(1, sizeof(*evp));
	if (evp == NULL)
		return (NULL);
	evp->fd = type == EVF_READ || type == EVF_WRITE ? fd : -1;
	evp->arg_fd = fd;
	evp->type = type;
	evp->func = func;
	evp->param = param;
	evp->enabled = enabled;
	pthread_mutex_lock(&mevent_mtx);
	error = event_attach(evp);
	if (error != 0) {
		event_detach(evp);
		if (evp->close_fd && evp->fd >= 0)
			close(evp->fd);
		free(evp);
		evp = NULL;
	} else {
		evp->next = events;
		events = evp;
	}
	pthread_mutex_unlock(&mevent_mtx);
	if (error != 0)
		errno = error;
	return (evp);
}

struct mevent *
mevent_add(int fd, enum ev_type type, mevent_func_t func, void *param)
{
	return (add(fd, type, func, param, true));
}

struct mevent *
mevent_add_disabled(int fd, enum ev_type type, mevent_func_t func, void *param)
{
	return (add(fd, type, func, param, false));
}

static int
set_enabled(struct mevent *evp, bool enabled)
{
	int error;

	error = 0;
	pthread_mutex_lock(&mevent_mtx);
	if (evp->enabled != enabled) {
		evp->enabled = enabled;
		if (evp->type == EVF_TIMER)
			error = timer_arm(evp);
		if (error == 0 && evp->mfd != NULL)
			error = mfd_update(evp->mfd);
	}
	pthread_mutex_unlock(&mevent_mtx);
	return (error);
}

int
mevent_enable(struct mevent *evp)
{
	return (set_enabled(evp, true));
}

int
mevent_disable(struct mevent *evp)
{
	return (set_enabled(evp, false));
}

int
mevent_timer_update(struct mevent *evp, int msecs)
{
	int error;

	if (evp->type != EVF_TIMER || msecs < 0)
		return (EINVAL);
	pthread_mutex_lock(&mevent_mtx);
	evp->period_ms = msecs;
	error = timer_arm(evp);
	pthread_mutex_unlock(&mevent_mtx);
	return (error);
}

int
mevent_timer_oneshot(struct mevent *evp, int usecs)
{
	struct itimerspec its = { 0 };
	int error;

	if (evp->type != EVF_TIMER || usecs <= 0)
		return (EINVAL);
	its.it_value.tv_sec = usecs / 1000000;
	its.it_value.tv_nsec = usecs % 1000000 * 1000L;
	error = 0;
	pthread_mutex_lock(&mevent_mtx);
	if (!evp->enabled) {
		evp->enabled = true;
		error = mfd_update(evp->mfd);
	}
	if (error == 0 && timerfd_settime(evp->fd, 0, &its, NULL) != 0)
		error = errno;
	pthread_mutex_unlock(&mevent_mtx);
	return (error);
}

static int
delete_event(struct mevent *evp, bool close_fd)
{
	struct mevent **pp;

	pthread_mutex_lock(&mevent_mtx);
	for (pp = &events; *pp != NULL && *pp != evp; pp = &(*pp)->next)
		;
	if (*pp == NULL) {
		pthread_mutex_unlock(&mevent_mtx);
		return (ENOENT);
	}
	*pp = evp->next;
	evp->deleted = true;
	event_detach(evp);
	if (close_fd)
		evp->close_fd = true;
	if (evp->close_fd && evp->fd >= 0) {
		close(evp->fd);
		evp->fd = -1;
	}
	/* The grave first: the event thread digs when it is not running it. */
	while (running == evp && thread_started &&
	    !pthread_equal(pthread_self(), mevent_tid))
		pthread_cond_wait(&mevent_cond, &mevent_mtx);
	evp->next = graveyard;
	graveyard = evp;
	pthread_mutex_unlock(&mevent_mtx);
	return (0);
}

int
mevent_delete(struct mevent *evp)
{
	return (delete_event(evp, false));
}

int
mevent_delete_close(struct mevent *evp)
{
	return (delete_event(evp, true));
}

/* Call one event's function without the lock.  Locked on entry and exit. */
static void
fire(struct mevent *evp)
{
	if (evp == NULL || evp->deleted || !evp->enabled)
		return;
	running = evp;
	pthread_mutex_unlock(&mevent_mtx);
	evp->func(evp->arg_fd, evp->type, evp->param);
	pthread_mutex_lock(&mevent_mtx);
	running = NULL;
	pthread_cond_broadcast(&mevent_cond);
}

static void
fire_fd(struct mev_fd *mfd, uint32_t revents)
{
	uint64_t expired;

	if (mfd->dead)
		return;
	if (mfd->rd != NULL && mfd->rd->type == EVF_TIMER) {
		if (read(mfd->fd, &expired, sizeof(expired)) !=
		    (ssize_t)sizeof(expired))
			return; /* re-armed meanwhile */
		fire(mfd->rd);
		return;
	}
	if ((revents & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
		fire(mfd->rd);
	if (!mfd->dead && (revents & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0)
		fire(mfd->wr);
}

static void
fire_signals(void)
{
	struct mevent *evp;
	int signo;

	for (signo = 1; signo < MEV_NSIG; signo++) {
		if (!atomic_exchange(&signal_pending[signo], false))
			continue;
		for (evp = events; evp != NULL; evp = evp->next) {
			if (evp->type == EVF_SIGNAL && evp->arg_fd == signo)
				break;
		}
		fire(evp);
	}
}

/* Plain files never block: serve each once a round.  True: there are some. */
static bool
fire_always(bool fire_them)
{
	struct mev_fd *mfd, *list[MEVENT_MAX];
	bool wanted;
	int i, n;

	n = 0;
	wanted = false;
	for (mfd = fds; mfd != NULL && n < MEVENT_MAX; mfd = mfd->next) {
		if (!mfd->always)
			continue;
		if ((mfd->rd != NULL && mfd->rd->enabled) ||
		    (mfd->wr != NULL && mfd->wr->enabled)) {
			wanted = true;
			list[n++] = mfd;
		}
	}
	for (i = 0; fire_them && i < n; i++)
		fire_fd(list[i], EPOLLIN | EPOLLOUT);
	return (wanted);
}

static void
bury(void)
{
	struct mev_fd *mfd;
	struct mevent *evp;

	while ((evp = graveyard) != NULL) {
		graveyard = evp->next;
		free(evp);
	}
	while ((mfd = fd_graveyard) != NULL) {
		fd_graveyard = mfd->next;
		free(mfd);
	}
}

static void *
mevent_thread(void *arg)
{
	struct epoll_event evs[MEVENT_MAX];
	char buf[64];
	bool busy;
	int i, n;

	pthread_setname_np(pthread_self(), "mevent");
	pthread_mutex_lock(&mevent_mtx);
	while (!atomic_load(&quit)) {
		bury();
		busy = fire_always(false);
		pthread_mutex_unlock(&mevent_mtx);
		n = epoll_wait(epoll_fd, evs, MEVENT_MAX, busy ? 0 : -1);
		pthread_mutex_lock(&mevent_mtx);
		for (i = 0; i < n; i++) {
			if (evs[i].data.ptr != NULL) {
				fire_fd(evs[i].data.ptr, evs[i].events);
				continue;
			}
			while (read(wake_fds[0], buf, sizeof(buf)) > 0)
				;
			fire_signals();
		}
		if (busy)
			fire_always(true);
	}
	pthread_mutex_unlock(&mevent_mtx);
	return (NULL);
}

int
mevent_start(void)
{
	int error;

	pthread_mutex_lock(&mevent_mtx);
	error = pthread_create(&mevent_tid, NULL, mevent_thread, NULL);
	thread_started = error == 0;
	pthread_mutex_unlock(&mevent_mtx);
	return (error);
}

void
mevent_stop(void)
{
	struct mevent *evp;

	atomic_store(&quit, true);
	if (thread_started) {
		wake();
		pthread_join(mevent_tid, NULL);
		thread_started = false;
	}
	while ((evp = events) != NULL)
		delete_event(evp, false);
	bury();
	atomic_store(&signal_wake_fd, -1);
	if (epoll_fd >= 0)
		close(epoll_fd);
	if (wake_fds[0] >= 0) {
		close(wake_fds[0]);
		close(wake_fds[1]);
	}
	epoll_fd = wake_fds[0] = wake_fds[1] = -1;
}
