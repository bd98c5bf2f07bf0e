/*
 * The machine: built from the configuration tree in bhyve's order, run by a
 * thread for each vCPU and the event thread, and taken down again.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "atkbdc.h"
#include "bhyverun.h"
#include "bootrom.h"
#include "config.h"
#include "debug.h"
#include "debugcon.h"
#include "fwctl.h"
#include "gdb.h"
#include "inout.h"
#include "ioapic.h"
#include "mem.h"
#include "mevent.h"
#include "numa.h"
#include "pci_emul.h"
#include "pci_irq.h"
#include "pci_lpc.h"
#include "pm.h"
#include "qemu_fwcfg.h"
#include "rtc.h"
#include "uart_backend.h"
#include "vmexit.h"
#include "vmmapi.h"

#define MB (1024UL * 1024)
#define RUN_STATE_RUN 0x2u /* illumos' VRS_RUN, of vm_set_run_state() */
#define NO_STATUS -1
#define DUMP_SHARED 0x08u /* bits of /proc/self/coredump_filter */
#define DUMP_HUGE_SHARED 0x40u

struct vcpu_info {
	struct vcpu *vcpu;
	pthread_t tid;
	bool started;
};

static struct {
	struct vmctx *ctx;
	int ncpus;
	uint16_t sockets, cores, threads;
	size_t memsize;
	struct vcpu_info vcpus[VM_MAXCPU];
	bool pci_up, mevent_up;
} machine;

static pthread_mutex_t run_mtx = PTHREAD_MUTEX_INITIALIZER;
static atomic_int exit_status = NO_STATUS;
static atomic_int term_signal;

int
guest_ncpus(void)
{
	return (machine.ncpus);
}

void
bhyve_topology(uint16_t *sockets, uint16_t *cores, uint16_t *threads)
{
	*sockets = machine.sockets;
	*cores = machine.cores;
	*threads = machine.threads;
}

struct vcpu *
fbsdrun_vcpu(int vcpuid)
{
	if (vcpuid < 0 || vcpuid >= machine.ncpus)
		return (NULL);
	return (machine.vcpus[vcpuid].vcpu);
}

bool
fbsdrun_virtio_msix(void)
{
	return (get_config_bool_default("virtio.msix", true));
}

void *
paddr_guest2host(struct vmctx *ctx, uint64_t gpa, size_t len)
{
	return (vm_map_gpa(ctx, gpa, len));
}

/* ---- ending the run ---- */

void
bhyve_stop(int status)
{
	int none = NO_STATUS;

	atomic_compare_exchange_strong(&exit_status, &none, status);
	/* Whatever the status, this makes the other vCPUs leave. */
	if (machine.ctx != NULL)
		(void)vm_suspend(machine.ctx, VM_SUSPEND_POWEROFF);
}

static void
end_by_signal(int signo)
{
	int none = 0;

	atomic_compare_exchange_strong(&term_signal, &none, signo);
	bhyve_stop(BHYVE_EXIT_ERROR);
}

void
bhyve_request_poweroff(void)
{
	pthread_mutex_lock(&run_mtx);
	if (machine.ctx != NULL && !pm_power_button(machine.ctx))
		end_by_signal(SIGTERM);
	pthread_mutex_unlock(&run_mtx);
}

void
bhyve_abort(void)
{
	end_by_signal(SIGABRT);
}

int
bhyve_term_signal(void)
{
	return (atomic_load(&term_signal));
}

void
bhyve_follow_parent(int parent, int signo)
{
	(void)prctl(PR_SET_PDEATHSIG, signo);
	if (getppid() != parent)
		kill(getpid(), signo);
}

static void
on_signal(int signo, enum ev_type type, void *param)
{
	if (signo == SIGTERM && pm_power_button(machine.ctx))
		return;
	end_by_signal(signo);
}

static const int handled_signals[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT };
#define NSIGNALS (sizeof(handled_signals) / sizeof(handled_signals[0]))

/*
 * Signals for the process go to the main thread alone, so that no vCPU is
 * disturbed; threads started after this inherit the mask.
 */
static void
mask_signals(sigset_t *old)
{
	sigset_t set;
	size_t i;

	sigemptyset(&set);
	for (i = 0; i < NSIGNALS; i++)
		sigaddset(&set, handled_signals[i]);
	sigaddset(&set, SIGPIPE);
	sigaddset(&set, SIGWINCH);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTSTP);
	sigaddset(&set, SIGCONT);
	pthread_sigmask(SIG_BLOCK, &set, old);
}

static int
catch_signals(void)
{
	struct sigaction sa;
	size_t i;

	for (i = 0; i < NSIGNALS; i++) {
		/* nohup(1) and background shells ignore some on purpose. */
		if (sigaction(handled_signals[i], NULL, &sa) == 0 &&
		    sa.sa_handler == SIG_IGN && handled_signals[i] != SIGTERM)
			continue;
		if (mevent_add(handled_signals[i], EVF_SIGNAL, on_signal,
			NULL) == NULL) {
			EPRINTLN("signal %d: %s", handled_signals[i],
			    strerror(errno));
			return (-1);
		}
	}
	return (0);
}

/* ---- topology and pinning ---- */

static int
calc_topology(void)
{
	uint64_t ncpus;
	bool explicit_cpus;

	explicit_cpus = get_config_value("cpus") != NULL;
	machine.ncpus = (int)get_config_int_default("cpus", 1, 1, 65535);
	machine.cores = (uint16_t)get_config_int_default("cores", 1, 1, 65535);
	machine.threads =
	    (uint16_t)get_config_int_default("threads", 1, 1, 65535);
	/* As on FreeBSD: cores or threads without sockets do not fit cpus. */
	machine.sockets = (uint16_t)get_config_int_default(
	    "sockets", machine.ncpus, 1, 65535);
	if (config_failed())
		return (-1);
	/* Three 16-bit factors may overflow 32 bits, but not 64. */
	ncpus = (uint64_t)machine.sockets * machine.cores * machine.threads;
	if (ncpus > 65535) {
		ewarnx("Computed number of vCPUs too high: %" PRIu64, ncpus);
		return (-1);
	}
	if (!explicit_cpus)
		machine.ncpus = (int)ncpus;
	else if ((uint64_t)machine.ncpus != ncpus) {
		ewarnx("Topology (%d,%d,%d) does not match %d vCPUs",
		    machine.sockets, machine.cores, machine.threads,
		    machine.ncpus);
		return (-1);
	}
	return (0);
}

/* "1,4-7" into a set of host CPUs. */
static int
parse_cpuset(int vcpuid, const char *list, cpu_set_t *set)
{
	unsigned long a, b;
	const char *cp;
	char *end;

	CPU_ZERO(set);
	for (cp = list;; cp = end + 1) {
		if (*cp < '0' || *cp > '9')
			break;
		a = b = strtoul(cp, &end, 10);
		if (*end == '-') {
			cp = end + 1;
			if (*cp < '0' || *cp > '9')
				break;
			b = strtoul(cp, &end, 10);
		}
		if (a > b || b >= CPU_SETSIZE)
			break;
		for (; a <= b; a++)
			CPU_SET(a, set);
		if (*end == '\0')
			return (0);
		if (*end != ',')
			break;
	}
	ewarnx("invalid cpuset for vcpu %d: '%s'", vcpuid, list);
	return (-1);
}

/* 1: *set holds the host CPUs of the vCPU; 0: not pinned; -1: bad value. */
static int
vcpu_affinity(int vcpuid, cpu_set_t *set)
{
	const char *value;
	char path[32];

	snprintf(path, sizeof(path), "vcpu.%d.cpuset", vcpuid);
	value = get_config_value(path);
	if (value == NULL)
		return (0);
	return (parse_cpuset(vcpuid, value, set) != 0 ? -1 : 1);
}

/* A set as "0-3,6", cut where there is no more room. */
static void
cpus_text(const cpu_set_t *set, char *buf, size_t size)
{
	size_t used;
	int a, b;

	buf[0] = '\0';
	for (a = 0, used = 0; a < CPU_SETSIZE && used < size; a = b + 1) {
		for (b = a; b < CPU_SETSIZE && CPU_ISSET(b, set); b++)
			;
		if (b == a)
			continue;
		used += (size_t)snprintf(buf + used, size - used,
		    b - a > 1 ? "%s%d-%d" : "%s%d", used != 0 ? "," : "", a,
		    b - 1);
	}
}

/* A list may name more host CPUs than there are, but not only such. */
static int
check_pinning(void)
{
	cpu_set_t both, host, set;
	char path[32], text[128];
	int i, pinned;

	if (sched_getaffinity(0, sizeof(host), &host) != 0) {
		ewarnx("sched_getaffinity: %s", strerror(errno));
		return (-1);
	}
	for (i = 0; i < machine.ncpus; i++) {
		pinned = vcpu_affinity(i, &set);
		if (pinned < 0)
			return (-1);
		CPU_AND(&both, &host, &set);
		if (pinned > 0 && CPU_COUNT(&both) == 0) {
			snprintf(path, sizeof(path), "vcpu.%d.cpuset", i);
			cpus_text(&host, text, sizeof(text));
			ewarnx("%s: '%s' has none of the host CPUs that this "
			       "process may use (%s)",
			    path, get_config_value(path), text);
			return (-1);
		}
	}
	return (0);
}

/* ---- opening the VM ---- */

static int
open_vm(const char *name)
{
	const char *backend, *why;
	int error, flags;

	backend = get_config_value("vmm.backend");
	if (backend != NULL && vm_set_backend(backend) != 0) {
		EPRINTLN("vmm.backend: unknown processor \"%s\"", backend);
		return (-1);
	}
	if (!get_config_bool_default("vmm.soft.translate", true))
		vm_set_translate(false);
	flags = VMMAPI_OPEN_OWNER;
	/* A start that fails leaves no VM that it has made itself. */
	if (lpc_bootrom() != NULL)
		flags |=
		    VMMAPI_OPEN_CREATE_DESTROY_ON_CLOSE | VMMAPI_OPEN_REINIT;
	machine.ctx = vm_openf(name, flags);
	if (machine.ctx != NULL)
		return (0);
	error = errno;
	why = vm_open_error();
	if (error == ENOENT && lpc_bootrom() == NULL)
		ewarnx("%s: no such VM, and no bootrom was configured", name);
	else
		ewarnx("vm_open %s: %s", name,
		    why[0] != '\0' ? why : strerror(error));
	return (-1);
}

static int
read_memory_size(void)
{
	const char *value;

	value = get_config_value("memory.size");
	if (value == NULL || vm_parse_memsize(value, &machine.memsize) != 0) {
		ewarnx("invalid memsize '%s'", value != NULL ? value : "");
		return (-1);
	}
	return (numa_init(machine.ncpus, &machine.memsize));
}

/*
 * Guest memory is a file that is mapped shared, which Linux puts into core
 * files only of processes that ask for it (core(5)).
 */
static void
dump_shared_memory(void)
{
	static const char path[] = "/proc/self/coredump_filter";
	unsigned int filter;
	FILE *fp;
	bool done;

	fp = fopen(path, "r+e");
	done = fp != NULL && fscanf(fp, "%x", &filter) == 1 &&
	    fseek(fp, 0, SEEK_SET) == 0 &&
	    fprintf(fp, "%#x", filter | DUMP_SHARED | DUMP_HUGE_SHARED) > 0;
	if (fp != NULL)
		done = fclose(fp) == 0 && done;
	if (!done)
		ewarnx("memory.guest_in_core: %s: %s", path, strerror(errno));
}

static int
setup_memory(void)
{
	size_t has;
	int error, flags;

	flags = 0;
	if (get_config_bool_default("memory.guest_in_core", false)) {
		flags |= VM_MEM_F_INCORE;
		dump_shared_memory();
	}
	if (get_config_bool_default("memory.wired", false))
		flags |= VM_MEM_F_WIRED;
	vm_set_memflags(machine.ctx, flags);
	if (numa_count() > 0 ? numa_setup_memory(machine.ctx) != 0
			     : vm_setup_memory(machine.ctx, machine.memsize,
				   VM_MMAP_ALL) != 0) {
		error = errno;
		/* Whoever has loaded the VM has said how much there is. */
		if (error == EINVAL &&
		    vm_get_memseg(machine.ctx, VM_SYSMEM, &has, NULL, 0) == 0 &&
		    has != 0 && has != machine.memsize)
			EPRINTLN("Unable to set up memory (%d): the VM has %zu "
				 "MB, not %zu MB",
			    error, has / MB, machine.memsize / MB);
		else
			EPRINTLN("Unable to set up memory (%d): %s", error,
			    vm_open_error()[0] != '\0' ? vm_open_error()
						       : strerror(error));
		return (-1);
	}
	return (0);
}

static int
set_topology(void)
{
	uint16_t cores, maxcpus, sockets, threads;

	if (vm_get_topology(
		machine.ctx, &sockets, &cores, &threads, &maxcpus) != 0 ||
	    maxcpus == 0 || maxcpus > VM_MAXCPU)
		maxcpus = VM_MAXCPU;
	if (machine.ncpus > maxcpus) {
		EPRINTLN("%d vCPUs requested but only %d available",
		    machine.ncpus, maxcpus);
		return (-1);
	}
	if (vm_set_topology(machine.ctx, machine.sockets, machine.cores,
		machine.threads, 0) != 0) {
		ewarnx("vm_set_topology: %s", strerror(errno));
		return (-1);
	}
	return (0);
}

/* ---- vCPUs ---- */

static int
set_capabilities(struct vcpu *vcpu, bool bsp)
{
	enum x2apic_state state;
	int val;

	if (get_config_bool_default("x86.vmexit_on_hlt", false)) {
		if (vm_get_capability(vcpu, VM_CAP_HALT_EXIT, &val) != 0) {
			EPRINTLN("VM exit on HLT not supported");
			return (-1);
		}
		vm_set_capability(vcpu, VM_CAP_HALT_EXIT, 1);
	}
	if (get_config_bool_default("x86.vmexit_on_pause", false)) {
		if (vm_get_capability(vcpu, VM_CAP_PAUSE_EXIT, &val) != 0) {
			EPRINTLN("SMP mux requested, no pause support");
			return (-1);
		}
		vm_set_capability(vcpu, VM_CAP_PAUSE_EXIT, 1);
	}
	state = get_config_bool_default("x86.x2apic", false) ? X2APIC_ENABLED
							     : X2APIC_DISABLED;
	if (vm_set_x2apic_state(vcpu, state) != 0) {
		EPRINTLN("Unable to set x2apic state (%d)", errno);
		return (-1);
	}
	/* Absent on some processors, and nothing depends on it. */
	(void)vm_set_capability(vcpu, VM_CAP_ENABLE_INVPCID, 1);
	return (0);
}

static int
open_vcpus(void)
{
	struct vcpu *vcpu;
	int i;

	for (i = 0; i < machine.ncpus; i++) {
		vcpu = vm_vcpu_open(machine.ctx, i);
		if (vcpu == NULL) {
			EPRINTLN("vm_vcpu_open %d: %s", i, strerror(errno));
			return (-1);
		}
		machine.vcpus[i].vcpu = vcpu;
		if (set_capabilities(vcpu, i == 0) != 0)
			return (-1);
		/* A VM that ran before has its vCPUs active already. */
		if (vm_activate_cpu(vcpu) != 0 && errno != EBUSY) {
			EPRINTLN("could not activate CPU %d: %s", i,
			    strerror(errno));
			return (-1);
		}
	}
	return (0);
}

/* The BSP starts where the loader left it, or at the reset vector. */
static int
prepare_bsp(void)
{
	struct vcpu *bsp = machine.vcpus[0].vcpu;

	if (lpc_bootrom() != NULL && vcpu_reset(bsp) != 0) {
		EPRINTLN("vcpu_reset: %s", strerror(errno));
		return (-1);
	}
	if (vm_set_run_state(bsp, RUN_STATE_RUN, 0) != 0) {
		EPRINTLN("vm_set_run_state: %s", strerror(errno));
		return (-1);
	}
	return (0);
}

static void *
vcpu_thread(void *arg)
{
	struct vcpu_info *vi = arg;
	char name[16];
	cpu_set_t set;

	snprintf(name, sizeof(name), "vcpu %d", vcpu_id(vi->vcpu));
	pthread_setname_np(pthread_self(), name);
	if (vcpu_affinity(vcpu_id(vi->vcpu), &set) == 1 &&
	    pthread_setaffinity_np(pthread_self(), sizeof(set), &set) != 0)
		EPRINTLN(
		    "could not set affinity of vcpu %d", vcpu_id(vi->vcpu));
	vm_loop(machine.ctx, vi->vcpu);
	return (NULL);
}

static int
start_vcpus(void)
{
	int error, i;

	for (i = machine.ncpus - 1; i >= 0; i--) {
		error = pthread_create(&machine.vcpus[i].tid, NULL, vcpu_thread,
		    &machine.vcpus[i]);
		if (error != 0) {
			EPRINTLN("vcpu %d: cannot start a thread: %s", i,
			    strerror(error));
			bhyve_stop(BHYVE_EXIT_ERROR);
			return (-1);
		}
		machine.vcpus[i].started = true;
	}
	return (0);
}

static void
join_vcpus(void)
{
	int i;

	/* A start that was refused may have asked for more than there are. */
	for (i = 0; i < VM_MAXCPU; i++) {
		if (machine.vcpus[i].started)
			pthread_join(machine.vcpus[i].tid, NULL);
	}
}

/* ---- start-up in order ---- */

static int
init_platform(void)
{
	struct vmctx *ctx = machine.ctx;

	if (init_mem(machine.ncpus) != 0) {
		EPRINTLN("init_mem: out of memory");
		return (-1);
	}
	if (init_inout() != 0)
		return (-1);
	if (mevent_init() != 0) {
		EPRINTLN("mevent: %s", strerror(errno));
		return (-1);
	}
	machine.mevent_up = true;
	if (catch_signals() != 0)
		return (-1);
	pci_irq_init(ctx);
	if (atkbdc_init(ctx) != 0 || ioapic_init(ctx) != 0 ||
	    rtc_init(ctx) != 0)
		return (-1);
	sci_init(ctx);
	if (e820_init(ctx) != 0)
		return (-1);
	if (lpc_bootrom() != NULL && bootrom_load(ctx) != 0)
		return (-1);
	if (qemu_fwcfg_init(ctx) != 0 || debugcon_init() != 0)
		return (-1);
	if (lpc_bootrom() != NULL && !qemu_fwcfg_present() && fwctl_init() != 0)
		return (-1);
	machine.pci_up = true;
	return (init_pci(ctx));
}

static int
init_tables(void)
{
	struct vmctx *ctx = machine.ctx;

	/* A BIOS brings its own, to where this one would stand. */
	if (get_config_bool_default("x86.mptable", true) &&
	    !bootrom_is_bios() && mptable_build(ctx, machine.ncpus) != 0)
		return (-1);
	if (smbios_build(ctx) != 0 || e820_finalize() != 0)
		return (-1);
	if (get_config_bool_default("acpi_tables", true) &&
	    acpi_build(ctx, machine.ncpus) != 0)
		return (-1);
	return (qemu_fwcfg_finalize(ctx));
}

static int
build(const char *name)
{
	if (calc_topology() != 0 || check_pinning() != 0 ||
	    read_memory_size() != 0)
		return (-1);
	if (open_vm(name) != 0 || set_topology() != 0 || setup_memory() != 0)
		return (-1);
	vmexit_init();
	if (open_vcpus() != 0 || init_platform() != 0 || init_tables() != 0)
		return (-1);
	if (prepare_bsp() != 0 || gdb_init(machine.ctx, machine.ncpus) != 0)
		return (-1);
	/* Every value has been read by now; a bad one ends the start. */
	return (config_failed() ? -1 : 0);
}

static int
go(const char *name)
{
	int error;

	if (vm_serve(machine.ctx) != 0) {
		EPRINTLN("control socket: %s", strerror(errno));
		return (-1);
	}
	(void)bhyve_setproctitle(name);
	error = mevent_start();
	if (error != 0) {
		EPRINTLN("mevent: %s", strerror(error));
		return (-1);
	}
	if (start_vcpus() != 0)
		return (-1);
	if (vm_keep(machine.ctx) != 0) {
		EPRINTLN("%s: %s", name, strerror(errno));
		bhyve_stop(BHYVE_EXIT_ERROR);
		return (-1);
	}
	return (0);
}

static void
teardown(int status)
{
	struct vmctx *ctx;
	int i;

	if (machine.pci_up)
		pci_cleanup();
	if (machine.mevent_up)
		mevent_stop();
	gdb_cleanup(status);
	atkbdc_cleanup();
	uart_restore_tty();
	debugcon_cleanup();
	qemu_fwcfg_cleanup();
	bootrom_cleanup();
	pthread_mutex_lock(&run_mtx);
	ctx = machine.ctx;
	machine.ctx = NULL;
	pthread_mutex_unlock(&run_mtx);
	for (i = 0; i < VM_MAXCPU; i++) {
		if (machine.vcpus[i].vcpu != NULL)
			vm_vcpu_close(machine.vcpus[i].vcpu);
	}
	if (ctx == NULL)
		return;
	if (status == BHYVE_EXIT_POWEROFF &&
	    get_config_bool_default("destroy_on_poweroff", false))
		vm_destroy(ctx);
	else
		vm_close(ctx);
}

int
bhyve_run(void)
{
	const char *name;
	sigset_t old;
	int status;

	if (get_config_bool_default("config.dump", false)) {
		dump_config();
		return (BHYVE_EXIT_POWEROFF);
	}
	name = get_config_value("name");
	if (name == NULL) {
		ewarnx("no VM name");
		return (BHYVE_EXIT_POWEROFF);
	}
	memset(&machine, 0, sizeof(machine));
	atomic_store(&exit_status, NO_STATUS);
	atomic_store(&term_signal, 0);

	mask_signals(&old);
	/* A failed start leaves the VM as it was, not suspended. */
	if (build(name) != 0 || go(name) != 0)
		atomic_store(&exit_status, BHYVE_EXIT_ERROR);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	join_vcpus();
	status = atomic_load(&exit_status);
	if (status == NO_STATUS)
		status = BHYVE_EXIT_ERROR;
	teardown(status);
	return (status);
}
