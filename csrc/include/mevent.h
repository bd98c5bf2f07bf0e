/*
 * The one event thread: descriptors, timers and signals call functions there.
 * Callbacks may use every mevent_ function.
 */
#ifndef _MEVENT_H_
#define _MEVENT_H_

enum ev_type {
	EVF_READ,
	EVF_WRITE,
	EVF_TIMER,  /* the "fd" of mevent_add() is a period in milliseconds */
	EVF_SIGNAL, /* the "fd" is a signal number */
};

struct mevent;
typedef void (*mevent_func_t)(int fd, enum ev_type type, void *param);

int mevent_init(void);	/* before any other call; 0 or an errno */
int mevent_start(void); /* start the thread; 0 or an errno */
/* Stop and join the thread, drop all events and restore signals.  Not from
 * the event thread. */
void mevent_stop(void);

/* NULL with errno set on failure. */
struct mevent *mevent_add(
    int fd, enum ev_type type, mevent_func_t func, void *param);
struct mevent *mevent_add_disabled(
    int fd, enum ev_type type, mevent_func_t func, void *param);
int mevent_enable(struct mevent *evp);
int mevent_disable(struct mevent *evp);
/*
 * Events are gone when these return, save that a callback which is already
 * running on the event thread is waited for (unless called from there).
 */
int mevent_delete(struct mevent *evp);
int mevent_delete_close(struct mevent *evp); /* also closes the fd */
/* New period in milliseconds, counted from now. */
int mevent_timer_update(struct mevent *evp, int msecs);
/* Fire a (disabled or enabled) timer once, usecs from now. */
int mevent_timer_oneshot(struct mevent *evp, int usecs);

#endif
