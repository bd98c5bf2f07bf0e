/*
 * The commands of GDB's remote protocol, as bhyve has them, and the setting of
 * registers.  What is not known gets the empty reply.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "gdb_local.h"
#include "vmmapi.h"

/* The vCPUs that g, m and others (Hg), or s (Hc), are about. */
static int cur_general, cur_step;

void
gdb_command_reset(void)
{
	cur_general = cur_step = gdb_last_stop()->vcpuid;
}

static void
put_ok(struct gdb_reply *r)
{
	gdb_put(r, "OK");
}

/* Thread N + 1 is vCPU N; 0 and -1 mean any: the one that stopped. */
static bool
take_thread(struct gdb_text *t, int *vcpuid)
{
	uint64_t n;

	if (gdb_take(t, "-1")) {
		*vcpuid = gdb_last_stop()->vcpuid;
		return (t->p == t->end);
	}
	if (!gdb_take_number(t, &n) || t->p != t->end)
		return (false);
	if (n == 0) {
		*vcpuid = gdb_last_stop()->vcpuid;
		return (true);
	}
	if (n > (uint64_t)gdb_ncpus())
		return (false);
	*vcpuid = (int)n - 1;
	return (true);
}

void
gdb_stop_reply(struct gdb_reply *r)
{
	const struct gdb_stop *stop = gdb_last_stop();

	/* A stop of one's own makes that vCPU the current one. */
	cur_general = cur_step = stop->vcpuid;
	gdb_putf(r, "T05thread:%x;", (unsigned int)stop->vcpuid + 1);
	switch (stop->reason) {
	case GDB_STOP_SWBREAK:
		gdb_put(r, "swbreak:;");
		break;
	case GDB_STOP_HWBREAK:
		gdb_put(r, "hwbreak:;");
		break;
	case GDB_STOP_WATCH:
		gdb_putf(r, "watch:%llx;", (unsigned long long)stop->address);
		break;
	case GDB_STOP_AWATCH:
		gdb_putf(r, "awatch:%llx;", (unsigned long long)stop->address);
		break;
	default:
		break;
	}
}

static void
select_thread(struct gdb_text *t, struct gdb_reply *r)
{
	int vcpuid, *current;

	if (gdb_take(t, "g"))
		current = &cur_general;
	else if (gdb_take(t, "c"))
		current = &cur_step;
	else {
		gdb_put_error(r, EINVAL);
		return;
	}
	if (!take_thread(t, &vcpuid)) {
		gdb_put_error(r, EINVAL);
		return;
	}
	*current = vcpuid;
	put_ok(r);
}

/* ---- memory ---- */

static void
read_memory(struct gdb_text *t, struct gdb_reply *r)
{
	uint8_t buf[GDB_PACKET_SIZE / 2 - 8];
	uint64_t gla, len;
	long n;

	if (!gdb_take_number(t, &gla) || !gdb_take(t, ",") ||
	    !gdb_take_number(t, &len) || t->p != t->end) {
		gdb_put_error(r, EINVAL);
		return;
	}
	if (len > sizeof(buf))
		len = sizeof(buf);
	n = gdb_read_memory(gdb_vcpu(cur_general), gla, buf, (size_t)len);
	if (n < 0 || (n == 0 && len != 0))
		gdb_put_error(r, EFAULT);
	else
		gdb_put_hex(r, buf, (size_t)n);
}

static void
write_memory(struct gdb_text *t, struct gdb_reply *r)
{
	uint8_t buf[GDB_PACKET_SIZE / 2];
	uint64_t gla, len;

	if (!gdb_take_number(t, &gla) || !gdb_take(t, ",") ||
	    !gdb_take_number(t, &len) || !gdb_take(t, ":") ||
	    len > sizeof(buf) || !gdb_take_bytes(t, buf, (size_t)len) ||
	    t->p != t->end) {
		gdb_put_error(r, EINVAL);
		return;
	}
	if (gdb_write_memory(gdb_vcpu(cur_general), gla, buf, (size_t)len) !=
	    (long)len)
		gdb_put_error(r, EFAULT);
	else
		put_ok(r);
}

/* One-byte instructions in memory, or debug registers. */
static int
breakpoint_of(char type, uint64_t gla, uint64_t kind, bool set)
{
	struct vcpu *vcpu = gdb_vcpu(cur_general);
	enum gdb_watch_kind watch;

	if (type != '0') {
		watch = (enum gdb_watch_kind)(type - '0');
		return (set ? gdb_set_watch(watch, gla, kind)
			    : gdb_clear_watch(watch, gla, kind));
	}
	if (kind != 1)
		return (EINVAL);
	return (set ? gdb_set_breakpoint(vcpu, gla)
		    : gdb_clear_breakpoint(vcpu, gla));
}

/* ZTYPE,ADDRESS,KIND and its undoing. */
static void
breakpoint(struct gdb_text *t, struct gdb_reply *r, bool set)
{
	uint64_t gla, kind;
	int error;
	char type;

	type = t->p < t->end ? *t->p++ : '\0';
	/* x86 watches no reads alone (3): the empty reply, not supported. */
	if (type != '0' && type != '1' && type != '2' && type != '4')
		return;
	if (!gdb_take(t, ",") || !gdb_take_number(t, &gla) ||
	    !gdb_take(t, ",") || !gdb_take_number(t, &kind) || t->p != t->end) {
		gdb_put_error(r, EINVAL);
		return;
	}
	error = breakpoint_of(type, gla, kind, set);
	if (error != 0)
		gdb_put_error(r, error);
	else
		put_ok(r);
}

/* ---- registers ---- */

static void
one_register(struct gdb_text *t, struct gdb_reply *r, bool set)
{
	struct vcpu *vcpu = gdb_vcpu(cur_general);
	uint64_t n;

	if (!gdb_take_number(t, &n) || n > 1000 ||
	    (set ? !gdb_take(t, "=") : t->p != t->end))
		gdb_put_error(r, EINVAL);
	else if (set)
		gdb_write_register(vcpu, (unsigned int)n, t, r);
	else
		gdb_read_register(vcpu, (unsigned int)n, r);
}

/* ---- questions ---- */

static void
put_threads(struct gdb_reply *r)
{
	int i;

	gdb_put(r, "m");
	for (i = 0; i < gdb_ncpus(); i++)
		gdb_putf(r, "%s%x", i > 0 ? "," : "", (unsigned int)i + 1);
}

static void
thread_info(struct gdb_text *t, struct gdb_reply *r)
{
	char text[16];
	int vcpuid;

	if (!take_thread(t, &vcpuid)) {
		gdb_put_error(r, EINVAL);
		return;
	}
	snprintf(text, sizeof(text), "vCPU %d", vcpuid);
	gdb_put_hex(r, text, strlen(text));
}

/* ANNEX:OFFSET,LENGTH of the target's description. */
static void
features(struct gdb_text *t, struct gdb_reply *r)
{
	uint64_t off, len, room;
	const char *xml;
	size_t size;

	if (!gdb_take(t, "target.xml:")) {
		gdb_put(r, "E00");
		return;
	}
	if (!gdb_take_number(t, &off) || !gdb_take(t, ",") ||
	    !gdb_take_number(t, &len) || t->p != t->end) {
		gdb_put_error(r, EINVAL);
		return;
	}
	xml = gdb_target_xml();
	if (xml == NULL) {
		gdb_put_error(r, ENOMEM);
		return;
	}
	size = strlen(xml);
	if (off > size)
		off = size;
	room = r->room - 1;
	if (len > room)
		len = room;
	if (len > size - off)
		len = size - off;
	gdb_put(r, off + len == size ? "l" : "m");
	memcpy(r->buf + r->len, xml + off, (size_t)len);
	r->len += (size_t)len;
}

static void
query(struct gdb_text *t, struct gdb_reply *r)
{
	if (gdb_take(t, "Attached"))
		gdb_put(r, "1");
	else if (gdb_take(t, "fThreadInfo"))
		put_threads(r);
	else if (gdb_take(t, "sThreadInfo"))
		gdb_put(r, "l");
	else if (gdb_take(t, "ThreadExtraInfo,"))
		thread_info(t, r);
	else if (gdb_take(t, "Supported"))
		gdb_put(r,
		    "PacketSize=4096;swbreak+;hwbreak+;"
		    "qXfer:features:read+");
	else if (gdb_take(t, "Xfer:features:read:"))
		features(t, r);
	else if (gdb_take(t, "C") && t->p == t->end)
		gdb_putf(r, "QC%x", (unsigned int)cur_general + 1);
}

/* ---- all of them ---- */

static enum gdb_after
go(struct gdb_text *t, struct gdb_reply *r, bool step)
{
	int error;

	if (t->p != t->end)
		error = EINVAL;
	else
		error = step ? gdb_step(cur_step) : gdb_resume();
	if (error == 0)
		return (GDB_SILENT);
	gdb_put_error(r, error);
	return (GDB_ANSWER);
}

enum gdb_after
gdb_command(struct gdb_text *t, struct gdb_reply *r)
{
	int vcpuid;
	char c;

	if (t->p == t->end)
		return (GDB_ANSWER);
	c = *t->p++;
	switch (c) {
	case '?':
		gdb_stop_reply(r);
		break;
	case 'c':
		return (go(t, r, false));
	case 's':
		return (go(t, r, true));
	case 'D':
		put_ok(r);
		return (GDB_LEAVE);
	case 'k':
		gdb_kill();
		put_ok(r);
		return (GDB_LEAVE);
	case 'g':
		gdb_read_registers(gdb_vcpu(cur_general), r);
		break;
	case 'G':
		gdb_write_registers(gdb_vcpu(cur_general), t, r);
		break;
	case 'p':
	case 'P':
		one_register(t, r, c == 'P');
		break;
	case 'm':
		read_memory(t, r);
		break;
	case 'M':
		write_memory(t, r);
		break;
	case 'H':
		select_thread(t, r);
		break;
	case 'T':
		if (take_thread(t, &vcpuid))
			put_ok(r);
		else
			gdb_put_error(r, EINVAL);
		break;
	case 'Z':
	case 'z':
		breakpoint(t, r, c == 'Z');
		break;
	case 'q':
		query(t, r);
		break;
	default:
		break;
	}
	return (GDB_ANSWER);
}
