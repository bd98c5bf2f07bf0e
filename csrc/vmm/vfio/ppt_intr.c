/*
 * Messages of the host's devices: the kernel counts each on an eventfd, and
 * either the processor sends it to the guest by itself (an irqfd of KVM's),
 * or a thread of the VM's does.
 *
 * By the time of a message a device may have written anywhere in the guest's
 * memory, which the software processor has to hear of for its decoded code.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "ppt_local.h"
#include "vchips.h"
#include "vmm_dev.h"

/* Epoll's word for a message: the device's slot and the message's number. */
#define EV_WORD(slot, vec) ((uint64_t)(slot) << 32 | (uint32_t)(vec))
#define EV_STOP UINT64_MAX

#define MSI_ADDR_MASK 0xfffffffffff00000UL
#define MSI_ADDR_BASE 0xfee00000UL

/* ---- the thread ---- */

/* Messages go to the local APICs and nowhere else. */
static bool
is_message(const struct ppt_vec *vec)
{
	return ((vec->addr & MSI_ADDR_MASK) == MSI_ADDR_BASE);
}

/* Sends what the kernel has counted, unless the processor does. */
static void
vec_send(struct ppt_vm *pv, struct ppt_vec *vec)
{
	uint64_t count;

	if (vec->fd < 0 || vec->route >= 0 ||
	    read(vec->fd, &count, sizeof(count)) != sizeof(count))
		return;
	ppt_dma_written(pv->vm);
	if (is_message(vec))
		(void)lapic_intr_msi(pv->vm, vec->addr, vec->msg);
}

static void
deliver(struct ppt_vm *pv, uint64_t word)
{
	struct ppt_dev *dev;
	int index = (int)(uint32_t)word;

	/* The device may be another one by now, or none. */
	dev = pv->devs[(word >> 32) % PPT_MAX];
	if (dev != NULL && index < dev->nvecs)
		vec_send(pv, &dev->vecs[index]);
}

static void *
ppt_main(void *arg)
{
	struct ppt_vm *pv = arg;
	struct epoll_event ev;
	int n;

	prctl(PR_SET_NAME, "ppt");
	for (;;) {
		n = epoll_wait(pv->epfd, &ev, 1, -1);
		if (n < 0 && errno != EINTR)
			break;
		if (n <= 0)
			continue;
		if (ev.data.u64 == EV_STOP)
			break;
		/* The processor must not be exchanged meanwhile. */
		pthread_rwlock_rdlock(&pv->vm->rwlock);
		pthread_mutex_lock(&pv->ppt_mtx);
		deliver(pv, ev.data.u64);
		pthread_mutex_unlock(&pv->ppt_mtx);
		pthread_rwlock_unlock(&pv->vm->rwlock);
	}
	return (NULL);
}

int
ppt_intr_start(struct ppt_vm *pv)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = EV_STOP };
	sigset_t all, old;
	int error;

	pv->epfd = epoll_create1(EPOLL_CLOEXEC);
	pv->stopfd = eventfd(0, EFD_CLOEXEC);
	if (pv->epfd < 0 || pv->stopfd < 0 ||
	    epoll_ctl(pv->epfd, EPOLL_CTL_ADD, pv->stopfd, &ev) != 0) {
		error = errno;
	} else {
		sigfillset(&all);
		pthread_sigmask(SIG_SETMASK, &all, &old);
		error = pthread_create(&pv->thread, NULL, ppt_main, pv);
		pthread_sigmask(SIG_SETMASK, &old, NULL);
	}
	pv->thread_up = error == 0;
	if (error != 0)
		ppt_intr_stop(pv);
	return (error);
}

void
ppt_intr_stop(struct ppt_vm *pv)
{
	if (pv->thread_up && eventfd_write(pv->stopfd, 1) == 0)
		pthread_join(pv->thread, NULL);
	pv->thread_up = false;
	if (pv->stopfd >= 0)
		close(pv->stopfd);
	if (pv->epfd >= 0)
		close(pv->epfd);
}

/* ---- one message ---- */

static void
vec_unroute(struct ppt_vm *pv, struct ppt_vec *vec)
{
	struct vm_irqfd ifd = { vec->addr, vec->msg, vec->fd, vec->route,
		VM_IRQFD_DEL };

	if (vec->route >= 0)
		(void)pv->vm->ops->msi_irqfd(pv->vm->cookie, &ifd);
	vec->route = -1;
}

/* By the processor, if it can and the message is one; it may have sent another
 * one until now, which it shall not any more. */
static void
vec_route(struct ppt_vm *pv, struct ppt_vec *vec)
{
	const struct vmm_ops *ops = pv->vm->ops;
	struct vm_irqfd ifd = { vec->addr, vec->msg, vec->fd, vec->route, 0 };

	if (ops->msi_irqfd == NULL || !atomic_load(&pv->vm->selected))
		return;
	if (ops->msi_irqfd(pv->vm->cookie, &ifd) == 0)
		vec->route = ifd.route;
	else
		vec_unroute(pv, vec);
}

static void
vec_close(struct ppt_vm *pv, struct ppt_vec *vec)
{
	if (vec->fd < 0)
		return;
	vec_unroute(pv, vec);
	close(vec->fd); /* and epoll forgets it */
	vec->fd = -1;
}

/* Its descriptor, if it has none, and where the message goes. */
static int
vec_open(struct ppt_vm *pv, struct ppt_dev *dev, int slot, int index,
    uint64_t addr, uint32_t msg)
{
	struct epoll_event ev = { .events = EPOLLIN,
		.data.u64 = EV_WORD(slot, index) };
	struct ppt_vec *vec = &dev->vecs[index];
	bool made = vec->fd < 0;
	int error;

	if (!made && vec->addr == addr && vec->msg == msg)
		return (0);
	if (made && (vec->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0)
		return (
		    ppt_refuse(errno, dev, "interrupts: %s", strerror(errno)));
	vec->addr = addr;
	vec->msg = msg;
	if (!is_message(vec))
		vec_unroute(pv, vec);
	else if (made || vec->route >= 0)
		vec_route(pv, vec);
	if (vec->route >= 0 ||
	    epoll_ctl(pv->epfd, EPOLL_CTL_ADD, vec->fd, &ev) == 0 ||
	    errno == EEXIST)
		return (0);
	error = errno;
	vec_close(pv, vec);
	return (error);
}

/* ---- all messages of a device ---- */

void
ppt_intr_teardown(struct ppt_vm *pv, struct ppt_dev *dev)
{
	if (dev->intr != PPT_NO_INTR)
		(void)vfio_set_irqs(dev, dev->intr, 0, 0, NULL);
	for (int i = 0; i < dev->nvecs; i++)
		vec_close(pv, &dev->vecs[i]);
	dev->nvecs = 0;
	dev->intr = PPT_NO_INTR;
}

static int
msi_start(struct ppt_vm *pv, struct ppt_dev *dev, int slot, uint64_t addr,
    uint32_t msg, int numvec)
{
	int fds[32], error = 0;

	if (numvec > (int)(sizeof(fds) / sizeof(fds[0])))
		return (EINVAL);
	dev->nvecs = numvec;
	for (int i = 0; error == 0 && i < numvec; i++) {
		error = vec_open(pv, dev, slot, i, addr, msg + (uint32_t)i);
		fds[i] = dev->vecs[i].fd;
	}
	if (error == 0)
		error = vfio_set_irqs(dev, PPT_MSI, 0, numvec, fds);
	if (error == 0)
		dev->intr = PPT_MSI;
	else
		ppt_intr_teardown(pv, dev);
	return (error);
}

int
ppt_intr_msi(struct ppt_vm *pv, struct ppt_dev *dev, int slot, uint64_t addr,
    uint32_t msg, int numvec)
{
	int error = 0;

	pthread_mutex_lock(&pv->ppt_mtx);
	if (dev->intr == PPT_MSIX) {
		error = numvec == 0
		    ? 0
		    : ppt_refuse(EBUSY, dev, "its MSI-X is in use");
	} else if (dev->intr == PPT_MSI && dev->nvecs == numvec) {
		for (int i = 0; error == 0 && i < numvec; i++)
			error =
			    vec_open(pv, dev, slot, i, addr, msg + (uint32_t)i);
	} else {
		ppt_intr_teardown(pv, dev);
		if (numvec != 0)
			error = msi_start(pv, dev, slot, addr, msg, numvec);
	}
	pthread_mutex_unlock(&pv->ppt_mtx);
	return (error);
}

/* The first message of MSI-X: all vectors are allocated, one is wired. */
static int
msix_start(struct ppt_dev *dev, int idx)
{
	int error, *fds;

	fds = malloc((size_t)dev->msix_limit * sizeof(*fds));
	if (fds == NULL)
		return (ENOMEM);
	for (int i = 0; i < dev->msix_limit; i++)
		fds[i] = i == idx ? dev->vecs[i].fd : -1;
	error = vfio_set_irqs(dev, PPT_MSIX, 0, dev->msix_limit, fds);
	free(fds);
	if (error == 0)
		dev->intr = PPT_MSIX;
	return (error);
}

static int
msix_unmask(struct ppt_vm *pv, struct ppt_dev *dev, int slot, int idx,
    uint64_t addr, uint32_t msg)
{
	struct ppt_vec *vec = &dev->vecs[idx];
	bool wired = vec->fd >= 0;
	int error;

	dev->nvecs = dev->msix_limit;
	error = vec_open(pv, dev, slot, idx, addr, msg);
	if (error != 0 || wired)
		return (error);
	if (dev->intr == PPT_MSIX)
		error = vfio_set_irqs(dev, PPT_MSIX, idx, 1, &vec->fd);
	else
		error = msix_start(dev, idx);
	if (error != 0)
		vec_close(pv, vec);
	return (error);
}

/*
 * A masked vector's interrupt is masked in the device, too: what comes
 * meanwhile waits in its pending bits, as it would on the host.  What came
 * before is sent.
 */
static int
msix_mask(struct ppt_vm *pv, struct ppt_dev *dev, int idx)
{
	struct ppt_vec *vec = &dev->vecs[idx];
	const int none = -1;
	int error;

	if (vec->fd < 0)
		return (0);
	error = vfio_set_irqs(dev, PPT_MSIX, idx, 1, &none);
	vec_send(pv, vec);
	vec_close(pv, vec);
	return (error);
}

int
ppt_intr_msix(struct ppt_vm *pv, struct ppt_dev *dev, int slot, int idx,
    uint64_t addr, uint32_t msg, bool masked)
{
	int error;

	pthread_mutex_lock(&pv->ppt_mtx);
	if (dev->intr == PPT_MSI)
		error = ppt_refuse(EBUSY, dev, "its MSI is in use");
	else if (masked)
		error = msix_mask(pv, dev, idx);
	else
		error = msix_unmask(pv, dev, slot, idx, addr, msg);
	pthread_mutex_unlock(&pv->ppt_mtx);
	return (error);
}
