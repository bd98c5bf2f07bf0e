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

/*
 * The thread's last page of names serves those that follow its first one:
 * whoever reads them in their order, from the start, sees them of now.
 */
const char *
vm_get_stat_desc(struct vmctx *ctx, int index)
{
	static _Thread_local struct vm_stat_desc a;
	static _Thread_local uint64_t serial;

	if (serial != ctx->serial || index <= a.index ||
	    index - a.index >= a.num_entries) {
		serial = 0;
		a.index = index;
		if (VMIOC(ctx, VM_STAT_DESC, &a) != 0)
			return (NULL);
		if (a.num_entries <= 0 ||
		    a.num_entries > VM_STAT_DESCS_PER_CALL) {
			vmapi_error(EPROTO);
			return (NULL);
		}
		for (int i = 0; i < a.num_entries; i++)
			a.desc[i][sizeof(a.desc[i]) - 1] = '\0';
		serial = ctx->serial;
	}
	return (a.desc[index - a.index]);
}
