/*
 * Rows of the floor below: what may be set over the control socket.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rows.h"
#include "vmm.h"
#include "vmm_dev.h"
#include "vmm_local.h"
#include "vmmapi.h"

static const char *const plain[] = { "-s 0,hostbridge", "-s 31,lpc", NULL };

ROW(B06_vmcs_write_by_ctl)
{
	struct vcpu *vcpu;
	uint64_t val;
	int good = 0, reg;

	machine_up(plain);
	vcpu = vm_vcpu_open(machine_ctx(), 0);
	/* Architectural registers by number; no other number means any. */
	for (reg = -100; reg < 70000; reg++) {
		if (vm_get_register(vcpu, reg, &val) == 0) {
			CHECK(reg >= 0 && reg < VM_REG_LAST);
			good++;
		} else if (reg < 0 || reg >= VM_REG_LAST) {
			CHECK(errno == EINVAL);
			CHECK(vm_set_register(vcpu, reg, 1) != 0);
		}
	}
	CHECK(good > 20);
	CHECK(vm_set_desc(vcpu, VM_REG_GUEST_RAX, 0, 0, 0) != 0);
	CHECK(vm_set_desc(vcpu, -1, 0, 0, 0) != 0);
	CHECK(vm_set_desc(vcpu, 0x7fffffff, 0, 0, 0) != 0);
	vm_vcpu_close(vcpu);
	machine_down();
}

/* ---- the control socket ---- */

static int
ctl_connect(void)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int s;

	s = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s",
	    machine_file("vmm/guest/ctl"));
	CHECK(s >= 0 && connect(s, (struct sockaddr *)&sun, sizeof(sun)) == 0);
	return (s);
}

/* The error of the answer to a packet; -1: the other side hung up. */
static int
ctl_answer(int s, const void *packet, size_t n)
{
	uint8_t answer[16384];
	struct vmm_ctl_rep rep;
	ssize_t got;

	CHECK(send(s, packet, n, MSG_NOSIGNAL) == (ssize_t)n);
	got = recv(s, answer, sizeof(answer), 0);
	close(s);
	if (got < (ssize_t)sizeof(rep))
		return (-1);
	memcpy(&rep, answer, sizeof(rep));
	CHECK((size_t)got == sizeof(rep) + rep.len);
	return (rep.error);
}

static int
ctl_send(uint32_t cmd, uint32_t len, const void *arg, size_t room)
{
	uint8_t packet[16384];

	memcpy(packet, &cmd, 4);
	memcpy(packet + 4, &len, 4);
	memcpy(packet + 8, arg, room);
	return (ctl_answer(ctl_connect(), packet, 8 + room));
}

static void
ctl_good(void)
{
	struct vm_topology_arg {
		uint64_t room[64];
	} arg = { 0 };
	const struct vmm_ioctl *ioc = vmm_ioctl_find(VM_GET_TOPOLOGY);

	CHECK(ctl_send(VM_GET_TOPOLOGY, (uint32_t)ioc->size, &arg, ioc->size) ==
	    0);
}

/* Wrong sizes of every command, and commands that are the owner's alone. */
static void
ctl_commands(const uint8_t *big)
{
	const struct vmm_ioctl *ioc;
	const uint32_t *all;
	size_t i, n;
	uint32_t size;

	CHECK(vm_get_ioctls(&n) == NULL && n > 50);
	CHECK((all = vm_get_ioctls(NULL)) != NULL);
	for (i = 0; i < n; i++) {
		ioc = vmm_ioctl_find(all[i]);
		CHECK(ioc != NULL && ioc->size <= VMM_IOCTL_ARG_MAX);
		size = (uint32_t)ioc->size;
		/* Empty, one too short, one too long, not what was said. */
		if (size != 0) {
			CHECK(ctl_send(all[i], 0, big, 0) == EINVAL);
			CHECK(ctl_send(all[i], size - 1, big, size - 1) ==
			    EINVAL);
		}
		CHECK(ctl_send(all[i], size + 1, big, size + 1) ==
		    (size == VMM_IOCTL_ARG_MAX ? -1 : EINVAL));
		CHECK(ctl_send(all[i], size, big, size + 1) == -1);
		CHECK(ctl_send(all[i], 0xffffffff, big, size) == -1);
		if ((ioc->flags & VMI_LOCAL) != 0)
			CHECK(ctl_send(all[i], size, big, size) == EBUSY);
	}
	CHECK(ctl_send(0, 0, big, 0) == ENOTTY);
	CHECK(ctl_send(0xffffffff, 8, big, 8) == ENOTTY);
	CHECK(ctl_send(VM_GET_TOPOLOGY, 12000, big, 12000) == -1);
	/* Less than a header, after a request that may lie around. */
	for (i = 1; i < 8; i++) {
		ctl_good();
		CHECK(ctl_answer(ctl_connect(), big, i) == -1);
	}
}

/* A good request; its length. */
static size_t
ctl_request(uint8_t packet[64])
{
	uint32_t head[2] = { VM_GET_TOPOLOGY,
		(uint32_t)vmm_ioctl_find(VM_GET_TOPOLOGY)->size };

	CHECK(head[1] <= 64 - sizeof(head));
	memset(packet, 0, 64);
	memcpy(packet, head, sizeof(head));
	return (sizeof(head) + head[1]);
}

/* More peers than it takes, silent ones and one that never listens. */
static void
ctl_peers(void)
{
	uint8_t packet[64];
	size_t len = ctl_request(packet);
	int i, s[40];

	for (i = 0; i < 40; i++)
		s[i] = ctl_connect();
	for (i = 0; i < 40; i++)
		close(s[i]);
	usleep(50000);
	ctl_good();
	/* Its answers pile up until it is thrown out; others are served. */
	s[0] = ctl_connect();
	for (i = 0; i < 20000; i++) {
		if (send(s[0], packet, len, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
			continue;
		if (errno != EAGAIN)
			break;
		usleep(1000);
	}
	CHECK(i < 20000 && (errno == EPIPE || errno == ECONNRESET));
	ctl_good();
	close(s[0]);
}

/*
 * A peer of another user, whom somebody has let into the folder: its user is
 * looked at.  Only root can play another user.
 */
static void
ctl_other_user(void)
{
	uint8_t packet[64];
	size_t len = ctl_request(packet);
	int status;
	pid_t pid;

	if (geteuid() != 0)
		return;
	CHECK(chmod(machine_file("vmm/guest"), 0755) == 0);
	CHECK(chmod(machine_file("vmm/guest/ctl"), 0666) == 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		struct sockaddr_un sun = { AF_UNIX, "ctl" };
		char byte;
		int s;

		s = socket(AF_UNIX, SOCK_SEQPACKET, 0);
		if (chdir(machine_file("vmm/guest")) != 0 ||
		    setresgid(65534, 65534, 65534) != 0 ||
		    setresuid(65534, 65534, 65534) != 0 ||
		    connect(s, (struct sockaddr *)&sun, sizeof(sun)) != 0)
			_exit(2);
		/* The end of it, and no answer. */
		(void)!send(s, packet, len, MSG_NOSIGNAL);
		_exit(recv(s, &byte, 1, 0) > 0);
	}
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	CHECK(chmod(machine_file("vmm/guest/ctl"), 0600) == 0);
	CHECK(chmod(machine_file("vmm/guest"), 0700) == 0);
}

ROW(C01_control_socket)
{
	static uint8_t big[12000];
	struct stat st;

	machine_up(plain);
	CHECK(vm_serve(machine_ctx()) == 0);
	CHECK(stat(machine_file("vmm/guest/ctl"), &st) == 0);
	CHECK((st.st_mode & 0777) == 0600);
	CHECK(stat(machine_file("vmm/guest"), &st) == 0);
	CHECK((st.st_mode & 0777) == 0700);
	ctl_good();
	ctl_commands(big);
	ctl_peers();
	ctl_other_user();
	ctl_good();
	machine_down();
}

/* Mappings that leave their segment or the address space. */
static void
ctl_map(void)
{
	static const struct {
		uint64_t gpa;
		int64_t off;
		uint64_t len;
		int32_t segid, prot, flags;
	} bad[] = { { 1UL << 30, 0, RAM_SIZE + 4096, 0, 7, 0 },
		{ 1UL << 30, 4096, RAM_SIZE, 0, 7, 0 },
		{ 1UL << 30, RAM_SIZE, 4096, 0, 7, 0 },
		{ 1UL << 30, -4096, 4096, 0, 7, 0 },
		{ 1UL << 30, 0, ~0xfffUL, 0, 7, 0 },
		{ 1UL << 30, 0x7ffffffffffff000, 0x2000, 0, 7, 0 },
		{ ~0xfffUL, 0, 0x2000, 0, 7, 0 }, { 1UL << 30, 0, 0, 0, 7, 0 },
		{ 1UL << 30, 1, 4096, 0, 7, 0 },
		{ (1UL << 30) + 1, 0, 4096, 0, 7, 0 },
		{ 1UL << 30, 0, 4096, -1, 7, 0 },
		{ 1UL << 30, 0, 4096, 1000, 7, 0 },
		{ 1UL << 30, 0, 4096, 7, 7, 0 },
		{ 1UL << 30, 0, 4096, 0, 0, 0 },
		{ 1UL << 30, 0, 4096, 0, 8, 0 },
		{ 1UL << 30, 0, 4096, 0, 7, ~0 } };
	struct vm_memmap map;
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memset(&map, 0, sizeof(map));
		map.gpa = bad[i].gpa;
		map.segoff = bad[i].off;
		map.len = bad[i].len;
		map.segid = bad[i].segid;
		map.prot = bad[i].prot;
		map.flags = bad[i].flags;
		CHECK(ctl_send(VM_MMAP_MEMSEG, sizeof(map), &map,
			  sizeof(map)) == EINVAL);
	}
}

ROW(B14_nv_ipc)
{
	static const char *const names[] = { "../../up", "a/b", "..", ".",
		"sysmem", "a b", "\n", "a.lock" };
	static const uint64_t lens[] = { 0, 1, 4095, 4097, ~0UL, ~0xfffUL,
		1UL << 62, 1UL << 63 };
	static const int32_t ids[] = { -1, 16, 1000, 0x7fffffff };
	struct vm_memseg seg = { .segid = 5, .len = 4096 };
	uint64_t huge[512];
	size_t i;

	machine_up(plain);
	CHECK(vm_serve(machine_ctx()) == 0);
	/* A name without an end, names that lead elsewhere. */
	memset(seg.name, 'x', sizeof(seg.name));
	CHECK(ctl_send(VM_ALLOC_MEMSEG, sizeof(seg), &seg, sizeof(seg)) ==
	    ENAMETOOLONG);
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		memset(seg.name, 0, sizeof(seg.name));
		strcpy(seg.name, names[i]);
		CHECK(ctl_send(VM_ALLOC_MEMSEG, sizeof(seg), &seg,
			  sizeof(seg)) == EINVAL);
	}
	/* Numbers and sizes that there are not, one that wraps. */
	memset(seg.name, 0, sizeof(seg.name));
	strcpy(seg.name, "fine");
	for (i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		seg.len = lens[i];
		CHECK(ctl_send(VM_ALLOC_MEMSEG, sizeof(seg), &seg,
			  sizeof(seg)) == EINVAL);
	}
	seg.len = 4096;
	for (i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		seg.segid = ids[i];
		CHECK(ctl_send(VM_ALLOC_MEMSEG, sizeof(seg), &seg,
			  sizeof(seg)) == EINVAL);
	}
	ctl_map();
	/* Counts of registers, lengths of data: all ones. */
	memset(huge, 0xff, sizeof(huge));
	for (uint32_t cmd = 0x5600; cmd < 0x5900; cmd++) {
		const struct vmm_ioctl *ioc = vmm_ioctl_find(cmd);

		if (ioc != NULL && ioc->size <= sizeof(huge) &&
		    cmd != VM_DESTROY_SELF && cmd != VM_SUSPEND)
			(void)ctl_send(
			    cmd, (uint32_t)ioc->size, huge, ioc->size);
	}
	ctl_good();
	machine_down();
}
