/*
 * Notifications of queues without an exit: where the processor can (KVM), a
 * guest's write to a queue's notify address counts on an event descriptor,
 * and a thread of the device does what the vCPU's thread else would: devices
 * do not wait for each other.
 *
 * An address is registered while the driver works with the device (DRIVER_OK
 * to reset) and the BAR is decoded there; else notifications come as ordinary
 * accesses, to the same vi_notify().  The descriptors live as long as the
 * device: a count that comes late finds a queue that is not ready.
 *
 * Locks: vd_mtx is a leaf below the device's lock and the configuration lock;
 * the thread takes the device's lock only.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "bhyverun.h"
#include "debug.h"
#include "virtio_local.h"
#include "vmmapi.h"

#define LEGACY_NOTIFY 16 /* VIRTIO_PCI_QUEUE_NOTIFY, two bytes */
#define EVENTS_AT_ONCE 16

struct vi_doorbell {
	struct virtio_softc *db_vs;
	int db_num;
	int db_fd;
	struct vm_ioevent db_ioe; /* as registered */
	bool db_on;
};

struct vi_doorbells {
	pthread_mutex_t vd_mtx;
	bool vd_declined; /* the processor has none, or they ran out */
	bool vd_running;
	bool vd_modern; /* the driver uses the modern interface */
	bool vd_threaded;
	pthread_t vd_thread;
	int vd_epfd;   /* the descriptors of all bells, and */
	int vd_end_fd; /* the one that ends the thread */
	/* Where the two BARs are; 0: not decoded. */
	uint64_t vd_legacy_bar, vd_modern_bar;
	int vd_count;
	struct vi_doorbell vd_bell[];
};

static void
doorbell_rings(struct vi_doorbell *db)
{
	eventfd_t count;

	if (eventfd_read(db->db_fd, &count) != 0)
		return;
	vi_lock(db->db_vs);
	vi_notify(db->db_vs, (uint32_t)db->db_num);
	vi_unlock(db->db_vs);
}

static void *
doorbells_loop(void *arg)
{
	struct vi_doorbells *vd = arg;
	struct epoll_event ev[EVENTS_AT_ONCE];
	int i, n;

	for (;;) {
		n = epoll_wait(vd->vd_epfd, ev, EVENTS_AT_ONCE, -1);
		for (i = 0; i < n; i++) {
			if (ev[i].data.ptr == NULL)
				return (NULL);
			doorbell_rings(ev[i].data.ptr);
		}
	}
}

/* An event descriptor that the thread looks at; -1 with errno. */
static int
bell_fd(struct vi_doorbells *vd, struct vi_doorbell *db)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = db };
	int error, fd;

	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd >= 0 && epoll_ctl(vd->vd_epfd, EPOLL_CTL_ADD, fd, &ev) != 0) {
		error = errno;
		close(fd);
		errno = error;
		return (-1);
	}
	return (fd);
}

/* Started by the first bell that can ring; 0 or an errno. */
static int
thread_start(struct vi_doorbells *vd)
{
	struct pci_devinst *pi = vd->vd_bell[0].db_vs->vs_pi;
	sigset_t all, old;
	char name[16];
	int error;

	if (vd->vd_threaded)
		return (0);
	/* A vCPU's thread is here, whose signals are not for others. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	error = pthread_create(&vd->vd_thread, NULL, doorbells_loop, vd);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (error != 0)
		return (error);
	vd->vd_threaded = true;
	snprintf(name, sizeof(name), "bell-%d:%d", pi->pi_slot, pi->pi_func);
	pthread_setname_np(vd->vd_thread, name);
	return (0);
}

static void
decline(struct virtio_softc *vs, const char *what, int error)
{
	vs->vs_doorbells->vd_declined = true;
	if (error != EOPNOTSUPP)
		EPRINTLN("%s: %s: %s: its notifications leave the guest",
		    vs->vs_pi->pi_name, what, strerror(error));
}

static bool
doorbell_open(struct vi_doorbells *vd, struct vi_doorbell *db)
{
	if (db->db_fd >= 0)
		return (true);
	if (vd->vd_epfd < 0)
		vd->vd_epfd = epoll_create1(EPOLL_CLOEXEC);
	if (vd->vd_epfd >= 0 && vd->vd_end_fd < 0)
		vd->vd_end_fd = bell_fd(vd, NULL);
	if (vd->vd_end_fd >= 0)
		db->db_fd = bell_fd(vd, db);
	if (db->db_fd < 0)
		decline(db->db_vs, "eventfd", errno);
	return (db->db_fd >= 0);
}

static void
doorbell_off(struct vi_doorbell *db)
{
	if (!db->db_on)
		return;
	db->db_on = false;
	db->db_ioe.flags |= VM_IOEVENT_DEL;
	(void)vm_ioevent(db->db_vs->vs_pi->pi_vmctx, &db->db_ioe);
}

static void
doorbell_on(struct vi_doorbells *vd, struct vi_doorbell *db)
{
	struct vm_ioevent ioe = { .fd = db->db_fd };
	int error;

	if (vd->vd_modern) {
		ioe.addr =
		    vd->vd_modern_bar + vi_modern_notify_offset(db->db_num);
	} else {
		ioe.addr = vd->vd_legacy_bar + LEGACY_NOTIFY;
		ioe.len = 2;
		ioe.match = (uint64_t)db->db_num;
		ioe.flags = VM_IOEVENT_PIO | VM_IOEVENT_MATCH;
	}
	if (vm_ioevent(db->db_vs->vs_pi->pi_vmctx, &ioe) != 0) {
		decline(db->db_vs, "ioeventfd", errno);
		return;
	}
	db->db_ioe = ioe;
	db->db_on = true;
	error = thread_start(vd);
	if (error != 0) {
		doorbell_off(db);
		decline(db->db_vs, "doorbells", error);
	}
}

/* Registrations follow what the driver and the BARs do; vd_mtx is held. */
static void
doorbells_update(struct vi_doorbells *vd)
{
	bool want;
	int i;

	want = vd->vd_running &&
	    (vd->vd_modern ? vd->vd_modern_bar : vd->vd_legacy_bar) != 0;
	for (i = 0; i < vd->vd_count; i++)
		doorbell_off(&vd->vd_bell[i]);
	for (i = 0; want && !vd->vd_declined && i < vd->vd_count; i++)
		if (doorbell_open(vd, &vd->vd_bell[i]))
			doorbell_on(vd, &vd->vd_bell[i]);
}

void
vi_doorbells_init(struct virtio_softc *vs)
{
	struct vi_doorbells *vd;
	int i, n = vs->vs_vc->vc_nvq;

	if (!get_config_bool_default("virtio.ioeventfd", true))
		return;
	vd = calloc(1, sizeof(*vd) + (size_t)n * sizeof(vd->vd_bell[0]));
	if (vd == NULL)
		return;
	pthread_mutex_init(&vd->vd_mtx, NULL);
	vd->vd_count = n;
	vd->vd_epfd = vd->vd_end_fd = -1;
	for (i = 0; i < n; i++) {
		vd->vd_bell[i].db_vs = vs;
		vd->vd_bell[i].db_num = i;
		vd->vd_bell[i].db_fd = -1;
	}
	vs->vs_doorbells = vd;
}

void
vi_doorbells_start(struct virtio_softc *vs)
{
	struct vi_doorbells *vd = vs->vs_doorbells;

	/* Without a lock the event thread would meet the vCPUs' threads. */
	if (vd == NULL || vs->vs_mtx == NULL)
		return;
	pthread_mutex_lock(&vd->vd_mtx);
	if (!vd->vd_declined && !vd->vd_running) {
		vd->vd_running = true;
		vd->vd_modern =
		    (vs->vs_negotiated_caps & VIRTIO_F_VERSION_1) != 0;
		doorbells_update(vd);
	}
	pthread_mutex_unlock(&vd->vd_mtx);
}

void
vi_doorbells_stop(struct virtio_softc *vs)
{
	struct vi_doorbells *vd = vs->vs_doorbells;

	if (vd == NULL)
		return;
	pthread_mutex_lock(&vd->vd_mtx);
	if (vd->vd_running) {
		vd->vd_running = false;
		doorbells_update(vd);
	}
	pthread_mutex_unlock(&vd->vd_mtx);
}

void
vi_pci_baraddr(
    struct pci_devinst *pi, int baridx, int enabled, uint64_t address)
{
	struct virtio_softc *vs = pi->pi_arg;
	struct vi_doorbells *vd = vs != NULL ? vs->vs_doorbells : NULL;
	uint64_t *bar;

	if (vd == NULL)
		return;
	if (pi->pi_bar[baridx].type == PCIBAR_IO)
		bar = &vd->vd_legacy_bar;
	else if (vs->vs_modern && baridx == VI_MODERN_BAR)
		bar = &vd->vd_modern_bar;
	else
		return;
	pthread_mutex_lock(&vd->vd_mtx);
	*bar = enabled ? address : 0;
	if (vd->vd_running)
		doorbells_update(vd);
	pthread_mutex_unlock(&vd->vd_mtx);
}

void
vi_quiesce(struct virtio_softc *vs)
{
	struct vi_doorbells *vd = vs->vs_doorbells;
	int i;

	if (vd == NULL)
		return;
	vi_doorbells_stop(vs);
	if (vd->vd_threaded) {
		(void)eventfd_write(vd->vd_end_fd, 1);
		pthread_join(vd->vd_thread, NULL);
	}
	for (i = 0; i < vd->vd_count; i++)
		if (vd->vd_bell[i].db_fd >= 0)
			close(vd->vd_bell[i].db_fd);
	if (vd->vd_end_fd >= 0)
		close(vd->vd_end_fd);
	if (vd->vd_epfd >= 0)
		close(vd->vd_epfd);
	pthread_mutex_destroy(&vd->vd_mtx);
	vs->vs_doorbells = NULL;
	free(vd);
}
