/*
 * The run loop of a vCPU: enter the guest, serve what it left for, enter it
 * again with the answer.
 */
#include <errno.h>
#include <string.h>

#include "bhyverun.h"
#include "debug.h"
#include "vmexit.h"
#include "vmmapi.h"

void
vm_loop(struct vmctx *ctx, struct vcpu *vcpu)
{
	struct vm_entry entry;
	struct vm_exit vme;
	int rc;

	memset(&entry, 0, sizeof(entry));
	memset(&vme, 0, sizeof(vme));
	entry.flags = VEF_BRIEF;
	for (;;) {
		if (vm_run(vcpu, &entry, &vme) != 0) {
			EPRINTLN("vm_run of vcpu %d failed: %s", vcpu_id(vcpu),
			    strerror(errno));
			bhyve_stop(BHYVE_EXIT_ERROR);
			return;
		}
		entry.cmd = VEC_DEFAULT;
		rc = vmexit_dispatch(ctx, vcpu, &vme, &entry);
		if (rc == VMEXIT_CONTINUE)
			continue;
		if (rc == VMEXIT_ABORT)
			bhyve_abort();
		else if (rc == VMEXIT_FAIL)
			bhyve_stop(BHYVE_EXIT_ERROR);
		return;
	}
}
