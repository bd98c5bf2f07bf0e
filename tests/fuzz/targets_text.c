/*
 * Fuzz targets without a guest: the control socket and its ioctls, the state
 * file's reader, the configuration's grammars.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "config.h"
#include "fuzz.h"
#include "pci_emul.h"
#include "pci_lpc.h"
#include "vmm.h"
#include "vmm_dev.h"
#include "vmm_local.h"
#include "vmmapi.h"

/* ---- the control socket ---- */

static int ctl = -1;
static const uint32_t *commands;
static size_t ncommands;

static void
ctl_up(void)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };

	CHECK(vm_serve(machine_ctx()) == 0);
	(void)vm_get_ioctls(&ncommands);
	if (commands == NULL)
		commands = vm_get_ioctls(NULL);
	if (ctl >= 0)
		close(ctl);
	ctl = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s",
	    machine_file("vmm/guest/ctl"));
	CHECK(connect(ctl, (struct sockaddr *)&sun, sizeof(sun)) == 0);
}

static bool
left_out(uint32_t cmd)
{
	/* These end the run or make files of any size. */
	return (cmd == VM_DESTROY_SELF || cmd == VM_ALLOC_MEMSEG);
}

static void
ctl_op(struct input *in)
{
	uint8_t packet[8 + VMM_IOCTL_ARG_MAX + 64], sel = in8(in);
	const struct vmm_ioctl *ioc;
	struct vmm_ctl_req req;
	size_t len, own;

	req.cmd = sel < 0xf8 ? commands[in8(in) % ncommands] : in32(in);
	ioc = vmm_ioctl_find(req.cmd);
	if (ioc == NULL ? sel < 0xf8 : left_out(req.cmd))
		return;
	len = ioc != NULL && (sel & 0x1c) != 0 ? ioc->size : in16(in) % 6000;
	if (len > sizeof(packet) - 8)
		len = sizeof(packet) - 8;
	req.len = (sel & 0x1c) == 4 ? in32(in) : (uint32_t)len;
	memcpy(packet, &req, sizeof(req));
	memset(packet + 8, 0, len);
	/* Ids and counts are small numbers, then anything. */
	own = len < 96 ? len : 96;
	in_bytes(in, packet + 8, own);
	if ((sel & 1) != 0 && len >= 4)
		memset(packet + 8 + 1, 0, 3);
	if ((sel & 2) != 0 && len >= 8)
		memset(packet + 8 + 5, 0, 3);
	if (send(ctl, packet, len + 8 - ((sel & 0x60) == 0x60 ? 1 : 0),
		MSG_NOSIGNAL) < 0 ||
	    recv(ctl, packet, sizeof(packet), 0) <= 0)
		ctl_up();
}

static const struct fuzz_target ctl_socket = {
	.name = "ctl",
	.settings = { "-s 0,hostbridge", NULL },
	.up = ctl_up,
	.op = ctl_op,
};
FUZZ_TARGET(ctl_socket);

/* ---- the state of a VM ---- */

static uint8_t *good_state;
static size_t good_len;

static void
state_init(void)
{
	static const char *const settings[] = { "-s 0,hostbridge", NULL };
	struct vmm_sbuf sb = { 0 };
	struct vm *vm;

	CHECK(vmm_create("state", "soft", &vm) == 0);
	CHECK(vmm_alloc_vcpu(vm, 0) != NULL);
	CHECK(vmm_state_save(vm, &sb) == 0);
	vmm_destroy(vm);
	good_state = sb.buf;
	good_len = sb.len;
	(void)settings;
}

/* The input is a state, or what to change in a good one. */
static void
state_whole(const uint8_t *data, size_t len)
{
	struct input in = { data, data + len };
	uint8_t *copy;
	struct vm *vm;
	size_t at, n;

	if (len == 0)
		return;
	if (vmm_create("state", "soft", &vm) != 0)
		return;
	if ((in8(&in) & 3) == 0) {
		copy = malloc(len);
		memcpy(copy, data, len);
		(void)vmm_state_load(vm, copy, len);
	} else {
		copy = malloc(good_len);
		memcpy(copy, good_state, good_len);
		while (in.at < in.end) {
			at = in16(&in) % good_len;
			n = in8(&in) % 9;
			if (n > good_len - at)
				n = good_len - at;
			in_bytes(&in, copy + at, n);
		}
		(void)vmm_state_load(vm, copy,
		    (data[0] & 4) != 0 ? good_len / 2 + data[0] : good_len);
	}
	free(copy);
	vmm_destroy(vm);
}

static const struct fuzz_target state = {
	.name = "state",
	.init = state_init,
	.whole = state_whole,
};
FUZZ_TARGET(state);

/* ---- options ---- */

static void
config_whole(const uint8_t *data, size_t len)
{
	char *line, *next, *text;
	int i;

	text = calloc(1, len + 1);
	memcpy(text, data, len);
	init_config();
	for (line = text, i = 0; line != NULL && i < 200; line = next, i++) {
		next = strchr(line, '\n');
		if (next != NULL)
			*next++ = '\0';
		switch (line[0]) {
		case 's':
			(void)pci_parse_slot(line + 1);
			break;
		case 'l':
			(void)lpc_device_parse(line + 1);
			break;
		case 'g':
			(void)get_config_value(line + 1);
			(void)get_config_int_default(line + 1, 1, 0, 100);
			(void)get_config_bool_default(line + 1, true);
			break;
		default:
			(void)parse_config_option(line);
			break;
		}
	}
	config_free_text(config_dump_text());
	free(text);
	init_config();
}

static const struct fuzz_target config = {
	.name = "config",
	.whole = config_whole,
};
FUZZ_TARGET(config);
