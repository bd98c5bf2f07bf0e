/*
 * Rows of the floor below: what may be set over the control socket, and
 * state that somebody has written.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
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

/* The error of the answer; -1: the other side hung up. */
static int
ctl_send(uint32_t cmd, uint32_t len, const void *arg, size_t room)
{
	uint8_t packet[16384];
	struct vmm_ctl_rep rep;
	ssize_t n;
	int s = ctl_connect();

	memcpy(packet, &cmd, 4);
	memcpy(packet + 4, &len, 4);
	memcpy(packet + 8, arg, room);
	CHECK(send(s, packet, 8 + room, MSG_NOSIGNAL) == (ssize_t)room + 8);
	n = recv(s, packet, sizeof(packet), 0);
	close(s);
	if (n < (ssize_t)sizeof(rep))
		return (-1);
	memcpy(&rep, packet, sizeof(rep));
	CHECK((size_t)n == sizeof(rep) + rep.len);
	return (rep.error);
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

ROW(C01_control_socket)
{
	static uint8_t big[12000];
	const uint32_t *all;
	struct stat st;
	size_t i, n;
	int s[40];

	machine_up(plain);
	CHECK(vm_serve(machine_ctx()) == 0);
	CHECK(stat(machine_file("vmm/guest/ctl"), &st) == 0);
	CHECK((st.st_mode & 0777) == 0600);
	CHECK(stat(machine_file("vmm/guest"), &st) == 0);
	CHECK((st.st_mode & 0777) == 0700);
	ctl_good();
	CHECK(vm_get_ioctls(&n) == NULL && n > 50);
	CHECK((all = vm_get_ioctls(NULL)) != NULL);
	for (i = 0; i < n; i++) {
		const struct vmm_ioctl *ioc = vmm_ioctl_find(all[i]);

		CHECK(ioc != NULL && ioc->size <= VMM_IOCTL_ARG_MAX);
		/* Empty, one too short, one too long, not what was said. */
		if (ioc->size != 0) {
			CHECK(ctl_send(all[i], 0, big, 0) != 0);
			CHECK(ctl_send(all[i], (uint32_t)ioc->size - 1, big,
				  ioc->size - 1) != 0);
		}
		CHECK(ctl_send(all[i], (uint32_t)ioc->size + 1, big,
			  ioc->size + 1) != 0);
		CHECK(ctl_send(all[i], (uint32_t)ioc->size, big,
			  ioc->size + 1) == -1);
		CHECK(ctl_send(all[i], 0xffffffff, big, ioc->size) == -1);
	}
	CHECK(ctl_send(0, 0, big, 0) == ENOTTY);
	CHECK(ctl_send(0xffffffff, 8, big, 8) == ENOTTY);
	CHECK(ctl_send(VM_GET_TOPOLOGY, 12000, big, 12000) == -1);
	/* More peers than it takes, and none of them says anything. */
	for (i = 0; i < 40; i++)
		s[i] = ctl_connect();
	for (i = 0; i < 40; i++)
		close(s[i]);
	usleep(50000);
	ctl_good();
	machine_down();
}

ROW(B14_nv_ipc)
{
	struct vm_memseg seg;
	uint64_t huge[512];

	machine_up(plain);
	CHECK(vm_serve(machine_ctx()) == 0);
	/* A name without an end, a size that wraps. */
	memset(&seg, 'x', sizeof(seg));
	seg.segid = 5;
	seg.len = 4096;
	CHECK(ctl_send(VM_ALLOC_MEMSEG, sizeof(seg), &seg, sizeof(seg)) > 0);
	memset(seg.name, 0, sizeof(seg.name));
	strcpy(seg.name, "../../up");
	CHECK(ctl_send(VM_ALLOC_MEMSEG, sizeof(seg), &seg, sizeof(seg)) > 0);
	strcpy(seg.name, "fine");
	seg.len = ~0UL;
	CHECK(ctl_send(VM_ALLOC_MEMSEG, sizeof(seg), &seg, sizeof(seg)) > 0);
	seg.len = 1UL << 62;
	CHECK(ctl_send(VM_ALLOC_MEMSEG, sizeof(seg), &seg, sizeof(seg)) > 0);
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

/* ---- state ---- */

static struct vmm_sbuf
saved_state(void)
{
	struct vmm_sbuf sb = { 0 };
	struct vm *vm;

	CHECK(vmm_create("state", "soft", &vm) == 0);
	CHECK(vmm_alloc_vcpu(vm, 0) != NULL);
	CHECK(vmm_state_save(vm, &sb) == 0);
	vmm_destroy(vm);
	return (sb);
}

static int
load(const uint8_t *buf, size_t len)
{
	uint8_t *copy = malloc(len + (len == 0));
	struct vm *vm;
	int error;

	/* Exactly as long, so that a sanitizer sees its end. */
	memcpy(copy, buf, len);
	CHECK(vmm_create("state", "soft", &vm) == 0);
	error = vmm_state_load(vm, copy, len);
	vmm_destroy(vm);
	free(copy);
	return (error);
}

ROW(S02_state_framing)
{
	struct vmm_sbuf sb = saved_state();
	uint8_t *buf = sb.buf;
	size_t i;

	CHECK(load(buf, sb.len) == 0);
	for (i = 1; i < sb.len; i += i < 200 ? 1 : 7)
		(void)load(buf, i);
	CHECK(load(buf, 15) != 0 || load(buf, sb.len - 1) != 0);
	for (i = 0; i + 4 <= sb.len; i += 4) {
		uint32_t old, bad = 0xffffffff;

		memcpy(&old, buf + i, 4);
		memcpy(buf + i, &bad, 4);
		(void)load(buf, sb.len);
		bad = 0x7fffffff;
		memcpy(buf + i, &bad, 4);
		(void)load(buf, sb.len);
		memcpy(buf + i, &old, 4);
	}
	CHECK(load(buf, sb.len) == 0);
	vmm_sbuf_free(&sb);
}

/* Every index of every chip out of range; then the chips are used. */
ROW(S01_state_indexes)
{
	static const uint8_t fills[] = { 0xff, 0x80, 0x7f, 0x01 };
	uint8_t buf[8192], good[8192];
	int cls, len, took = 0;
	size_t i, at;

	machine_up(plain);
	lapic_on();
	for (cls = 0; cls < 64; cls++) {
		len = -1;
		for (int vcpuid = -1; vcpuid < 1 && len < 0; vcpuid++)
			len = vm_data_read(machine_ctx(), vcpuid, (uint16_t)cls,
			    1, good, sizeof(good));
		if (len <= 0)
			continue;
		took++;
		for (at = 0; at < (size_t)len; at++) {
			for (i = 0; i < sizeof(fills); i++) {
				memcpy(buf, good, (size_t)len);
				memset(buf + at, fills[i],
				    (size_t)len - at < 8 ? (size_t)len - at
							 : 8);
				for (int vcpuid = -1; vcpuid < 1; vcpuid++)
					(void)vm_data_write(machine_ctx(),
					    vcpuid, (uint16_t)cls, 1, buf,
					    (size_t)len);
				for (int p = 0; p < 8; p++) {
					static const int ports[] = { 0x20, 0x21,
						0xa0, 0x40, 0x42, 0x61, 0x71,
						0x408 };

					(void)pio_in(ports[p], 1);
				}
				(void)mem_read(IOAPIC + 0x10, 4);
				(void)mem_read(HPET + 0xf0, 8);
				(void)mem_read(LAPIC + 0x390, 4);
				mem_write(LAPIC + 0xb0, 4, 0);
				(void)irq_taken(0x30);
			}
		}
		for (int vcpuid = -1; vcpuid < 1; vcpuid++)
			(void)vm_data_write(machine_ctx(), vcpuid,
			    (uint16_t)cls, 1, good, (size_t)len);
	}
	CHECK(took >= 5);
	CHECK(vm_data_write(machine_ctx(), 0, 99, 1, good, 8) != 0);
	CHECK(vm_data_write(machine_ctx(), 77, 1, 1, good, 8) != 0);
	machine_down();
}
