/*
 * The machine as a whole: what Python starts, and what devices ask about it.
 * One machine a process at a time.
 */
#ifndef _BHYVERUN_H_
#define _BHYVERUN_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vcpu;
struct vmctx;

/* Exit statuses of bhyve(8). */
#define BHYVE_EXIT_RESET 0
#define BHYVE_EXIT_POWEROFF 1
#define BHYVE_EXIT_HALT 2
#define BHYVE_EXIT_TRIPLEFAULT 3
#define BHYVE_EXIT_ERROR 4
#define BHYVE_EXIT_USAGE 64 /* EX_USAGE */
#define BHYVE_EXIT_IMPOSSIBLE 100

/*
 * ---- For Python ----
 *
 * Build the machine that the configuration tree describes, run it until it
 * stops, and take it down; the terminal is restored and the VM's state saved
 * in every case.  Returns the exit status; every failure has printed its one
 * line on stderr.  Call it on the main thread, without the interpreter's
 * lock: SIGTERM, SIGINT, SIGHUP and SIGQUIT are handled in C meanwhile.
 */
int bhyve_run(void);
/*
 * What SIGTERM does: press the power button when the guest has enabled ACPI,
 * else end the run.  Any thread; not for signal handlers.
 */
void bhyve_request_poweroff(void);
/* The signal that ended the last bhyve_run(), or 0.  The caller restores the
 * default action and sends itself that signal (status 143 for SIGTERM). */
int bhyve_term_signal(void);
/*
 * This process is sent signo when its parent ends, at once if it has ended.
 * Call it on the main thread of a child.
 */
void bhyve_follow_parent(int parent, int signo);
/* Make argv read "bhyve: NAME" for ps and pgrep -fx.  0 or an errno. */
int bhyve_setproctitle(const char *name);

/* ---- For devices and table builders ---- */
int guest_ncpus(void);
void bhyve_topology(uint16_t *sockets, uint16_t *cores, uint16_t *threads);
struct vcpu *fbsdrun_vcpu(int vcpuid); /* NULL: no such vCPU */
bool fbsdrun_virtio_msix(void);
/* Host address of [gpa, gpa+len) in guest RAM, or NULL. */
void *paddr_guest2host(struct vmctx *ctx, uint64_t gpa, size_t len);
/*
 * End the run with this status (the first caller's wins).  Any thread; the
 * caller returns normally, vCPUs leave vm_run() with SUSPENDED.
 */
void bhyve_stop(int status);
/* The same where bhyve aborts: the process ends by SIGABRT. */
void bhyve_abort(void);

/* ---- Between bhyverun.c and vm_loop.c ---- */
/* Run one vCPU until it stops; called on its own thread. */
void vm_loop(struct vmctx *ctx, struct vcpu *vcpu);

/*
 * ---- Firmware tables (csrc/bhyve/fw), called late in the start ----
 * 0, or an errno after one EPRINTLN.
 */
int mptable_build(struct vmctx *ctx, int ncpu);
int smbios_build(struct vmctx *ctx);
int e820_init(struct vmctx *ctx);
int e820_finalize(void);
int acpi_build(struct vmctx *ctx, int ncpu);

#endif
