/*
 * Between the parts of the debug server: gdb.c stops and starts vCPUs,
 * gdb_packet.c speaks on the socket, gdb_cmd.c knows the commands, gdb_regs.c
 * the registers, gdb_mem.c memory and breakpoints.
 */
#ifndef _GDB_LOCAL_H_
#define _GDB_LOCAL_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vcpu;
struct vmctx;

/* The longest packet; gdb reads the number that it is told as hexadecimal. */
#define GDB_PACKET_SIZE 0x4096
#define GDB_BREAKPOINTS 256

enum gdb_reason {
	GDB_STOP_NONE,
	GDB_STOP_ASKED, /* the client attached, or sent an interrupt */
	GDB_STOP_STEP,
	GDB_STOP_SWBREAK,
	GDB_STOP_HWBREAK,
	GDB_STOP_WATCH,
	GDB_STOP_AWATCH,
};

struct gdb_stop {
	enum gdb_reason reason;
	int vcpuid;
	uint64_t address; /* of a watchpoint */
};

/* ---- gdb.c ---- */
struct vmctx *gdb_ctx(void);
int gdb_ncpus(void);
struct vcpu *gdb_vcpu(int vcpuid);
const struct gdb_stop *gdb_last_stop(void);
/* 0 or an errno.  The client gets a stop reply when the vCPUs stand again. */
int gdb_resume(void);
int gdb_step(int vcpuid);
void gdb_interrupt(void);
void gdb_detach(void); /* breakpoints go, vCPUs run */
void gdb_kill(void);

/* ---- gdb_packet.c ---- */
struct gdb_session;
/* Takes a connected socket; NULL with errno. */
struct gdb_session *gdb_session_new(int fd);
void gdb_session_free(struct gdb_session *s);
/* End a session whose client has hung up; false: it is still there. */
bool gdb_session_over(struct gdb_session *s);
/* The vCPUs stand: answer what has come in.  Then also: send a stop reply. */
void gdb_session_stopped(struct gdb_session *s, bool reply);
/* Tell of the machine's end and free the session; its events are gone. */
void gdb_session_exited(struct gdb_session *s, int status);

/* The reply in the making. */
struct gdb_reply {
	char *buf;
	size_t len, room;
};
void gdb_put(struct gdb_reply *r, const char *text);
void gdb_putf(struct gdb_reply *r, const char *fmt, ...)
    __attribute__((__format__(printf, 2, 3)));
void gdb_put_hex(struct gdb_reply *r, const void *bytes, size_t n);
void gdb_put_error(struct gdb_reply *r, int error);

/* What the client has to say; parsers move on over what they take. */
struct gdb_text {
	const char *p, *end;
};
bool gdb_take(struct gdb_text *t, const char *word);
bool gdb_take_number(struct gdb_text *t, uint64_t *value); /* hexadecimal */
bool gdb_take_bytes(struct gdb_text *t, void *bytes, size_t n);

/* ---- gdb_cmd.c ---- */
enum gdb_after {
	GDB_ANSWER, /* send the reply */
	GDB_SILENT, /* a stop reply comes later */
	GDB_LEAVE,  /* send the reply, then the client is on its own */
};
void gdb_command_reset(void);
enum gdb_after gdb_command(struct gdb_text *t, struct gdb_reply *r);
void gdb_stop_reply(struct gdb_reply *r);

/* ---- gdb_regs.c ---- */
void gdb_read_registers(struct vcpu *vcpu, struct gdb_reply *r);
void gdb_write_registers(
    struct vcpu *vcpu, struct gdb_text *t, struct gdb_reply *r);
void gdb_read_register(struct vcpu *vcpu, unsigned int n, struct gdb_reply *r);
void gdb_write_register(
    struct vcpu *vcpu, unsigned int n, struct gdb_text *t, struct gdb_reply *r);
/* The target description, made once. */
const char *gdb_target_xml(void);
void gdb_regs_cleanup(void);

/* ---- gdb_mem.c ---- */
/* Bytes done, or -1: not even one. */
long gdb_read_memory(struct vcpu *vcpu, uint64_t gla, void *buf, size_t len);
long gdb_write_memory(
    struct vcpu *vcpu, uint64_t gla, const void *buf, size_t len);
/* An errno. */
int gdb_set_breakpoint(struct vcpu *vcpu, uint64_t gla);
int gdb_clear_breakpoint(struct vcpu *vcpu, uint64_t gla);
void gdb_clear_breakpoints(void);
/* Z1 to Z4: breakpoints in debug registers, of all vCPUs.  An errno. */
enum gdb_watch_kind {
	GDB_WATCH_EXEC = 1,
	GDB_WATCH_WRITE = 2,
	GDB_WATCH_ACCESS = 4,
};
int gdb_set_watch(enum gdb_watch_kind kind, uint64_t gla, uint64_t len);
int gdb_clear_watch(enum gdb_watch_kind kind, uint64_t gla, uint64_t len);
/* What DR6 bits of a hit mean. */
void gdb_find_watch(uint64_t hits, struct gdb_stop *stop);
/* What stands where the vCPU met a breakpoint instruction. */
enum gdb_found {
	GDB_FOUND_OURS,
	GDB_FOUND_GUESTS, /* the guest's own instruction */
	GDB_FOUND_GONE,	  /* was ours a moment ago */
};
enum gdb_found gdb_find_breakpoint(struct vcpu *vcpu, uint64_t rip);

#endif
