/*
 * Fuzz target: the debug server, over its socket, on a guest that runs.
 */
#include <netinet/in.h>
#include <poll.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bhyverun.h"
#include "fuzz.h"
#include "vmmapi.h"

#define PATIENCE_MS 3
#define PACKET 2048
#define CODE 0x9000UL

static int client = -1;
static char port[24];
static uint16_t number;

static void
gdb_target_init(void)
{
	struct sockaddr_in sin = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sin);
	int s;

	/* A port that is free now. */
	s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(s >= 0 && bind(s, (struct sockaddr *)&sin, sizeof(sin)) == 0);
	CHECK(getsockname(s, (struct sockaddr *)&sin, &len) == 0);
	close(s);
	number = ntohs(sin.sin_port);
	snprintf(port, sizeof(port), "gdb.port=%u", number);
}

static void
gdb_target_up(void)
{
	/* inc %eax; jmp back; in protected mode without paging. */
	static const uint8_t code[] = { 0x40, 0xeb, 0xfd };
	struct vcpu *vcpu = fbsdrun_vcpu(0);

	memcpy(ram(CODE, sizeof(code)), code, sizeof(code));
	CHECK(vm_set_register(vcpu, VM_REG_GUEST_CR0, 0x31) == 0);
	for (int reg = VM_REG_GUEST_ES; reg <= VM_REG_GUEST_GS; reg++) {
		CHECK(vm_set_desc(vcpu, reg, 0, ~0u,
			  reg == VM_REG_GUEST_CS ? 0xc09b : 0xc093) == 0);
		CHECK(vm_set_register(
			  vcpu, reg, reg == VM_REG_GUEST_CS ? 8 : 16) == 0);
	}
	CHECK(vm_set_register(vcpu, VM_REG_GUEST_RIP, CODE) == 0);
	if (client >= 0)
		close(client);
	client = -1;
	machine_run();
}

static void
dial(void)
{
	struct sockaddr_in sin = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		.sin_port = htons(number) };
	struct pollfd pfd = { .events = POLLOUT };
	int error = 0;
	socklen_t len = sizeof(error);

	/* libFuzzer's timer interrupts; the server takes one at a time. */
	client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	CHECK(client >= 0);
	if (connect(client, (struct sockaddr *)&sin, sizeof(sin)) == 0)
		return;
	CHECK(errno == EINPROGRESS);
	pfd.fd = client;
	while (poll(&pfd, 1, 10000) < 0)
		CHECK(errno == EINTR);
	CHECK(getsockopt(client, SOL_SOCKET, SO_ERROR, &error, &len) == 0);
	CHECK(error == 0);
}

/* What the server says is read, or left to fill its socket. */
static void
listen_a_while(void)
{
	struct pollfd pfd = { .fd = client, .events = POLLIN };
	char buf[4096];
	ssize_t n;

	while (poll(&pfd, 1, PATIENCE_MS) == 1) {
		n = recv(client, buf, sizeof(buf), MSG_DONTWAIT);
		if (n <= 0) {
			close(client);
			client = -1;
			return;
		}
		if (memchr(buf, '#', (size_t)n) != NULL)
			return;
	}
}

static void
say(const char *text, size_t len)
{
	(void)!send(client, text, len, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void
say_packet(const char *text, size_t len, bool wrong)
{
	char tail[4];
	uint8_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum = (uint8_t)(sum + (uint8_t)text[i]);
	snprintf(tail, sizeof(tail), "#%02x", (uint8_t)(sum + wrong));
	say("$", 1);
	say(text, len);
	say(tail, 3);
}

static void
gdb_op(struct input *in)
{
	static const char *const templates[32] = { "g", "G", "p", "P",
		"m%lx,%lx", "M%lx,%lx:", "Z0,%lx,1", "z0,%lx,1", "Z2,%lx,%lx",
		"z2,%lx,%lx", "Z4,%lx,%lx", "Z1,%lx,%lx", "c", "s", "D", "?",
		"Hg%lx", "Hc%lx", "T%lx", "qSupported", "qfThreadInfo",
		"qThreadExtraInfo,%lx",
		"qXfer:features:read:target.xml:%lx,%lx", "qC", "k", "vCont?",
		"X%lx,%lx:", "p%lx", "P%lx=", "Z3,%lx,%lx", "s", "c" };
	uint8_t sel = in8(in), raw[64];
	char text[PACKET];
	size_t len, n;

	if (client < 0)
		dial();
	if (sel >= 0xf0) { /* noise; an interrupt; a hang-up */
		n = in8(in) % sizeof(raw);
		in_bytes(in, raw, n);
		say((char *)raw, n);
		if (sel >= 0xfe) {
			close(client);
			client = -1;
			return;
		}
	} else if (sel >= 0xd0) {
		say("\x03", 1);
	} else {
		len = (size_t)snprintf(text, sizeof(text), templates[sel & 31],
		    (unsigned long)((sel & 0x20) != 0 ? CODE + in8(in)
						      : in_addr(in)),
		    (unsigned long)((sel & 0x40) != 0 ? in8(in) & 15
						      : in64(in)));
		/* Digits, mostly, behind it. */
		n = in16(in) % 700;
		for (size_t i = 0; i < n && in->at < in->end; i++)
			text[len++] = (sel & 0x80) != 0
			    ? (char)in8(in)
			    : "0123456789abcdef"[in8(in) & 15];
		say_packet(text, len, in8(in) == 0xff);
	}
	listen_a_while();
}

static bool
gdb_alive(void)
{
	uint64_t cpus;

	return (vm_suspended_cpus(machine_ctx(), &cpus) == 0 && cpus == 0);
}

static const struct fuzz_target gdb = {
	.name = "gdb",
	.settings = { "-s 0,hostbridge", port, NULL },
	.init = gdb_target_init,
	.up = gdb_target_up,
	.alive = gdb_alive,
	.only = gdb_op,
};
FUZZ_TARGET(gdb);
