/*
 * Event descriptors: guest writes that KVM turns into a count on one without
 * an exit (KVM_IOEVENTFD), and messages that KVM sends when one is written
 * to (KVM_IRQFD).  Messages stand in the routing table behind the I/O APIC's
 * pins.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "kvm_local.h"
#include "vmm_dev.h"

int
kvm_ioevent(void *vmi, const struct vm_ioevent *ioe)
{
	struct kvm_vm *kv = vmi;
	struct kvm_ioeventfd kio;

	memset(&kio, 0, sizeof(kio));
	kio.addr = ioe->addr;
	kio.len = ioe->len;
	kio.fd = ioe->fd;
	if ((ioe->flags & VM_IOEVENT_PIO) != 0)
		kio.flags |= KVM_IOEVENTFD_FLAG_PIO;
	if ((ioe->flags & VM_IOEVENT_MATCH) != 0) {
		kio.flags |= KVM_IOEVENTFD_FLAG_DATAMATCH;
		kio.datamatch = ioe->match;
	}
	if ((ioe->flags & VM_IOEVENT_DEL) != 0)
		kio.flags |= KVM_IOEVENTFD_FLAG_DEASSIGN;
	if (ioe->len == 0 &&
	    ioctl(kv->fd, KVM_CHECK_EXTENSION, KVM_CAP_IOEVENTFD_ANY_LENGTH) <=
		0)
		return (EOPNOTSUPP);
	return (ioctl(kv->fd, KVM_IOEVENTFD, &kio) < 0 ? errno : 0);
}

static int
irqfd_set(struct kvm_vm *kv, int route, int fd, uint32_t flags)
{
	struct kvm_irqfd irqfd;

	memset(&irqfd, 0, sizeof(irqfd));
	irqfd.fd = (uint32_t)fd;
	irqfd.gsi = (uint32_t)(VIOAPIC_PINS + route);
	irqfd.flags = flags;
	return (ioctl(kv->fd, KVM_IRQFD, &irqfd) < 0 ? errno : 0);
}

static int
route_free(struct kvm_vm *kv)
{
	for (int i = 0; i < KVM_MSI_ROUTES; i++)
		if (!kv->msi[i].used)
			return (i);
	return (-1);
}

/* A new route with its descriptor, or another message for an old one. */
static int
route_add(struct kvm_vm *kv, struct vm_irqfd *ifd)
{
	struct kvm_msi_route old;
	int error, route = ifd->route;

	if (route < 0 && (route = route_free(kv)) < 0)
		return (ENOSPC);
	if (route >= KVM_MSI_ROUTES ||
	    (ifd->route >= 0 && !kv->msi[route].used))
		return (EINVAL);
	old = kv->msi[route];
	kv->msi[route] = (struct kvm_msi_route) { true, ifd->addr, ifd->data,
		ifd->route < 0 ? ifd->fd : old.fd };
	error = kvm_routes_write(kv) < 0 ? errno : 0;
	if (error == 0 && ifd->route < 0)
		error = irqfd_set(kv, route, ifd->fd, 0);
	if (error != 0) {
		kv->msi[route] = old;
		return (error);
	}
	ifd->route = route;
	return (0);
}

int
kvm_msi_irqfd(void *vmi, struct vm_irqfd *ifd)
{
	struct kvm_vm *kv = vmi;
	int error;

	/* Not while all are held. */
	pthread_rwlock_rdlock(&kv->lapic_gate);
	pthread_mutex_lock(&kv->mtx);
	if ((ifd->flags & VM_IRQFD_DEL) == 0) {
		error = route_add(kv, ifd);
	} else if (ifd->route < 0 || ifd->route >= KVM_MSI_ROUTES ||
	    !kv->msi[ifd->route].used) {
		error = EINVAL;
	} else {
		error =
		    irqfd_set(kv, ifd->route, ifd->fd, KVM_IRQFD_FLAG_DEASSIGN);
		kv->msi[ifd->route].used = false;
	}
	pthread_mutex_unlock(&kv->mtx);
	pthread_rwlock_unlock(&kv->lapic_gate);
	return (error);
}

/* KVM looks at a descriptor that it is given: what was counted is not lost. */
int
kvm_irqfds_hold(struct kvm_vm *kv, bool hold)
{
	uint32_t flags = hold ? KVM_IRQFD_FLAG_DEASSIGN : 0;
	int error, result = 0;

	pthread_mutex_lock(&kv->mtx);
	for (int i = 0; i < KVM_MSI_ROUTES; i++) {
		if (!kv->msi[i].used)
			continue;
		error = irqfd_set(kv, i, kv->msi[i].fd, flags);
		if (error != 0)
			result = error;
	}
	pthread_mutex_unlock(&kv->mtx);
	return (result);
}
