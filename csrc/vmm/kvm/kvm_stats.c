/*
 * What KVM counts by itself (KVM_GET_STATS_FD, Linux 5.14): exits that it
 * serves without coming back, and the time that a vCPU sleeps in HLT.  They
 * are read when somebody asks for the counters.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "kvm_local.h"

#define MAX_DESCS 1024
#define MAX_NAME 256

/* Several of KVM's may be parts of one of ours. */
static const struct {
	const char *name;
	int *index;
} kvm_names[] = {
	{ "exits", &VMEXIT_COUNT_index },
	{ "irq_exits", &VMEXIT_EXTINT_index },
	{ "halt_exits", &VMEXIT_HLT_index },
	{ "io_exits", &VMEXIT_INOUT_index },
	{ "irq_window_exits", &VMEXIT_INTR_WINDOW_index },
	{ "nmi_window_exits", &VMEXIT_NMI_WINDOW_index },
	{ "pf_taken", &VMEXIT_NESTED_FAULT_index },
	{ "insn_emulation", &VMEXIT_INST_EMUL_index },
	{ "nmi_injections", &VCPU_NMI_COUNT_index },
	{ "halt_wait_ns", &VCPU_IDLE_TICKS_index },
	{ "halt_poll_success_ns", &VCPU_IDLE_TICKS_index },
	{ "halt_poll_fail_ns", &VCPU_IDLE_TICKS_index },
};
#define NNAMES (sizeof(kvm_names) / sizeof(kvm_names[0]))

struct kvm_stats {
	int fd;
	uint64_t offset[NNAMES]; /* in the file; 0: KVM has none such */
	/* KVM never begins again, our counters do: what it had counted then, at
	 * the last look, and what was made of it. */
	pthread_mutex_t mtx;
	uint64_t base[NNAMES], seen[NNAMES], told[NNAMES];
};

static void
find_offsets(struct kvm_stats *ks)
{
	struct kvm_stats_header h;
	struct kvm_stats_desc *d;
	size_t i, n, size;
	char *descs;

	if (pread(ks->fd, &h, sizeof(h), 0) != (ssize_t)sizeof(h) ||
	    h.num_desc > MAX_DESCS || h.name_size > MAX_NAME)
		return;
	size = sizeof(*d) + h.name_size;
	descs = calloc(h.num_desc + 1, size);
	if (descs == NULL)
		return;
	if (pread(ks->fd, descs, size * h.num_desc, h.desc_offset) !=
	    (ssize_t)(size * h.num_desc))
		h.num_desc = 0;
	for (n = 0; n < h.num_desc; n++) {
		d = (struct kvm_stats_desc *)(void *)(descs + n * size);
		for (i = 0; i < NNAMES; i++)
			if (strncmp(d->name, kvm_names[i].name, h.name_size) ==
			    0)
				ks->offset[i] = h.data_offset + d->offset;
	}
	free(descs);
}

/*
 * Before the vCPU runs: later the ioctl would wait for KVM_RUN to come back.
 * Without memory, or from an old KVM, there is nothing to read.
 */
void
kvm_stats_init(struct kvm_vcpu *kc)
{
	struct kvm_stats *ks;

	ks = calloc(1, sizeof(*ks));
	if (ks == NULL)
		return;
	pthread_mutex_init(&ks->mtx, NULL);
	ks->fd = ioctl(kc->fd, KVM_GET_STATS_FD, NULL);
	if (ks->fd >= 0)
		find_offsets(ks);
	kc->stats = ks;
}

/* One of our counters; one that is less than it was began again. */
static void
update_one(struct kvm_stats *ks, size_t i, uint64_t sum, _Atomic uint64_t *stat)
{
	uint64_t now = atomic_load(stat);

	if (now < ks->told[i])
		ks->base[i] = ks->seen[i];
	ks->seen[i] = sum;
	sum -= ks->base[i];
	if (sum > now)
		atomic_store(stat, now = sum);
	ks->told[i] = now;
}

/*
 * The caller has a hold on the VM.  What this process has counted itself
 * stays where KVM knows less.
 */
void
kvm_stats_update(void *vcpui)
{
	struct kvm_vcpu *kc = vcpui;
	_Atomic uint64_t *stats = vcpu_stats(kc->vcpu);
	uint64_t sums[NNAMES] = { 0 }, val;
	struct kvm_stats *ks = kc->stats;
	size_t first, i;

	if (ks == NULL || ks->fd < 0)
		return;
	pthread_mutex_lock(&ks->mtx);
	for (i = 0; i < NNAMES; i++) {
		if (ks->offset[i] == 0 ||
		    pread(ks->fd, &val, sizeof(val), (off_t)ks->offset[i]) !=
			(ssize_t)sizeof(val))
			continue;
		for (first = 0; kvm_names[first].index != kvm_names[i].index;)
			first++;
		sums[first] += val;
	}
	for (i = 0; i < NNAMES; i++)
		if (sums[i] != 0)
			update_one(ks, i, sums[i], &stats[*kvm_names[i].index]);
	pthread_mutex_unlock(&ks->mtx);
}

void
kvm_stats_cleanup(struct kvm_vcpu *kc)
{
	if (kc->stats == NULL)
		return;
	if (kc->stats->fd >= 0)
		close(kc->stats->fd);
	pthread_mutex_destroy(&kc->stats->mtx);
	free(kc->stats);
	kc->stats = NULL;
}
