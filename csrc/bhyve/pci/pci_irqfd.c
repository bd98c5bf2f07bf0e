/*
 * MSI-X messages by event descriptor: where the processor can (KVM), a route
 * holds a vector's message and a write to its descriptor sends it.  Routes
 * are made and changed when a vector is sent, from the table as the guest has
 * it then: masking and reprogramming need nothing here.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "debug.h"
#include "pci_local.h"
#include "vmmapi.h"

#define MSI_ADDR_MASK 0xfffffffffff00000UL
#define MSI_ADDR_BASE 0x00000000fee00000UL

struct pci_irqfds {
	pthread_mutex_t pf_mtx; /* leaf */
	bool pf_declined;
	int pf_count;
	struct {
		int fd; /* -1: not sent yet */
		struct vm_irqfd route;
	} pf_vector[];
};

void
pci_msix_use_irqfd(struct pci_devinst *pi)
{
	struct pci_irqfds *pf;
	int i, n = pi->pi_msix.table_count;

	if (pi->pi_irqfds != NULL || n == 0 ||
	    !get_config_bool_default("virtio.ioeventfd", true))
		return;
	pf = calloc(1, sizeof(*pf) + (size_t)n * sizeof(pf->pf_vector[0]));
	if (pf == NULL)
		return;
	pthread_mutex_init(&pf->pf_mtx, NULL);
	pf->pf_count = n;
	for (i = 0; i < n; i++)
		pf->pf_vector[i].fd = -1;
	pi->pi_irqfds = pf;
}

/* The vector's route holds the message; pf_mtx is held. */
static bool
route_set(struct pci_devinst *pi, int index, uint64_t addr, uint32_t data)
{
	struct pci_irqfds *pf = pi->pi_irqfds;
	struct vm_irqfd route = pf->pf_vector[index].route;
	int fd = pf->pf_vector[index].fd;

	if (fd >= 0 && route.addr == addr && route.data == data)
		return (true);
	if (fd < 0) {
		route.route = -1;
		fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	}
	route.fd = fd;
	route.addr = addr;
	route.data = data;
	if (fd >= 0 && vm_irqfd(pi->pi_vmctx, &route) == 0) {
		pf->pf_vector[index].fd = fd;
		pf->pf_vector[index].route = route;
		return (true);
	}
	pf->pf_declined = true;
	if (errno != EOPNOTSUPP)
		EPRINTLN("%s: irqfd: %s: its messages are sent one by one",
		    pi->pi_name, strerror(errno));
	if (fd >= 0 && pf->pf_vector[index].fd < 0)
		close(fd);
	return (false);
}

bool
pci_irqfd_send(struct pci_devinst *pi, int index, uint64_t addr, uint32_t data)
{
	struct pci_irqfds *pf = pi->pi_irqfds;
	bool sent = false;

	if (pf == NULL || index >= pf->pf_count ||
	    (addr & MSI_ADDR_MASK) != MSI_ADDR_BASE)
		return (false);
	pthread_mutex_lock(&pf->pf_mtx);
	if (!pf->pf_declined && route_set(pi, index, addr, data))
		sent = eventfd_write(pf->pf_vector[index].fd, 1) == 0;
	pthread_mutex_unlock(&pf->pf_mtx);
	return (sent);
}

void
pci_irqfd_cleanup(struct pci_devinst *pi)
{
	struct pci_irqfds *pf = pi->pi_irqfds;
	int i;

	if (pf == NULL)
		return;
	for (i = 0; i < pf->pf_count; i++) {
		if (pf->pf_vector[i].fd < 0)
			continue;
		pf->pf_vector[i].route.flags = VM_IRQFD_DEL;
		(void)vm_irqfd(pi->pi_vmctx, &pf->pf_vector[i].route);
		close(pf->pf_vector[i].fd);
	}
	pthread_mutex_destroy(&pf->pf_mtx);
	pi->pi_irqfds = NULL;
	free(pf);
}
