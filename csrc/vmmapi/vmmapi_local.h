/*
 * The handles behind libvmmapi.  struct vcpu is this floor's own: a number
 * and its VM; the vmm's struct vcpu never leaves csrc/vmm.
 */
#ifndef _VMMAPI_LOCAL_H_
#define _VMMAPI_LOCAL_H_

#include <pthread.h>
#include <stdatomic.h>

#include "vmm_dev.h"
#include "vmmapi.h"

#define REMOTE_MAPS 16

/* Another process' segment, mapped here. */
struct remote_seg {
	size_t len;
	uint8_t *base;
	bool devmem;
};

struct vmctx {
	char *name;
	uint64_t serial; /* of this context, no other's */
	struct vmm_dir *dir;
	struct vm *vm; /* NULL: somebody else's */
	struct vmm_ctl *ctl;
	bool destroy_on_close;
	bool unlinked; /* by vm_unlink(): the name may be another VM's now */
	_Atomic bool dirty;  /* the state file is behind */
	_Atomic bool marked; /* the lock file names us */
	char trouble[160];
	char backend[16];
	struct vmctx *next; /* of the owned ones, for vm_copyout() */

	int peer; /* the owner's control socket, or -1 */
	pthread_mutex_t mtx;
	struct remote_seg segs[REMOTE_MAPS];
	struct vm_memmap maps[REMOTE_MAPS];
	int nmaps;
};

struct vcpu {
	struct vmctx *ctx;
	int vcpuid;
};

/* 0, or -1 with errno. */
int vmctx_ioctl(struct vmctx *ctx, uint32_t cmd, void *arg, size_t len);
int vmapi_error(int error); /* 0 -> 0, else errno is set: -1 */
#define VMIOC(ctx, cmd, arg) vmctx_ioctl(ctx, cmd, arg, sizeof(*(arg)))
/* Memory at a host address was written: whose it is, is looked up. */
void vmctx_hva_written(void *hva, size_t len);
/* vmmapi_mem.c */
void vmctx_unmap_remote(struct vmctx *ctx);

#endif
