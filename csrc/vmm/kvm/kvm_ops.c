/*
 * vmm_ops for KVM: is it there, a virtual machine of it, and the table.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "kvm_local.h"

#define KVM_DEVICE "/dev/kvm"
/*
 * Three pages and one that KVM uses on processors without unrestricted
 * guests: below the boot ROM's largest place, above the local APIC.
 */
#define KVM_TSS_ADDR 0xfeffd000UL
#define KVM_IDENTITY_ADDR 0xfeffc000ULL

static const struct {
	int cap;
	const char *what;
} kvm_needed[] = {
	{ KVM_CAP_USER_MEMORY, "user memory" },
	{ KVM_CAP_READONLY_MEM, "read-only memory" },
	{ KVM_CAP_SPLIT_IRQCHIP, "a split interrupt controller" },
	{ KVM_CAP_SIGNAL_MSI, "MSI" },
	{ KVM_CAP_IRQ_ROUTING, "interrupt routes" },
	{ KVM_CAP_IMMEDIATE_EXIT, "immediate exits" },
	{ KVM_CAP_VCPU_EVENTS, "vCPU events" },
	{ KVM_CAP_MP_STATE, "vCPU run states" },
	{ KVM_CAP_XSAVE, "XSAVE state" },
	{ KVM_CAP_XCRS, "XCR0" },
	{ KVM_CAP_DEBUGREGS, "debug registers" },
	{ KVM_CAP_SET_GUEST_DEBUG, "guest debugging" },
	{ KVM_CAP_X86_USER_SPACE_MSR, "MSR exits" },
	{ KVM_CAP_X86_MSR_FILTER, "MSR filters" },
};

int
kvm_ioctl(int fd, const char *name, unsigned long cmd, void *arg)
{
	int rc;

	do
		rc = ioctl(fd, cmd, arg);
	while (rc < 0 && errno == EINTR);
	if (rc < 0) {
		int error = errno;

		vmm_log("%s: %s", name, strerror(error));
		errno = error;
	}
	return (rc);
}

/* Sent to a vCPU's thread to drive it out of KVM_RUN. */
int
kvm_kick_signal(void)
{
	return (SIGRTMIN + 3);
}

static void
kick_handler(int sig)
{
	(void)sig;
}

static void
kick_signal_init(void)
{
	struct sigaction sa;

	memset(&sa, 0, sizeof(sa));
	sa.sa_handler = kick_handler; /* no SA_RESTART: KVM_RUN returns */
	sigemptyset(&sa.sa_mask);
	sigaction(kvm_kick_signal(), &sa, NULL);
}

/* Can this process make virtual machines of the kind that we need? */
static int
kvm_probe_fd(int fd, const char **why)
{
	static _Thread_local char text[80];

	if (ioctl(fd, KVM_GET_API_VERSION, 0) != KVM_API_VERSION) {
		*why = "its KVM speaks another version of the interface";
		return (ENOTSUP);
	}
	for (size_t i = 0; i < sizeof(kvm_needed) / sizeof(kvm_needed[0]);
	     i++) {
		if (ioctl(fd, KVM_CHECK_EXTENSION, kvm_needed[i].cap) > 0)
			continue;
		snprintf(text, sizeof(text), "its KVM has no %s",
		    kvm_needed[i].what);
		*why = text;
		return (ENOTSUP);
	}
	return (0);
}

static int
kvm_probe(const char **why)
{
	int error, fd;

	fd = open(KVM_DEVICE, O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		error = errno;
		if (error == ENOENT || error == ENXIO || error == ENODEV)
			*why = "no /dev/kvm";
		else if (error == EACCES || error == EPERM)
			*why = "no permission to open /dev/kvm";
		else
			*why = "/dev/kvm cannot be opened";
		return (error);
	}
	error = kvm_probe_fd(fd, why);
	close(fd);
	return (error);
}

static bool
flags_have(const char *line, const char *flag)
{
	size_t len = strlen(flag);
	const char *p = line;

	while ((p = strstr(p, flag)) != NULL) {
		if (p > line && (p[-1] == ' ' || p[-1] == '\t') &&
		    (p[len] == ' ' || p[len] == '\n' || p[len] == '\0'))
			return (true);
		p += len;
	}
	return (false);
}

/*
 * A KVM without vmx or svm in the processor runs guests by other means, by
 * interpreting them in the slowest case: nothing to choose unasked.
 */
int
kvm_probe_auto(const char **why)
{
	char *line = NULL;
	size_t room = 0;
	bool found = false;
	FILE *fp;
	int error;

	error = kvm_probe(why);
	if (error != 0)
		return (error);
	fp = fopen("/proc/cpuinfo", "re");
	if (fp != NULL) {
		while (!found && getline(&line, &room, fp) > 0)
			if (strncmp(line, "flags", 5) == 0)
				found = flags_have(line, "vmx") ||
				    flags_have(line, "svm");
		free(line);
		fclose(fp);
	}
	if (found)
		return (0);
	*why = "this host's KVM interprets guests (no vmx or svm)";
	return (ENOTSUP);
}

static int
kvm_enable_cap(struct kvm_vm *kv, const char *name, uint32_t cap, uint64_t arg)
{
	struct kvm_enable_cap ec;

	memset(&ec, 0, sizeof(ec));
	ec.cap = cap;
	ec.args[0] = arg;
	return (kvm_ioctl(kv->fd, name, KVM_ENABLE_CAP, &ec));
}

static int
kvm_caps_init(struct kvm_vm *kv)
{
	uint64_t identity = KVM_IDENTITY_ADDR;
	int flags, size;

	/* Where the processor has no need of them KVM may refuse these. */
	(void)ioctl(kv->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity);
	(void)ioctl(kv->fd, KVM_SET_TSS_ADDR, KVM_TSS_ADDR);
	if (kvm_enable_cap(kv, "KVM_CAP_SPLIT_IRQCHIP", KVM_CAP_SPLIT_IRQCHIP,
		VIOAPIC_PINS) < 0)
		return (-1);
	/* The register page of an x2APIC shows its ID in 32 bits. */
	if (ioctl(kv->fd, KVM_CHECK_EXTENSION, KVM_CAP_X2APIC_API) > 0 &&
	    kvm_enable_cap(kv, "KVM_CAP_X2APIC_API", KVM_CAP_X2APIC_API,
		KVM_X2APIC_API_USE_32BIT_IDS) < 0)
		return (-1);
	/* Failures of user mode code, too, come to us. */
	if (ioctl(kv->fd, KVM_CHECK_EXTENSION,
		KVM_CAP_EXIT_ON_EMULATION_FAILURE) > 0 &&
	    kvm_enable_cap(kv, "KVM_CAP_EXIT_ON_EMULATION_FAILURE",
		KVM_CAP_EXIT_ON_EMULATION_FAILURE, 1) < 0)
		return (-1);
	if (kvm_enable_cap(kv, "KVM_CAP_X86_USER_SPACE_MSR",
		KVM_CAP_X86_USER_SPACE_MSR,
		KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_INVAL |
		    KVM_MSR_EXIT_REASON_FILTER) < 0)
		return (-1);
	flags = ioctl(kv->dev_fd, KVM_CHECK_EXTENSION, KVM_CAP_SYNC_REGS);
	kv->sync_regs = flags > 0 && (flags & KVM_SYNC_X86_REGS) != 0;
	size = ioctl(kv->fd, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2);
	kv->xsave_size = size < 4096 ? 4096 : size;
	if (kv->xsave_size > KVM_XSAVE_MAX) {
		errno = E2BIG;
		return (-1);
	}
	return (0);
}

static void
kvm_cleanup(void *vmi)
{
	struct kvm_vm *kv = vmi;

	kvm_halt_cleanup(kv);
	free(kv->supported);
	if (kv->fd >= 0)
		close(kv->fd);
	if (kv->dev_fd >= 0)
		close(kv->dev_fd);
	pthread_rwlock_destroy(&kv->lapic_gate);
	pthread_mutex_destroy(&kv->mtx);
	free(kv);
}

static void *
kvm_init(struct vm *vm)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	const char *why;
	struct kvm_vm *kv;
	int error;

	kv = calloc(1, sizeof(*kv));
	if (kv == NULL)
		return (NULL);
	pthread_once(&once, kick_signal_init);
	kv->vm = vm;
	kv->fd = -1;
	pthread_mutex_init(&kv->mtx, NULL);
	pthread_rwlock_init(&kv->lapic_gate, NULL);
	kv->interpreted = kvm_probe_auto(&why) != 0;
	kvm_halt_init(kv);
	kv->dev_fd = open(KVM_DEVICE, O_RDWR | O_CLOEXEC);
	if (kv->dev_fd < 0)
		goto fail;
	kv->fd = KVM_IOCTL(kv->dev_fd, KVM_CREATE_VM, 0);
	if (kv->fd < 0)
		goto fail;
	kv->vcpu_run_size = KVM_IOCTL(kv->dev_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (kv->vcpu_run_size < (int)sizeof(struct kvm_run) ||
	    kvm_caps_init(kv) != 0 || kvm_cpuid_init(kv) != 0 ||
	    kvm_msr_init(kv) != 0 || kvm_irqchip_init(kv) != 0)
		goto fail;
	return (kv);
fail:
	error = errno;
	kvm_cleanup(kv);
	errno = error;
	return (NULL);
}

const struct vmm_ops vmm_ops_kvm = {
	.name = "kvm",
	.probe = kvm_probe,
	.probe_auto = kvm_probe_auto,
	.init = kvm_init,
	.cleanup = kvm_cleanup,
	.vcpu_init = kvm_vcpu_init,
	.vcpu_cleanup = kvm_vcpu_cleanup,
	.run = kvm_vcpu_run,
	.kick = kvm_vcpu_kick,
	.locate = kvm_locate,
	.getreg = kvm_getreg,
	.setreg = kvm_setreg,
	.getdesc = kvm_getdesc,
	.setdesc = kvm_setdesc,
	.getcap = kvm_getcap,
	.setcap = kvm_setcap,
	.setdebug = kvm_setdebug,
	.getmsr = kvm_getmsr,
	.setmsr = kvm_setmsr,
	.getfpu = kvm_getfpu,
	.setfpu = kvm_setfpu,
	.vcpu_reset = kvm_vcpu_reset,
	.memmap = kvm_memmap,
	.lapic_msi = kvm_lapic_msi,
	.lapic_get = kvm_lapic_get,
	.lapic_set = kvm_lapic_set,
	.lapic_mmio = kvm_lapic_mmio,
	.lapic_lvt = kvm_lapic_lvt,
	.ioapic_changed = kvm_ioapic_changed,
	.ioevent = kvm_ioevent,
	.msi_irqfd = kvm_msi_irqfd,
	.cpuid_mask = kvm_cpuid_mask,
	.cpuid_changed = kvm_cpuid_changed,
	.stats = kvm_stats_update,
	.get_tsc_offset = kvm_get_tsc_offset,
	.set_tsc_offset = kvm_set_tsc_offset,
	.flags = VMM_OPS_HOST_CPUID | VMM_OPS_DEVICE_SLOTS,
};
