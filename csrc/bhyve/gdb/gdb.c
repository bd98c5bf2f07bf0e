/*
 * The debug server: who runs and who stands.
 *
 * vCPUs stop by vm_suspend_cpu(): vm_run() comes back with a DEBUG exit, and
 * the vCPU's thread parks here.  It looks at the VM ten times a second by
 * another vm_run(), which comes back at once, so that the VM's end is seen.
 * When all have parked the event thread is woken and serves the client.
 */
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bhyverun.h"
#include "config.h"
#include "debug.h"
#include "gdb.h"
#include "gdb_local.h"
#include "mevent.h"
#include "vmmapi.h"

#define PARK_NS 100000000L
#define NOBODY -1

static struct {
	struct vmctx *ctx; /* NULL: no debug server */
	int ncpus;
	uint64_t all; /* a bit for each vCPU */
	/* The event thread's. */
	int listen_fd, wake_fd;
	struct gdb_session *session;
	bool owes_reply; /* the client waits for a stop reply */
	bool served;	 /* the stop has been told to the session */
	/* Under mtx. */
	uint64_t parked;
	bool hold;    /* vCPUs are to stand, but for the stepping one */
	int stepping; /* the vCPU that runs alone, or NOBODY */
	struct gdb_stop stop;
	struct gdb_stop late[VM_MAXCPU]; /* to be told of before going on */
} dbg = { .listen_fd = -1, .wake_fd = -1, .stepping = NOBODY };

static pthread_mutex_t dbg_mtx = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t dbg_cond = PTHREAD_COND_INITIALIZER;

struct vmctx *
gdb_ctx(void)
{
	return (dbg.ctx);
}

int
gdb_ncpus(void)
{
	return (dbg.ncpus);
}

struct vcpu *
gdb_vcpu(int vcpuid)
{
	return (fbsdrun_vcpu(vcpuid));
}

const struct gdb_stop *
gdb_last_stop(void)
{
	return (&dbg.stop);
}

/* ---- stopping ---- */

static void
wake_server(void)
{
	uint64_t one = 1;

	(void)!write(dbg.wake_fd, &one, sizeof(one));
}

static void
set_step(int vcpuid, int on)
{
	struct vcpu *vcpu = gdb_vcpu(vcpuid);

	(void)vm_set_capability(vcpu, VM_CAP_MTRAP_EXIT, on);
	/* One instruction of the program, not of an interrupt's handler.
	 * Where a processor cannot, the step leads into the handler. */
	(void)vm_set_capability(vcpu, VM_CAP_MASK_HWINTR, on);
}

/* Locked.  The first reason of a stop is the one that the client hears. */
static void
hold_all(enum gdb_reason reason, int vcpuid, uint64_t address)
{
	if (dbg.hold && dbg.stepping == NOBODY)
		return;
	dbg.stop = (struct gdb_stop) { reason, vcpuid, address };
	if (dbg.stepping != NOBODY)
		set_step(dbg.stepping, 0);
	dbg.stepping = NOBODY;
	dbg.hold = true;
	(void)vm_suspend_all_cpus(dbg.ctx);
}

/* Locked. */
static void
park(int vcpuid)
{
	const uint64_t bit = 1UL << vcpuid;
	struct timespec until;

	if ((dbg.parked & bit) == 0) {
		dbg.parked |= bit;
		if (dbg.parked == dbg.all)
			wake_server();
	}
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += PARK_NS;
	if (until.tv_nsec >= 1000000000L) {
		until.tv_nsec -= 1000000000L;
		until.tv_sec++;
	}
	(void)pthread_cond_timedwait(&dbg_cond, &dbg_mtx, &until);
}

bool
gdb_cpu_suspend(struct vcpu *vcpu)
{
	bool ours;

	if (dbg.ctx == NULL)
		return (false);
	pthread_mutex_lock(&dbg_mtx);
	ours = dbg.hold && dbg.stepping != vcpu_id(vcpu);
	if (ours)
		park(vcpu_id(vcpu));
	pthread_mutex_unlock(&dbg_mtx);
	return (ours);
}

/* A vCPU's own reason; of several at once the others come again later, when
 * their instructions run again.  (Watchpoints are met behind theirs.) */
static void
stop_here(enum gdb_reason reason, struct vcpu *vcpu, uint64_t address)
{
	pthread_mutex_lock(&dbg_mtx);
	hold_all(reason, vcpu_id(vcpu), address);
	park(vcpu_id(vcpu));
	pthread_mutex_unlock(&dbg_mtx);
}

bool
gdb_cpu_mtrap(struct vcpu *vcpu)
{
	bool ours;

	if (dbg.ctx == NULL)
		return (false);
	pthread_mutex_lock(&dbg_mtx);
	ours = dbg.stepping == vcpu_id(vcpu);
	pthread_mutex_unlock(&dbg_mtx);
	if (ours)
		stop_here(GDB_STOP_STEP, vcpu, 0);
	/* Else the step was given up meanwhile, and the exit is late. */
	return (true);
}

bool
gdb_cpu_breakpoint(struct vcpu *vcpu, const struct vm_exit *vme)
{
	enum gdb_found found;

	if (dbg.ctx == NULL)
		return (false);
	pthread_mutex_lock(&dbg_mtx);
	found = gdb_find_breakpoint(vcpu, vme->rip);
	pthread_mutex_unlock(&dbg_mtx);
	switch (found) {
	case GDB_FOUND_OURS:
		stop_here(GDB_STOP_SWBREAK, vcpu, 0);
		return (true);
	case GDB_FOUND_GONE:
		/* The instruction that belongs there runs now. */
		return (true);
	default:
		/* The guest's own: a trap, behind the instruction. */
		if (vm_set_register(vcpu, VM_REG_GUEST_RIP,
			vme->rip + (uint64_t)vme->u.bpt.inst_length) != 0 ||
		    vm_inject_exception(vcpu, 3, 0, 0, 0) != 0)
			EPRINTLN("vcpu %d: cannot inject exception 3",
			    vcpu_id(vcpu));
		return (true);
	}
}

bool
gdb_cpu_watch(struct vcpu *vcpu, const struct vm_exit *vme)
{
	struct gdb_stop stop = { .vcpuid = vcpu_id(vcpu) };

	if (dbg.ctx == NULL)
		return (false);
	pthread_mutex_lock(&dbg_mtx);
	gdb_find_watch(vme->u.dbg.drx_access, &stop);
	if (stop.reason == GDB_STOP_NONE) {
		/* Cleared a moment ago. */
	} else if (dbg.hold && dbg.stepping != stop.vcpuid) {
		dbg.late[stop.vcpuid] = stop;
		park(stop.vcpuid);
	} else {
		hold_all(stop.reason, stop.vcpuid, stop.address);
		park(stop.vcpuid);
	}
	pthread_mutex_unlock(&dbg_mtx);
	return (true);
}

/* ---- going on ---- */

/* Locked.  A stop that came while another one was told of? */
static bool
take_late(void)
{
	int i;

	for (i = 0; i < dbg.ncpus; i++) {
		if (dbg.late[i].reason == GDB_STOP_NONE)
			continue;
		dbg.stop = dbg.late[i];
		dbg.late[i].reason = GDB_STOP_NONE;
		return (true);
	}
	return (false);
}

int
gdb_resume(void)
{
	pthread_mutex_lock(&dbg_mtx);
	if (dbg.session != NULL && take_late()) {
		pthread_mutex_unlock(&dbg_mtx);
		dbg.served = false;
		dbg.owes_reply = true;
		wake_server();
		return (0);
	}
	dbg.hold = false;
	dbg.parked = 0;
	dbg.served = false;
	(void)vm_resume_all_cpus(dbg.ctx);
	pthread_cond_broadcast(&dbg_cond);
	pthread_mutex_unlock(&dbg_mtx);
	dbg.owes_reply = true;
	return (0);
}

int
gdb_step(int vcpuid)
{
	struct vcpu *vcpu = gdb_vcpu(vcpuid);
	int error, val;

	if (vm_get_capability(vcpu, VM_CAP_MTRAP_EXIT, &val) != 0)
		return (EOPNOTSUPP);
	pthread_mutex_lock(&dbg_mtx);
	set_step(vcpuid, 1);
	error = vm_resume_cpu(vcpu) != 0 ? errno : 0;
	if (error == 0) {
		dbg.stepping = vcpuid;
		dbg.parked &= ~(1UL << vcpuid);
		dbg.served = false;
		dbg.owes_reply = true;
		pthread_cond_broadcast(&dbg_cond);
	} else {
		set_step(vcpuid, 0);
	}
	pthread_mutex_unlock(&dbg_mtx);
	return (error);
}

void
gdb_interrupt(void)
{
	pthread_mutex_lock(&dbg_mtx);
	hold_all(GDB_STOP_ASKED, dbg.stop.vcpuid, 0);
	pthread_mutex_unlock(&dbg_mtx);
}

void
gdb_detach(void)
{
	dbg.session = NULL;
	pthread_mutex_lock(&dbg_mtx);
	/* A step that goes on would hold the others for ever. */
	if (dbg.stepping != NOBODY)
		set_step(dbg.stepping, 0);
	dbg.stepping = NOBODY;
	gdb_clear_breakpoints();
	memset(dbg.late, 0, sizeof(dbg.late));
	pthread_mutex_unlock(&dbg_mtx);
	(void)gdb_resume();
	dbg.owes_reply = false;
}

void
gdb_kill(void)
{
	(void)vm_suspend(dbg.ctx, VM_SUSPEND_POWEROFF);
}

/* ---- the event thread ---- */

static bool
all_stand(void)
{
	bool stand;

	pthread_mutex_lock(&dbg_mtx);
	stand = dbg.hold && dbg.stepping == NOBODY && dbg.parked == dbg.all;
	pthread_mutex_unlock(&dbg_mtx);
	return (stand);
}

static void
look(void)
{
	bool reply;

	if (dbg.session == NULL || dbg.served || !all_stand())
		return;
	reply = dbg.owes_reply;
	dbg.owes_reply = false;
	dbg.served = true;
	gdb_session_stopped(dbg.session, reply);
}

static void
on_wake(int fd, enum ev_type type, void *param)
{
	uint64_t count;

	if (read(fd, &count, sizeof(count)) == (ssize_t)sizeof(count))
		look();
}

static void
on_connect(int fd, enum ev_type type, void *param)
{
	int s;

	s = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (s < 0)
		return;
	if (dbg.session != NULL && !gdb_session_over(dbg.session)) {
		close(s); /* one client at a time */
		return;
	}
	dbg.session = gdb_session_new(s);
	if (dbg.session == NULL) {
		EPRINTLN("gdb: %s", strerror(errno));
		close(s);
		return;
	}
	gdb_command_reset();
	dbg.owes_reply = false;
	dbg.served = false;
	gdb_interrupt();
	look(); /* with gdb.wait they stand already */
}

/* ---- start and end ---- */

static int
listen_on(const char *address, const char *port)
{
	struct addrinfo hints = {
		.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
		.ai_flags = AI_PASSIVE | AI_NUMERICSERV,
	};
	struct addrinfo *ai, *list;
	int error, one, rc, s;

	rc = getaddrinfo(address, port, &hints, &list);
	if (rc != 0) {
		EPRINTLN("gdb: %s:%s: %s", address, port, gai_strerror(rc));
		return (-1);
	}
	error = EADDRNOTAVAIL;
	one = 1;
	for (ai = list, s = -1; ai != NULL; ai = ai->ai_next) {
		s = socket(ai->ai_family,
		    ai->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK,
		    ai->ai_protocol);
		if (s >= 0) {
			(void)setsockopt(
			    s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
			if (bind(s, ai->ai_addr, ai->ai_addrlen) == 0 &&
			    listen(s, 1) == 0)
				break;
		}
		error = errno;
		if (s >= 0)
			close(s);
		s = -1;
	}
	freeaddrinfo(list);
	if (s < 0)
		EPRINTLN("gdb: %s:%s: %s", address, port, strerror(error));
	return (s);
}

int
gdb_init(struct vmctx *ctx, int ncpus)
{
	const char *address;
	char port[8];
	long number;

	number = get_config_int_default("gdb.port", 0, 0, 65535);
	if (config_failed())
		return (-1);
	if (number == 0)
		return (0);
	address = get_config_value("gdb.address");
	snprintf(port, sizeof(port), "%ld", number);
	dbg.listen_fd =
	    listen_on(address != NULL ? address : "localhost", port);
	if (dbg.listen_fd < 0)
		return (-1);
	dbg.ncpus = ncpus;
	dbg.all = ncpus >= 64 ? ~0UL : (1UL << ncpus) - 1;
	dbg.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (dbg.wake_fd < 0) {
		EPRINTLN("gdb: %s", strerror(errno));
		return (-1);
	}
	if (mevent_add(dbg.wake_fd, EVF_READ, on_wake, NULL) == NULL ||
	    mevent_add(dbg.listen_fd, EVF_READ, on_connect, NULL) == NULL) {
		EPRINTLN("gdb: %s", strerror(errno));
		return (-1);
	}
	dbg.ctx = ctx;
	if (get_config_bool_default("gdb.wait", false))
		gdb_interrupt();
	return (0);
}

void
gdb_cleanup(int status)
{
	if (dbg.session != NULL)
		gdb_session_exited(dbg.session, status);
	if (dbg.listen_fd >= 0)
		close(dbg.listen_fd);
	if (dbg.wake_fd >= 0)
		close(dbg.wake_fd);
	if (dbg.ctx != NULL) {
		/* What is saved is the guest's own. */
		gdb_clear_breakpoints();
		if (dbg.stepping != NOBODY)
			set_step(dbg.stepping, 0);
		(void)vm_resume_all_cpus(dbg.ctx);
	}
	gdb_regs_cleanup();
	memset(&dbg, 0, sizeof(dbg));
	dbg.listen_fd = dbg.wake_fd = -1;
	dbg.stepping = NOBODY;
}
