/*
 * A look at many VMs: their owners are asked all at once, and one that does
 * not answer costs the others nothing.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "vmmapi_local.h"

static int64_t
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ((int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000);
}

static void
ask(const char *name, struct vm_glance *g, struct pollfd *pfd)
{
	struct vm_state a = { 0 };

	memset(g, 0, sizeof(*g));
	*pfd = (struct pollfd) { .fd = -1, .events = POLLIN };
	g->error = vmm_dir_peek(name, &g->pid, &pfd->fd);
	if (g->error != 0)
		return;
	/* Until its answer is here. */
	g->error = ETIMEDOUT;
	if (vmm_ctl_send(pfd->fd, VM_GLANCE, &a, sizeof(a)) != 0) {
		g->error = EBUSY;
		close(pfd->fd);
		pfd->fd = -1;
	}
}

static void
take(struct vm_glance *g, struct pollfd *pfd)
{
	struct vm_state a = { 0 };

	g->error = vmm_ctl_receive(pfd->fd, &a, sizeof(a));
	close(pfd->fd);
	pfd->fd = -1;
	if (g->error != 0)
		return;
	g->active_cpus = a.active_cpus;
	g->suspended_cpus = a.suspended_cpus;
	g->debug_cpus = a.debug_cpus;
	g->memory = a.memory;
	g->vcpus = (int)a.vcpus;
	g->paused = a.paused != 0;
	memcpy(g->backend, a.backend, sizeof(g->backend));
	g->backend[sizeof(g->backend) - 1] = '\0';
}

int
vm_glances(const char *const *names, int n, int ms, struct vm_glance *glances)
{
	int64_t left, end = now_ms() + ms;
	struct pollfd *pfd;
	int open = 0;

	if (n < 0 || (pfd = calloc((size_t)n + 1, sizeof(*pfd))) == NULL)
		return (vmapi_error(n < 0 ? EINVAL : ENOMEM));
	for (int i = 0; i < n; i++) {
		ask(names[i], &glances[i], &pfd[i]);
		open += pfd[i].fd >= 0;
	}
	while (open > 0 && (left = end - now_ms()) > 0) {
		if (poll(pfd, (nfds_t)n, (int)left) < 0 && errno != EINTR)
			break;
		for (int i = 0; i < n; i++) {
			if (pfd[i].fd < 0 || pfd[i].revents == 0)
				continue;
			take(&glances[i], &pfd[i]);
			open--;
		}
	}
	for (int i = 0; i < n; i++)
		if (pfd[i].fd >= 0)
			close(pfd[i].fd);
	free(pfd);
	return (0);
}
