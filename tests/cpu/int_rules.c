/*
 * What a program in user mode cannot show: POPF and PUSHF by privilege and
 * in virtual-8086 mode, REP stopping for events and single-step.
 */
#include <stdio.h>
#include <string.h>

#include "int_gen.h"
#include "int_native.h"
#include "soft_core_local.h"

#define SP_OFF 0x1000u
/* Not a constant to the compiler, which takes it for no object. */
static uint8_t *volatile arena = (uint8_t *)ARENA;
#define CR4_VME_BIT 1u

struct flrule {
	const char *what;
	uint32_t mode; /* besides what a 32-bit flat stack needs */
	uint8_t cpl;
	bool os16, vme;
	uint32_t before, popped;
	int vector; /* -1: none */
	uint32_t after;
};

#define V86 MODE_V86
#define PM MODE_PROT
static const struct flrule popf_rules[] = {
	{ "cpl 0 changes IF and IOPL", PM, 0, false, false, FL_IF,
	    FL_IOPL | FL_ID, -1, FL_IOPL | FL_ID },
	{ "cpl 3, IOPL 0 leaves IF and IOPL", PM, 3, false, false, FL_IF,
	    FL_IOPL | FL_AC | FL_CF, -1, FL_IF | FL_AC | FL_CF },
	{ "cpl 3, IOPL 3 changes IF", PM, 3, false, false, FL_IOPL, FL_IF, -1,
	    FL_IOPL | FL_IF },
	{ "cpl 1, IOPL 1 changes IF, not IOPL", PM, 1, false, false, 0x1000,
	    FL_IF | FL_IOPL, -1, 0x1000 | FL_IF },
	{ "16 bits leave the upper half", PM, 0, true, false, FL_AC | FL_ID,
	    FL_IF, -1, FL_AC | FL_ID | FL_IF },
	{ "VM, VIF, VIP stay, RF goes", PM, 0, false, false, FL_RF | FL_VIF,
	    FL_VM | FL_VIP, -1, FL_VIF },
	{ "real mode changes all", 0, 0, true, false, 0,
	    FL_IF | FL_IOPL | FL_NT | FL_DF, -1,
	    FL_IF | FL_IOPL | FL_NT | FL_DF },
	{ "v86, IOPL 3", V86, 3, true, false, FL_VM | FL_IOPL, FL_IF, -1,
	    FL_VM | FL_IOPL | FL_IF },
	{ "v86, IOPL 0", V86, 3, true, false, FL_VM, FL_IF, X_GP, FL_VM },
	{ "v86, IOPL 0, VME: IF becomes VIF", V86, 3, true, true, FL_VM | FL_IF,
	    FL_IF | FL_CF, -1, FL_VM | FL_IF | FL_VIF | FL_CF },
	{ "v86, IOPL 0, VME: VIF goes", V86, 3, true, true, FL_VM | FL_VIF, 0,
	    -1, FL_VM },
	{ "v86, VME, VIP and IF", V86, 3, true, true, FL_VM | FL_VIP, FL_IF,
	    X_GP, FL_VM | FL_VIP },
	{ "v86, VME, TF", V86, 3, true, true, FL_VM, FL_TF, X_GP, FL_VM },
	{ "v86, VME, 32 bits", V86, 3, false, true, FL_VM, 0, X_GP, FL_VM },
};
/* popped: what PUSHF stores. */
static const struct flrule pushf_rules[] = {
	{ "VM and RF are not pushed", PM, 0, false, false,
	    FL_RF | FL_ID | FL_IF, FL_ID | FL_IF, -1, FL_RF | FL_ID | FL_IF },
	{ "v86, IOPL 3", V86, 3, true, false, FL_VM | FL_IOPL | FL_IF,
	    FL_IOPL | FL_IF, -1, FL_VM | FL_IOPL | FL_IF },
	{ "v86, IOPL 0", V86, 3, true, false, FL_VM, 0, X_GP, FL_VM },
	{ "v86, VME: VIF is pushed as IF", V86, 3, true, true, FL_VM | FL_VIF,
	    FL_IOPL | FL_IF, -1, FL_VM | FL_VIF },
	{ "v86, VME: IF is not", V86, 3, true, true, FL_VM | FL_IF, FL_IOPL, -1,
	    FL_VM | FL_IF },
	{ "v86, VME, 32 bits", V86, 3, false, true, FL_VM, 0, X_GP, FL_VM },
};

static void
op_end(struct softcpu *cpu, const struct insn *in)
{
	cpu->rip = soft_rip(cpu, in);
}

/* Decode, bind and run; the code lies nowhere. */
static void
run(struct softcpu *cpu, const uint8_t *code, unsigned len)
{
	struct soft_dec d[1];
	struct insn rec[2];

	memset(rec, 0, sizeof(rec));
	decode_insn(d, rec, code, len, cpu->mode);
	decode_bind(d, rec, 1);
	rec[1].off = rec[0].len;
	rec[1].op = op_end;
	cpu->gpr[R_BLOCK] = 0x400000;
	cpu->stop = STOP_NONE;
	cpu->exc_vector = 0xff;
	rec[0].op(cpu, rec);
}

static bool
flag_rule(struct softcpu *cpu, const struct flrule *r, bool pop)
{
	const uint8_t code[2] = { r->os16 ? 0x66 : 0x90, pop ? 0x9d : 0x9c };
	uint8_t *sp = arena + SP_OFF;
	uint32_t n = r->os16 ? 2 : 4, got, want, image = 0;
	int vector;

	memcpy(sp, &r->popped, 4);
	if (!pop)
		memset(sp - 4, 0, 4);
	cpu->mode = r->mode | MODE_CS32 | MODE_SS32 | MODE_FLAT | MODE_CSFLAT;
	cpu->cpl = r->cpl;
	cpu->cr4 = r->vme ? CR4_VME_BIT : 0;
	cpu->cc = 0;
	cpu->rfl = r->before | 2;
	cpu->gpr[R_SP] = (uint64_t)(uintptr_t)sp;
	run(cpu, r->os16 ? code : code + 1, r->os16 ? 2 : 1);
	vector = cpu->stop == STOP_FAULT ? cpu->exc_vector : -1;
	got = (uint32_t)soft_get_rflags(cpu);
	want = r->after | 2;
	if (!pop && vector < 0) {
		memcpy(&image, sp - n, n);
		if (image != (r->popped | 2)) {
			printf("FAIL pushf, %s: image %x\n", r->what, image);
			return (false);
		}
	}
	if (vector == r->vector && got == want)
		return (true);
	printf("FAIL %s, %s: vector %d flags %x, want %d %x\n",
	    pop ? "popf" : "pushf", r->what, vector, got, r->vector, want);
	return (false);
}

/* REP MOVSB over more than a page with an event pending, or TF set. */
static bool
rep_stops(struct softcpu *cpu, bool event, uint32_t mode, uint64_t most)
{
	static const uint8_t code[2] = { 0xf3, 0xa4 };
	_Atomic uint32_t pending = event ? 1 : 0;
	_Atomic uint32_t *was = cpu->pending;
	uint8_t *m = arena;
	const uint64_t total = 0x1800;
	uint64_t done;
	bool ok;

	for (uint64_t i = 0; i < DATA_LEN; i++)
		m[i] = (uint8_t)(i * 7 + (i >> 8));
	cpu->mode = MODE_64 | MODE_LONG | MODE_PROT | mode;
	cpu->rfl = 2;
	cpu->dr6_pending = 0;
	cpu->pending = &pending;
	cpu->gpr[R_SI] = ARENA + 0x10;
	cpu->gpr[R_DI] = ARENA + 0x2020;
	cpu->gpr[R_CX] = total;
	run(cpu, code, 2);
	cpu->pending = was;
	done = total - cpu->gpr[R_CX];
	ok = done > 0 && done <= most && cpu->stop == STOP_NONE &&
	    cpu->gpr[R_SI] == ARENA + 0x10 + done &&
	    cpu->gpr[R_DI] == ARENA + 0x2020 + done &&
	    cpu->rip == (done == total ? 0x400002u : 0x400000u) &&
	    memcmp(m + 0x2020, m + 0x10, done) == 0;
	if (!ok)
		printf("FAIL rep movsb stops: event %d mode %x done %lx "
		       "rip %lx\n",
		    event, mode, done, cpu->rip);
	return (ok);
}

int
int_rules(struct softcpu *cpu)
{
	bool ok = true;

	for (unsigned i = 0; i < sizeof(popf_rules) / sizeof(popf_rules[0]);
	     i++)
		ok &= flag_rule(cpu, &popf_rules[i], true);
	for (unsigned i = 0; i < sizeof(pushf_rules) / sizeof(pushf_rules[0]);
	     i++)
		ok &= flag_rule(cpu, &pushf_rules[i], false);
	ok &= rep_stops(cpu, false, 0, 0x1800);
	ok &= rep_stops(cpu, true, 0, 0x1000);
	ok &= rep_stops(cpu, false, MODE_TF, 1);
	printf("rules: %s\n", ok ? "ok" : "failed");
	return (!ok);
}
