/*
 * The debug server (option -G): GDB's remote protocol on a TCP port.  A
 * client sees one process whose threads are the vCPUs, thread N + 1 being
 * vCPU N.  Its commands are served by the event thread; vCPUs stand still
 * meanwhile.
 */
#ifndef _GDB_H_
#define _GDB_H_

#include <stdbool.h>

struct vcpu;
struct vm_exit;
struct vmctx;

/*
 * Open the port that gdb.* names; with gdb.wait the vCPUs stand until a
 * client lets them go.  After the vCPUs are active, before they run.
 * 0, or -1 after one line.
 */
int gdb_init(struct vmctx *ctx, int ncpus);
/* The machine has ended with this status, and the event thread too. */
void gdb_cleanup(int status);

/* ---- a vCPU's own thread, for its exits ---- */
/* The vCPU was asked to stand.  False: by somebody else. */
bool gdb_cpu_suspend(struct vcpu *vcpu);
/* A single step is done, a breakpoint instruction or a watched place was
 * met.  False: nobody debugs. */
bool gdb_cpu_mtrap(struct vcpu *vcpu);
bool gdb_cpu_breakpoint(struct vcpu *vcpu, const struct vm_exit *vme);
bool gdb_cpu_watch(struct vcpu *vcpu, const struct vm_exit *vme);

#endif
