/*
 * The core and libvmmapi from end to end, on the null processor: lifetime,
 * names, memory, state across owners, another process over the control
 * socket, the run loop, sudden death.  Prints a line for each check that
 * fails and exits with their number.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "vmmapi.h"

static int failures, checks;

#define CHECK(cond)                                                       \
	do {                                                              \
		checks++;                                                 \
		if (!(cond)) {                                            \
			failures++;                                       \
			printf("%s:%d: %s (errno %d %s; %s)\n", __func__, \
			    __LINE__, #cond, errno, strerror(errno),      \
			    vm_open_error());                             \
		}                                                         \
	} while (0)

#define FAILS(expr, err)                              \
	do {                                          \
		errno = 0;                            \
		CHECK((expr) != 0 && errno == (err)); \
	} while (0)

static double
now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ((double)ts.tv_sec + (double)ts.tv_nsec * 1e-9);
}

static void
destroy(const char *name)
{
	struct vmctx *ctx = vm_open(name);

	if (ctx != NULL)
		vm_destroy(ctx);
}

static void
test_names(void)
{
	char longname[VM_MAX_NAMELEN + 2];

	FAILS(vm_create(""), EINVAL);
	FAILS(vm_create("."), EINVAL);
	FAILS(vm_create(".."), EINVAL);
	FAILS(vm_create("a/b"), EINVAL);
	FAILS(vm_create("a\nb"), EINVAL);
	memset(longname, 'x', sizeof(longname));
	longname[VM_MAX_NAMELEN + 1] = '\0';
	FAILS(vm_create(longname), ENAMETOOLONG);
	longname[VM_MAX_NAMELEN] = '\0';
	CHECK(vm_create(longname) == 0);
	FAILS(vm_create(longname), EEXIST);
	destroy(longname);
	errno = 0;
	CHECK(vm_open(longname) == NULL && errno == ENOENT);
}

static void
test_memsize(void)
{
	size_t n;

	CHECK(vm_parse_memsize("256", &n) == 0 && n == 256UL << 20);
	CHECK(vm_parse_memsize("2097152", &n) == 0 && n == 2UL << 20);
	CHECK(vm_parse_memsize("1g", &n) == 0 && n == 1UL << 30);
	CHECK(vm_parse_memsize("512MB", &n) == 0 && n == 512UL << 20);
	CHECK(vm_parse_memsize("1.5G", &n) != 0);
	CHECK(vm_parse_memsize("-5", &n) != 0);
	CHECK(vm_parse_memsize("", &n) != 0);
	CHECK(vm_parse_memsize("99999999999E", &n) != 0);
}

static void
test_memory(void)
{
	struct vmctx *ctx = vm_openf("memory", VMMAPI_OPEN_CREATE);
	size_t len;
	char *p, name[32];
	void *rom;

	CHECK(ctx != NULL);
	FAILS(vm_setup_memory(ctx, 0, VM_MMAP_ALL), EINVAL);
	FAILS(vm_setup_memory(ctx, 4097, VM_MMAP_ALL), EINVAL);
	FAILS(vm_setup_memory(ctx, 1UL << 40, VM_MMAP_ALL), ENOMEM);
	CHECK(vm_open_error()[0] != '\0');
	CHECK(vm_setup_memory(ctx, 4UL << 30, VM_MMAP_ALL) == 0);
	CHECK(vm_setup_memory(ctx, 4UL << 30, VM_MMAP_ALL) == 0);
	FAILS(vm_setup_memory(ctx, 1UL << 30, VM_MMAP_ALL), EINVAL);
	CHECK(vm_get_lowmem_size(ctx) == 3UL << 30);
	CHECK(vm_get_highmem_size(ctx) == 1UL << 30);
	CHECK(vm_map_gpa(ctx, (3UL << 30) - 4, 4) != NULL);
	CHECK(vm_map_gpa(ctx, (3UL << 30) - 4, 5) == NULL);
	CHECK(vm_map_gpa(ctx, 3UL << 30, 1) == NULL);
	CHECK(vm_map_gpa(ctx, UINT64_MAX, 2) == NULL);
	CHECK(vm_map_gpa(ctx, 0x1000, SIZE_MAX) == NULL);
	p = vm_map_gpa(ctx, 4UL << 30, 16);
	CHECK(p != NULL);
	strcpy(p, "high");
	CHECK(vm_rev_map_gpa(ctx, p + 3) == (4UL << 30) + 3);
	rom = vm_create_devmem(ctx, VM_BOOTROM, "bootrom", 65536);
	CHECK(rom != NULL);
	strcpy(rom, "rom");
	CHECK(vm_mmap_memseg(ctx, 0xffff0000, VM_BOOTROM, 0, 65536,
		  VM_PROT_READ | VM_PROT_EXEC) == 0);
	FAILS(
	    vm_mmap_memseg(ctx, 0xfffff000, VM_BOOTROM, 0, 8192, VM_PROT_READ),
	    EEXIST);
	FAILS(vm_mmap_memseg(
		  ctx, 0xe0000000, VM_BOOTROM, 4096, 65536, VM_PROT_READ),
	    EINVAL);
	/* Devices do not reach it, debuggers do. */
	CHECK(vm_map_gpa(ctx, 0xffff0000, 4) == NULL);
	CHECK(strcmp(vm_map_devmem(ctx, 0xffff0000, 4), "rom") == 0);
	CHECK(vm_map_devmem(ctx, 0x1000, 4) == vm_map_gpa(ctx, 0x1000, 4));
	vm_close(ctx);

	ctx = vm_open("memory");
	CHECK(ctx != NULL);
	p = vm_map_gpa(ctx, 4UL << 30, 16);
	CHECK(p != NULL && strcmp(p, "high") == 0);
	CHECK(vm_get_memseg(ctx, VM_BOOTROM, &len, name, sizeof(name)) == 0 &&
	    len == 65536 && strcmp(name, "bootrom") == 0);
	CHECK(vm_get_memseg(ctx, 16, &len, name, sizeof(name)) != 0);
	/* The segment stays, for it has users; its place does not. */
	CHECK(vm_map_devmem(ctx, 0xffff0000, 4) != NULL);
	CHECK(vm_reinit(ctx) == 0);
	CHECK(vm_get_memseg(ctx, VM_BOOTROM, &len, name, sizeof(name)) == 0 &&
	    len == 65536);
	CHECK(vm_map_devmem(ctx, 0xffff0000, 4) == NULL);
	CHECK(vm_map_gpa(ctx, 4UL << 30, 16) != NULL);
	vm_destroy(ctx);
}

/* The vectors of C's copying functions, which Python has no use for. */
static void
test_copy(void)
{
	struct vm_guest_paging_api paging;
	struct iovec iov[3];
	const uint32_t *cmds;
	struct vmctx *ctx;
	struct vcpu *vcpu;
	uint8_t *ram;
	char buf[8];
	int fault;
	size_t n;

	CHECK(vm_create("copy") == 0);
	ctx = vm_open("copy");
	CHECK(ctx != NULL);
	CHECK(vm_setup_memory(ctx, 1UL << 20, VM_MMAP_ALL) == 0);
	vcpu = vm_vcpu_open(ctx, 0);
	CHECK(vcpu_reset(vcpu) == 0 && vm_get_paging(vcpu, &paging) == 0);
	ram = vm_map_gpa(ctx, 0, 1UL << 20);
	memcpy(ram + 0x1ffc, "abcdefgh", 8);
	CHECK(vm_copy_setup(
		  vcpu, &paging, 0x1ffc, 8, VM_PROT_READ, iov, 3, &fault) == 0);
	CHECK(fault == 0 && iov[0].iov_base == ram + 0x1ffc &&
	    iov[0].iov_len == 4 && iov[1].iov_len == 4 && iov[2].iov_len == 0);
	vm_copyin(iov, buf, 8);
	CHECK(memcmp(buf, "abcdefgh", 8) == 0);
	vm_copyout("12345678", iov, 8);
	CHECK(memcmp(ram + 0x1ffc, "12345678", 8) == 0);
	vm_copy_teardown(iov, 3);
	FAILS(vm_copy_setup(
		  vcpu, &paging, 0x1ffc, 8, VM_PROT_READ, iov, 1, &fault),
	    E2BIG);
	FAILS(vm_copy_setup(
		  vcpu, &paging, 0xffffc, 8, VM_PROT_READ, iov, 3, &fault),
	    EFAULT);
	/* Tables of zeros: the fault is the guest's, and that is success. */
	paging = (struct vm_guest_paging_api) { .cr3 = 0x4000,
		.paging_mode = PAGING_MODE_64 };
	CHECK(vm_copy_setup(
		  vcpu, &paging, 0x5000, 8, VM_PROT_READ, iov, 3, &fault) == 0);
	CHECK(fault == 1);
	/* It waits: there is no room for another. */
	FAILS(vm_copy_setup(
		  vcpu, &paging, 0x5000, 8, VM_PROT_READ, iov, 3, &fault),
	    EBUSY);
	CHECK(vm_get_ioctls(&n) == NULL && n > 50);
	cmds = vm_get_ioctls(NULL);
	CHECK(cmds != NULL && cmds[0] != 0 && cmds[n - 1] != 0);
	free((void *)(uintptr_t)cmds);
	FAILS(vm_snapshot_req(ctx, NULL), ENOTSUP);
	CHECK(strstr(vm_open_error(), "snapshots") != NULL);
	FAILS(vm_restore_time(ctx), ENOTSUP);
	vm_vcpu_close(vcpu);
	vm_destroy(ctx);
}

static void
test_state(void)
{
	struct vmctx *ctx = vm_openf("state", VMMAPI_OPEN_CREATE);
	struct vcpu *vcpu = vm_vcpu_open(ctx, 0);
	struct vcpu *ap = vm_vcpu_open(ctx, 3);
	uint16_t s, c, t, m;
	uint64_t v, cpus;
	uint32_t state, limit, access;
	uint8_t nv, sipi;
	int val;

	CHECK(vcpu_reset(vcpu) == 0);
	CHECK(vm_set_register(vcpu, VM_REG_GUEST_RIP, 0x123456789) == 0);
	CHECK(vm_set_desc(vcpu, VM_REG_GUEST_FS, 0xabcdef, 0xffff, 0x93) == 0);
	CHECK(vm_set_register(ap, VM_REG_GUEST_RAX, 77) == 0);
	FAILS(vm_set_register(vcpu, 999, 0), EINVAL);
	CHECK(vm_set_topology(ctx, 1, 2, 2, 0) == 0);
	FAILS(vm_set_topology(ctx, 64, 2, 1, 0), EINVAL);
	CHECK(vm_activate_cpu(vcpu) == 0);
	FAILS(vm_activate_cpu(vcpu), EBUSY);
	CHECK(vm_set_capability(vcpu, VM_CAP_HALT_EXIT, 1) == 0);
	FAILS(vm_get_capability(vcpu, VM_CAP_RDPID, &val), ENOENT);
	CHECK(vm_rtc_write(ctx, 0x34, 0x5a) == 0);
	CHECK(vm_set_msr(vcpu, 0x2ff, 0x806) == 0);
	CHECK(vm_set_x2apic_state(vcpu, X2APIC_ENABLED) == 0);
	CHECK(vm_inject_nmi(vcpu) == 0);
	CHECK(vm_suspend(ctx, VM_SUSPEND_RESET) == 0);
	FAILS(vm_suspend(ctx, VM_SUSPEND_HALT), EALREADY);
	vm_vcpu_close(vcpu);
	vm_vcpu_close(ap);
	vm_close(ctx);

	ctx = vm_open("state");
	CHECK(ctx != NULL);
	vcpu = vm_vcpu_open(ctx, 0);
	ap = vm_vcpu_open(ctx, 3);
	CHECK(vm_get_register(vcpu, VM_REG_GUEST_RIP, &v) == 0 &&
	    v == 0x123456789);
	CHECK(vm_get_register(vcpu, VM_REG_GUEST_RDX, &v) == 0 && v == 0xf00);
	CHECK(vm_get_desc(vcpu, VM_REG_GUEST_FS, &v, &limit, &access) == 0 &&
	    v == 0xabcdef && limit == 0xffff && access == 0x93);
	CHECK(vm_get_register(ap, VM_REG_GUEST_RAX, &v) == 0 && v == 77);
	CHECK(vm_get_run_state(ap, &state, &sipi) == 0 && state == 1);
	CHECK(vm_get_run_state(vcpu, &state, &sipi) == 0 && state == 2);
	CHECK(vm_get_topology(ctx, &s, &c, &t, &m) == 0 && s == 1 && c == 2 &&
	    t == 2 && m == VM_MAXCPU);
	CHECK(vm_active_cpus(ctx, &cpus) == 0 && cpus == 1);
	CHECK(vm_get_capability(vcpu, VM_CAP_HALT_EXIT, &val) == 0 && val == 1);
	CHECK(vm_rtc_read(ctx, 0x34, &nv) == 0 && nv == 0x5a);
	CHECK(vm_get_msr(vcpu, 0x2ff, &v) == 0 && v == 0x806);
	FAILS(vm_suspend(ctx, VM_SUSPEND_HALT), EALREADY);
	vm_vcpu_close(vcpu);
	vm_vcpu_close(ap);
	vm_destroy(ctx);
}

/* ---- running ---- */

struct runner {
	pthread_t thread;
	struct vcpu *vcpu;
	int how;
	int outs;
};

static void *
run_thread(void *arg)
{
	struct runner *r = arg;
	struct vm_entry entry = { 0 };
	struct vm_exit vme;

	while (vm_run(r->vcpu, &entry, &vme) == 0) {
		memset(&entry, 0, sizeof(entry));
		if (vme.exitcode == VM_EXITCODE_INOUT) {
			r->outs++;
			entry.cmd = VEC_FULFILL_INOUT;
			entry.u.inout = vme.u.inout;
			entry.u.inout.eax = 0x42;
		} else if (vme.exitcode == VM_EXITCODE_DEBUG) {
			usleep(1000);
		} else {
			break;
		}
	}
	r->how = vme.exitcode == VM_EXITCODE_SUSPENDED
	    ? (int)vme.u.suspended.how
	    : -(int)vme.exitcode - 1;
	return (NULL);
}

static struct runner
start(struct vmctx *ctx, int vcpuid)
{
	struct runner r = { .vcpu = vm_vcpu_open(ctx, vcpuid) };

	CHECK(vcpu_reset(r.vcpu) == 0);
	CHECK(vm_activate_cpu(r.vcpu) == 0);
	return (r);
}

static struct vmctx *
machine(const char *name, const void *code, size_t len, int flags)
{
	struct vmctx *ctx = vm_openf(name, VMMAPI_OPEN_CREATE | flags);

	CHECK(ctx != NULL);
	CHECK(vm_setup_memory(ctx, 16UL << 20, VM_MMAP_ALL) == 0);
	memcpy(vm_map_gpa(ctx, 0x1000, len), code, len);
	return (ctx);
}

static void
place(struct vcpu *vcpu)
{
	CHECK(vm_set_desc(vcpu, VM_REG_GUEST_CS, 0, 0xffff, 0x93) == 0);
	CHECK(vm_set_register(vcpu, VM_REG_GUEST_RIP, 0x1000) == 0);
}

static void
test_run(void)
{
	/* in al,0x99; out 0x99,al; cli; hlt; out; triple fault */
	static const uint8_t code[] = { 0xe4, 0x99, 0xe6, 0x99, 0xfa, 0xf4,
		0x0f };
	struct vmctx *ctx = machine("run", code, sizeof(code), 0);
	struct runner r[2];
	uint64_t v, *stats;
	int count;

	r[0] = start(ctx, 0);
	r[1] = start(ctx, 1);
	place(r[0].vcpu);
	pthread_create(&r[0].thread, NULL, run_thread, &r[0]);
	pthread_create(&r[1].thread, NULL, run_thread, &r[1]);
	pthread_join(r[0].thread, NULL);
	pthread_join(r[1].thread, NULL);
	/* vCPU 1 never got a SIPI, vCPU 0 is deaf: that is a halt. */
	CHECK(r[0].how == VM_SUSPEND_HALT && r[1].how == VM_SUSPEND_HALT);
	CHECK(r[0].outs == 2);
	CHECK(
	    vm_get_register(r[0].vcpu, VM_REG_GUEST_RAX, &v) == 0 && v == 0x42);
	CHECK(vm_suspended_cpus(ctx, &v) == 0 && v == 3);
	stats = vm_get_stats(r[0].vcpu, NULL, &count);
	CHECK(stats != NULL && count > 26 && stats[1] == 3 && stats[3] == 1);
	vm_vcpu_close(r[0].vcpu);
	vm_vcpu_close(r[1].vcpu);
	CHECK(strcmp(vm_get_stat_desc(ctx, 3),
		  "number of times hlt was intercepted") == 0);
	CHECK(vm_get_stat_desc(ctx, count) == NULL);
	vm_destroy(ctx);
}

static void
test_sleep(void)
{
	/* sti; hlt; jmp back */
	static const uint8_t code[] = { 0xfb, 0xf4, 0xeb, 0xfd };
	struct vmctx *ctx = machine("sleep", code, sizeof(code), 0);
	struct runner r[2];
	uint64_t v;
	double t;

	r[0] = start(ctx, 0);
	r[1] = start(ctx, 1);
	place(r[0].vcpu);
	for (int i = 0; i < 2; i++)
		pthread_create(&r[i].thread, NULL, run_thread, &r[i]);
	usleep(20000);
	t = now();
	for (int i = 0; i < 1000; i++)
		CHECK(vm_get_register(r[0].vcpu, VM_REG_GUEST_RCX, &v) == 0);
	CHECK(now() - t < 1);
	CHECK(v == 0);
	/* A local APIC must be on to take one. */
	v = 0x1ff;
	CHECK(vm_readwrite_kernemu_device(r[0].vcpu, 0xfee000f0, true, 4, &v) ==
	    0);
	CHECK(vm_lapic_msi(ctx, 0xfee00000, 0x55) == 0);
	usleep(20000);
	CHECK(vm_get_register(r[0].vcpu, VM_REG_GUEST_RCX, &v) == 0 && v == 1);
	CHECK(
	    vm_get_register(r[0].vcpu, VM_REG_GUEST_RBX, &v) == 0 && v == 0x55);
	CHECK(vm_inject_nmi(r[0].vcpu) == 0);
	usleep(20000);
	CHECK(vm_get_register(r[0].vcpu, VM_REG_GUEST_RDX, &v) == 0 &&
	    v == 0xf01);

	/* INIT and SIPI by the ICR of vCPU 0. */
	v = 1UL << 24;
	CHECK(vm_readwrite_kernemu_device(r[0].vcpu, 0xfee00310, true, 4, &v) ==
	    0);
	v = 0x4500;
	CHECK(vm_readwrite_kernemu_device(r[0].vcpu, 0xfee00300, true, 4, &v) ==
	    0);
	v = 0x4601;
	CHECK(vm_readwrite_kernemu_device(r[0].vcpu, 0xfee00300, true, 4, &v) ==
	    0);
	usleep(20000);
	CHECK(
	    vm_get_register(r[1].vcpu, VM_REG_GUEST_CS, &v) == 0 && v == 0x100);
	CHECK(vm_get_register(r[1].vcpu, VM_REG_GUEST_RIP, &v) == 0 && v == 2);

	/* Debug, pause, and the end. */
	CHECK(vm_suspend_cpu(r[0].vcpu) == 0);
	usleep(5000);
	CHECK(vm_debug_cpus(ctx, &v) == 0 && v == 1);
	CHECK(vm_resume_cpu(r[0].vcpu) == 0);
	CHECK(vm_pause(ctx) == 0);
	FAILS(vm_pause(ctx), EALREADY);
	CHECK(vm_get_register(r[0].vcpu, VM_REG_GUEST_RCX, &v) == 0);
	CHECK(vm_resume(ctx) == 0);
	CHECK(vm_suspend(ctx, VM_SUSPEND_POWEROFF) == 0);
	for (int i = 0; i < 2; i++) {
		pthread_join(r[i].thread, NULL);
		CHECK(r[i].how == VM_SUSPEND_POWEROFF);
		vm_vcpu_close(r[i].vcpu);
	}
	vm_destroy(ctx);
}

/* ---- another process ---- */

static int
in_child(int (*func)(const char *), const char *name)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		failures = 0;
		status = func(name);
		fflush(stdout);
		_exit(status);
	}
	waitpid(pid, &status, 0);
	return (WIFEXITED(status) ? WEXITSTATUS(status) : -1);
}

static int
look(const char *name)
{
	struct vmctx *ctx;
	struct vcpu *vcpu;
	struct vm_exit vme;
	uint64_t a, b, *stats;
	double t, worst = 0;
	uint8_t *p;
	int count;

	errno = 0;
	CHECK(vm_openf(name, VMMAPI_OPEN_OWNER) == NULL && errno == EBUSY);
	ctx = vm_open(name);
	CHECK(ctx != NULL && !vm_is_owner(ctx));
	if (ctx == NULL)
		return (failures);
	CHECK(strcmp(vm_get_backend(ctx), "soft") == 0);
	vcpu = vm_vcpu_open(ctx, 0);
	CHECK(vm_get_register(vcpu, VM_REG_GUEST_RAX, &a) == 0);
	for (int i = 0; i < 200; i++) {
		t = now();
		CHECK(vm_get_register(vcpu, VM_REG_GUEST_RAX, &b) == 0);
		if (now() - t > worst)
			worst = now() - t;
	}
	CHECK(b > a);
	if (worst > 0.010)
		printf("note: a register took %.1f ms\n", worst * 1e3);
	p = vm_map_gpa(ctx, 0x1000, 3);
	CHECK(p != NULL && p[0] == 0x40);
	FAILS(vm_run(vcpu, NULL, &vme), EBUSY);
	FAILS(vm_set_register(vcpu, 999, 0), EINVAL);
	stats = vm_get_stats(vcpu, NULL, &count);
	CHECK(stats != NULL && count > 26);
	CHECK(vm_pause(ctx) == 0);
	CHECK(vm_get_register(vcpu, VM_REG_GUEST_RAX, &a) == 0);
	usleep(5000);
	CHECK(vm_get_register(vcpu, VM_REG_GUEST_RAX, &b) == 0 && a == b);
	CHECK(vm_resume(ctx) == 0);
	vm_vcpu_close(vcpu);
	vm_close(ctx);
	return (failures);
}

static int
end(const char *name)
{
	struct vmctx *ctx = vm_open(name);

	CHECK(ctx != NULL);
	if (ctx != NULL)
		vm_destroy(ctx);
	CHECK(vm_create(name) == 0);
	return (failures);
}

static const uint8_t busy_loop[] = { 0x40, 0xeb, 0xfd };

static void
test_remote(void)
{
	struct vmctx *ctx =
	    machine("remote", busy_loop, sizeof(busy_loop), VMMAPI_OPEN_OWNER);
	struct runner r = start(ctx, 0);

	place(r.vcpu);
	CHECK(vm_serve(ctx) == 0);
	pthread_create(&r.thread, NULL, run_thread, &r);
	usleep(10000);
	CHECK(in_child(look, "remote") == 0);
	CHECK(in_child(end, "remote") == 0);
	pthread_join(r.thread, NULL);
	CHECK(r.how == VM_SUSPEND_DESTROY);
	vm_vcpu_close(r.vcpu);
	vm_close(ctx);
	ctx = vm_open("remote");
	CHECK(ctx != NULL && vm_is_owner(ctx));
	CHECK(vm_map_gpa(ctx, 0, 1) == NULL);
	vm_destroy(ctx);
}

static int
die(const char *name)
{
	struct vmctx *ctx =
	    machine(name, busy_loop, sizeof(busy_loop), VMMAPI_OPEN_OWNER);
	struct runner r = start(ctx, 0);

	place(r.vcpu);
	vm_serve(ctx);
	pthread_create(&r.thread, NULL, run_thread, &r);
	usleep(10000);
	kill(getpid(), SIGKILL);
	return (0);
}

static void
test_death(void)
{
	struct vmctx *ctx;
	struct vcpu *vcpu;
	uint64_t v;

	CHECK(in_child(die, "death") == -1);
	errno = 0;
	CHECK(vm_openf("death", VMMAPI_OPEN_OWNER) == NULL &&
	    errno == EOWNERDEAD);
	CHECK(strstr(vm_open_error(), "died") != NULL);
	ctx = vm_open("death");
	CHECK(ctx != NULL && strstr(vm_trouble(ctx), "died") != NULL);
	vcpu = vm_vcpu_open(ctx, 0);
	FAILS(vm_get_register(vcpu, VM_REG_GUEST_RIP, &v), EOWNERDEAD);
	vm_vcpu_close(vcpu);
	vm_close(ctx);
	ctx = vm_openf("death", VMMAPI_OPEN_REINIT | VMMAPI_OPEN_OWNER);
	CHECK(ctx != NULL && vm_trouble(ctx)[0] == '\0');
	CHECK(vm_setup_memory(ctx, 8UL << 20, VM_MMAP_ALL) == 0);
	vm_close(ctx);
	ctx = vm_open("death");
	CHECK(ctx != NULL && vm_trouble(ctx)[0] == '\0');
	CHECK(vm_get_lowmem_size(ctx) == 8UL << 20);
	vm_close(ctx);
	CHECK(in_child(die, "death") == -1 || true);
	ctx = vm_open("death");
	CHECK(ctx != NULL);
	vm_destroy(ctx);
	errno = 0;
	CHECK(vm_open("death") == NULL && errno == ENOENT);
}

static void
test_damage(void)
{
	char path[512];
	struct vmctx *ctx;
	FILE *fp;

	CHECK(vm_create("damage") == 0);
	snprintf(path, sizeof(path), "%s/damage/state", getenv("VMM_DIR"));
	fp = fopen(path, "w");
	CHECK(fp != NULL);
	fputs("not a state", fp);
	fclose(fp);
	ctx = vm_open("damage");
	CHECK(ctx != NULL && strstr(vm_trouble(ctx), "damaged") != NULL);
	vm_destroy(ctx);
	CHECK(access(path, F_OK) != 0);
}

int
main(void)
{
	test_names();
	test_memsize();
	test_memory();
	test_copy();
	test_state();
	test_run();
	test_sleep();
	test_remote();
	test_death();
	test_damage();
	printf("%d checks, %d failed\n", checks, failures);
	return (failures != 0);
}
