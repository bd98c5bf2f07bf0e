/*
 * Opening, closing and ending VMs.  A context owns its VM (the vmm is in
 * this process) or reaches the owner by its control socket.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm.h"
#include "vmmapi_local.h"

#define CREATE_TRIES 100

static pthread_mutex_t owned_mtx = PTHREAD_MUTEX_INITIALIZER;
static struct vmctx *owned;

int
vmapi_error(int error)
{
	if (error == 0)
		return (0);
	errno = error;
	return (-1);
}

int
vmctx_ioctl(struct vmctx *ctx, uint32_t cmd, void *arg, size_t len)
{
	const struct vmm_ioctl *ioc;
	int error;

	if (ctx->trouble[0] != '\0')
		return (vmapi_error(EOWNERDEAD));
	if (ctx->vm != NULL) {
		error = vmm_ioctl(ctx->vm, cmd, arg, len);
		ioc = vmm_ioctl_find(cmd);
		if (ioc != NULL && (ioc->flags & VMI_RO) == 0)
			atomic_store_explicit(
			    &ctx->dirty, true, memory_order_relaxed);
	} else {
		pthread_mutex_lock(&ctx->mtx);
		error = vmm_ctl_call(ctx->peer, cmd, arg, len);
		pthread_mutex_unlock(&ctx->mtx);
	}
	return (vmapi_error(error));
}

void
vmctx_hva_written(void *hva, size_t len)
{
	struct vmctx *ctx;
	vm_paddr_t gpa;

	pthread_mutex_lock(&owned_mtx);
	for (ctx = owned; ctx != NULL; ctx = ctx->next) {
		gpa = vm_rev_map_gpa(ctx, hva);
		if (gpa != (vm_paddr_t)-1) {
			vm_dirty_gpa(ctx, gpa, len);
			break;
		}
	}
	pthread_mutex_unlock(&owned_mtx);
}

const char *
vm_open_error(void)
{
	return (vmm_error());
}

int
vm_set_backend(const char *backend)
{
	return (vmapi_error(vmm_set_backend(backend)));
}

void
vm_set_translate(bool on)
{
	vmm_set_translate(on);
}

int
vm_create(const char *name)
{
	vmm_set_error("%s", "");
	return (vmapi_error(vmm_dir_create(name)));
}

/* ---- opening ---- */

/* A machine in its first state in place of what the state file cannot give. */
static int
fresh_machine(struct vmctx *ctx)
{
	int error;

	if (ctx->vm != NULL)
		vmm_destroy(ctx->vm);
	ctx->vm = NULL;
	error = vmm_create(ctx->name, NULL, &ctx->vm);
	if (error == 0)
		error = vmm_attach_dir(ctx->vm, ctx->dir);
	return (error);
}

static int
load_machine(struct vmctx *ctx)
{
	char why[120];
	int error, pid;

	if ((error = fresh_machine(ctx)) != 0)
		return (error);
	pid = vmm_dir_dead_owner(ctx->dir);
	if (pid != 0) {
		snprintf(ctx->trouble, sizeof(ctx->trouble),
		    "process %d ran this VM and died: it can only be "
		    "destroyed or reinitialised",
		    pid);
		return (0);
	}
	error = vmm_dir_load(ctx->dir, ctx->vm);
	if (error == 0)
		return (0);
	snprintf(why, sizeof(why), "%s",
	    vmm_error()[0] != '\0' ? vmm_error() : strerror(error));
	snprintf(ctx->trouble, sizeof(ctx->trouble),
	    "its state is damaged (%.70s): it can only be destroyed or "
	    "reinitialised",
	    why);
	return (fresh_machine(ctx));
}

static int
open_owned(struct vmctx *ctx, int flags)
{
	int error;

	if ((error = load_machine(ctx)) != 0)
		return (error);
	if ((flags & VMMAPI_OPEN_REINIT) != 0 && vm_reinit(ctx) != 0)
		return (errno);
	if (ctx->trouble[0] != '\0') {
		vmm_set_error("%s", ctx->trouble);
		if ((flags & VMMAPI_OPEN_OWNER) != 0)
			return (EOWNERDEAD);
		return (0);
	}
	vmm_set_error("%s", "");
	if ((flags & VMMAPI_OPEN_OWNER) != 0)
		error = vmm_select_backend(ctx->vm);
	return (error);
}

static void
ctx_free(struct vmctx *ctx)
{
	struct vmctx **pp;

	pthread_mutex_lock(&owned_mtx);
	for (pp = &owned; *pp != NULL; pp = &(*pp)->next) {
		if (*pp == ctx) {
			*pp = ctx->next;
			break;
		}
	}
	pthread_mutex_unlock(&owned_mtx);
	vmctx_unmap_remote(ctx);
	if (ctx->vm != NULL)
		vmm_destroy(ctx->vm);
	if (ctx->peer >= 0)
		close(ctx->peer);
	if (ctx->dir != NULL)
		vmm_dir_close(ctx->dir);
	pthread_mutex_destroy(&ctx->mtx);
	free(ctx->name);
	free(ctx);
}

static struct vmctx *
ctx_alloc(const char *name)
{
	static _Atomic uint64_t serials = 1;
	struct vmctx *ctx;

	ctx = calloc(1, sizeof(*ctx));
	if (ctx == NULL || (ctx->name = strdup(name)) == NULL) {
		free(ctx);
		errno = ENOMEM;
		return (NULL);
	}
	ctx->peer = -1;
	ctx->serial = atomic_fetch_add(&serials, 1);
	pthread_mutex_init(&ctx->mtx, NULL);
	return (ctx);
}

struct vmctx *
vm_openf(const char *name, int flags)
{
	const int create =
	    VMMAPI_OPEN_CREATE | VMMAPI_OPEN_CREATE_DESTROY_ON_CLOSE;
	struct vmctx *ctx;
	bool created = false;
	int error = 0;

	vmm_set_error("%s", "");
	if ((ctx = ctx_alloc(name)) == NULL)
		return (NULL);
	/* It may go between the two; a process that makes VMs tries again. */
	for (int tries = 0; tries < CREATE_TRIES; tries++) {
		if ((flags & create) != 0) {
			error = vmm_dir_create(name);
			created = error == 0;
		}
		if (error == 0 || error == EEXIST)
			error =
			    vmm_dir_open(name, (flags & VMMAPI_OPEN_OWNER) != 0,
				&ctx->dir, &ctx->peer);
		if (error != ENOENT || (flags & create) == 0)
			break;
	}
	if (error == 0 && ctx->peer < 0) {
		error = open_owned(ctx, flags);
		if (error == 0 && created &&
		    (flags & VMMAPI_OPEN_CREATE_DESTROY_ON_CLOSE) != 0) {
			vmm_dir_once(ctx->dir, true);
			error = vmm_dir_mark(ctx->dir, false);
		}
	} else if (error == 0 && (flags & VMMAPI_OPEN_REINIT) != 0 &&
	    vm_reinit(ctx) != 0)
		error = errno;
	if (error != 0) {
		/* What this call made goes with it. */
		if (created && ctx->dir != NULL && ctx->peer < 0)
			(void)vmm_dir_remove(ctx->dir);
		ctx_free(ctx);
		errno = error;
		return (NULL);
	}
	ctx->destroy_on_close =
	    created && (flags & VMMAPI_OPEN_CREATE_DESTROY_ON_CLOSE) != 0;
	if (ctx->vm != NULL) {
		pthread_mutex_lock(&owned_mtx);
		ctx->next = owned;
		owned = ctx;
		pthread_mutex_unlock(&owned_mtx);
	}
	return (ctx);
}

struct vmctx *
vm_open(const char *name)
{
	return (vm_openf(name, 0));
}

/* ---- running, saving, closing ---- */

/* From here on a sudden death leaves a machine in an unknown state. */
static int
mark_running(struct vmctx *ctx, bool serving)
{
	int error;

	if (atomic_load_explicit(&ctx->marked, memory_order_relaxed) &&
	    !serving)
		return (0);
	error = vmm_dir_mark(ctx->dir, serving);
	atomic_store(&ctx->marked, error == 0);
	atomic_store(&ctx->dirty, true);
	return (error);
}

int
vm_keep(struct vmctx *ctx)
{
	int error;

	if (!ctx->destroy_on_close)
		return (0);
	ctx->destroy_on_close = false;
	vmm_dir_once(ctx->dir, false);
	error = vmm_dir_mark(ctx->dir, ctx->ctl != NULL);
	atomic_store(&ctx->marked, error == 0);
	return (vmapi_error(error));
}

int
vm_serve(struct vmctx *ctx)
{
	int error;

	if (ctx->trouble[0] != '\0')
		return (vmapi_error(EOWNERDEAD));
	if (ctx->vm == NULL)
		return (vmapi_error(EBUSY));
	if (ctx->ctl != NULL)
		return (0);
	error = vmm_start(ctx->vm);
	if (error == 0)
		error = vmm_ctl_start(ctx->vm, ctx->dir, &ctx->ctl);
	if (error == 0)
		error = mark_running(ctx, true);
	return (vmapi_error(error));
}

int
vm_run(struct vcpu *vcpu, const struct vm_entry *entry, struct vm_exit *vme)
{
	struct vmctx *ctx = vcpu->ctx;
	int error;

	if (ctx->trouble[0] != '\0')
		return (vmapi_error(EOWNERDEAD));
	if (ctx->vm == NULL)
		return (vmapi_error(EBUSY));
	if ((error = mark_running(ctx, false)) != 0)
		return (vmapi_error(error));
	return (vmapi_error(vmm_run_vcpuid(ctx->vm, vcpu->vcpuid, entry, vme)));
}

int
vm_save(struct vmctx *ctx)
{
	int error;

	if (ctx->trouble[0] != '\0')
		return (vmapi_error(EOWNERDEAD));
	if (ctx->vm == NULL)
		return (vmapi_error(EBUSY));
	error = vmm_dir_save(ctx->dir, ctx->vm);
	if (error == 0)
		atomic_store(&ctx->dirty, false);
	return (vmapi_error(error));
}

/* The threads that run vCPUs are gone by now. */
void
vm_close(struct vmctx *ctx)
{
	if (ctx->ctl != NULL)
		vmm_ctl_stop(ctx->ctl);
	ctx->ctl = NULL;
	if (ctx->vm != NULL && ctx->destroy_on_close)
		(void)vmm_dir_remove(ctx->dir);
	if (ctx->vm != NULL && ctx->trouble[0] == '\0' &&
	    !vmm_dir_removed(ctx->dir)) {
		if ((!atomic_load(&ctx->dirty) || vm_save(ctx) == 0))
			(void)vmm_dir_unmark(ctx->dir);
		else
			vmm_log("%s: its state could not be saved: %s",
			    ctx->name, strerror(errno));
	}
	ctx_free(ctx);
}

void
vm_destroy(struct vmctx *ctx)
{
	struct vm_word none = { 0 };
	struct vmctx *again;

	if (ctx->vm == NULL && !ctx->unlinked &&
	    VMIOC(ctx, VM_DESTROY_SELF, &none) != 0 &&
	    (errno == EPIPE || errno == ECONNRESET)) {
		/* The owner left between open and now: be the owner. */
		again = vm_open(ctx->name);
		if (again != NULL)
			vm_destroy(again);
	}
	if (ctx->vm != NULL) {
		if (ctx->ctl != NULL)
			vmm_ctl_stop(ctx->ctl);
		ctx->ctl = NULL;
		(void)vmm_dir_remove(ctx->dir);
	}
	ctx_free(ctx);
}

int
vm_unlink(struct vmctx *ctx)
{
	struct vm_word none = { 0 };

	if (ctx->trouble[0] != '\0')
		return (vmapi_error(vmm_dir_remove(ctx->dir)));
	if (VMIOC(ctx, VM_DESTROY_SELF, &none) != 0)
		return (-1);
	ctx->unlinked = true;
	return (0);
}

int
vm_reinit(struct vmctx *ctx)
{
	struct vm_word none = { 0 };
	int error;

	if (ctx->trouble[0] == '\0')
		return (VMIOC(ctx, VM_REINIT, &none));
	if ((error = fresh_machine(ctx)) != 0)
		return (vmapi_error(error));
	ctx->trouble[0] = '\0';
	atomic_store(&ctx->dirty, true);
	return (0);
}

int
vm_suspend(struct vmctx *ctx, enum vm_suspend_how how)
{
	struct vm_suspend a = { (int32_t)how, -1 };

	return (VMIOC(ctx, VM_SUSPEND, &a));
}

int
vm_pause(struct vmctx *ctx)
{
	struct vm_word none = { 0 };

	return (VMIOC(ctx, VM_PAUSE, &none));
}

int
vm_resume(struct vmctx *ctx)
{
	struct vm_word none = { 0 };

	return (VMIOC(ctx, VM_RESUME, &none));
}

int
vm_is_paused(struct vmctx *ctx)
{
	struct vm_word a = { 0 };

	return (VMIOC(ctx, VM_IS_PAUSED, &a) != 0 ? -1 : a.value != 0);
}

int
vm_wrlock_cycle(struct vmctx *ctx)
{
	struct vm_word none = { 0 };

	return (VMIOC(ctx, VM_WRLOCK_CYCLE, &none));
}

/*
 * On FreeBSD the descriptor keeps only ioctls and mapping.  Linux has no rights
 * of descriptors, and this one, of the VM's directory, never had ioctls: as on
 * a FreeBSD without Capsicum there is nothing to limit, and that is success.
 */
int
vm_limit_rights(struct vmctx *ctx)
{
	(void)ctx;
	return (0);
}

/* ---- what it is ---- */

const char *
vm_get_name(struct vmctx *ctx)
{
	return (ctx->name);
}

int
vm_get_device_fd(struct vmctx *ctx)
{
	return (vmm_dir_fd(ctx->dir));
}

bool
vm_is_owner(struct vmctx *ctx)
{
	return (ctx->vm != NULL);
}

const char *
vm_trouble(struct vmctx *ctx)
{
	return (ctx->trouble);
}

const char *
vm_get_backend(struct vmctx *ctx)
{
	struct vm_backend a = { .name = "" };

	if (VMIOC(ctx, VM_GET_BACKEND, &a) != 0)
		return ("");
	memcpy(ctx->backend, a.name, sizeof(ctx->backend));
	ctx->backend[sizeof(ctx->backend) - 1] = '\0';
	return (ctx->backend);
}

bool
vm_amd_guests(struct vmctx *ctx)
{
	struct vm_backend a = { .name = "" };

	if (VMIOC(ctx, VM_GET_BACKEND, &a) != 0)
		return (false);
	return (strncmp(a.vendor, "AuthenticAMD", sizeof(a.vendor)) == 0 ||
	    strncmp(a.vendor, "HygonGenuine", sizeof(a.vendor)) == 0);
}

/* As FreeBSD's: the number into *len, or, without one, a copy to free. */
const uint32_t *
vm_get_ioctls(size_t *len)
{
	const struct vmm_ioctl *table;
	uint32_t *cmds;
	size_t count;

	table = vmm_ioctl_table(&count);
	if (len != NULL) {
		*len = count;
		return (NULL);
	}
	cmds = malloc(count * sizeof(cmds[0]));
	for (size_t i = 0; cmds != NULL && i < count; i++)
		cmds[i] = table[i].cmd;
	return (cmds);
}

/* ---- snapshots ---- */

static int
no_snapshots(void)
{
	vmm_set_error("snapshots are not built: a VM can be paused, and its "
		      "state read by vm_data_read()");
	return (vmapi_error(ENOTSUP));
}

int
vm_snapshot_req(struct vmctx *ctx, struct vm_snapshot_meta *meta)
{
	(void)ctx;
	(void)meta;
	return (no_snapshots());
}

int
vm_restore_time(struct vmctx *ctx)
{
	(void)ctx;
	return (no_snapshots());
}
