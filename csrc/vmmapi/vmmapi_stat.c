/*
 * Counters of vCPUs by libvmmapi.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "vmm_stat.h"
#include "vmmapi_local.h"

uint64_t *
vm_get_stats(struct vcpu *vcpu, struct timeval *tv, int *count)
{
	static _Thread_local uint64_t stats[MAX_VMM_STAT_ELEMS];
	struct vm_stats a = { .vcpuid = vcpu->vcpuid };
	int total = 0;

	do {
		a.index = total;
		if (VMIOC(vcpu->ctx, VM_STATS_IOC, &a) != 0)
			return (NULL);
		if (a.num_entries < 0 || a.num_entries > VM_STATS_PER_CALL ||
		    a.num_entries > MAX_VMM_STAT_ELEMS - total)
			break;
		memcpy(&stats[total], a.statbuf,
		    (size_t)a.num_entries * sizeof(stats[0]));
		total += a.num_entries;
	} while (
	    a.num_entries == VM_STATS_PER_CALL && total < MAX_VMM_STAT_ELEMS);
	if (tv != NULL) {
		tv->tv_sec = a.tv_sec;
		tv->tv_usec = a.tv_usec;
	}
	*count = total;
	return (stats);
}

const char *
vm_get_stat_desc(struct vmctx *ctx, int index)
{
	static _Thread_local struct vm_stat_desc a;

	memset(&a, 0, sizeof(a));
	a.index = index;
	if (VMIOC(ctx, VM_STAT_DESC, &a) != 0)
		return (NULL);
	a.desc[sizeof(a.desc) - 1] = '\0';
	return (a.desc);
}
