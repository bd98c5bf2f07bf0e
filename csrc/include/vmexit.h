/*
 * Exits of a vCPU: one handler for each exit code.
 */
#ifndef _VMEXIT_H_
#define _VMEXIT_H_

#include <stdbool.h>

#include "vmm_exit.h"

struct vcpu;
struct vmctx;

#define VMEXIT_CONTINUE 0
#define VMEXIT_STOP 1	/* the VM was suspended: the vCPU's thread ends */
#define VMEXIT_FAIL 2	/* the machine cannot go on: status 4 */
#define VMEXIT_ABORT -1 /* the same, where bhyve aborts: SIGABRT */

/* *next is VEC_DEFAULT on entry and tells how the next vm_run() enters. */
typedef int (*vmexit_handler_t)(struct vmctx *ctx, struct vcpu *vcpu,
    const struct vm_exit *vme, struct vm_entry *next);

/* Read the x86.* switches once before the vCPUs start. */
void vmexit_init(void);
int vmexit_dispatch(struct vmctx *ctx, struct vcpu *vcpu,
    const struct vm_exit *vme, struct vm_entry *next);

/* ---- xmsr.c: MSRs that the vmm passes up ---- */
/* 0, or -1: unknown. */
int emulate_rdmsr(struct vmctx *ctx, uint32_t num, uint64_t *val);
int emulate_wrmsr(struct vmctx *ctx, uint32_t num);

#endif
