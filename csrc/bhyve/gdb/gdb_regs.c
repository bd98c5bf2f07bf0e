/*
 * Registers by GDB's numbers: one table from which the target description is
 * made, too.  What stands in FXSAVE's image comes from the state class FPU.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gdb_local.h"
#include "vmmapi.h"

#define FPU_ROOM 8192
#define FXSAVE_SIZE 512
#define XSTATE_BV 512 /* the header of XSAVE's image follows FXSAVE's */
#define FX_FCW 0
#define FX_FSW 2
#define FX_FTW 4
#define FX_FOP 6
#define FX_FIP 8
#define FX_FCS 12
#define FX_FDP 16
#define FX_FDS 20
#define FX_MXCSR 24
#define FX_ST 32
#define FX_XMM 160
#define MSR_KGSBASE 0xc0000102u

enum source {
	FROM_REG,  /* arg: enum vm_reg_name */
	FROM_BASE, /* arg: a segment register, whose base it is */
	FROM_MSR,  /* arg: the MSR */
	FROM_FPU,  /* arg: offset in FXSAVE's image; width: bytes of it */
	FROM_FTW,  /* the tag word, which FXSAVE abridges */
};

struct gdb_reg {
	const char *feature; /* NULL: the one before */
	const char *name, *type;
	uint16_t bits;
	uint8_t source, width;
	uint32_t arg;
};

#define R64(n, r)                                                   \
	{                                                           \
		NULL, n, "int64", 64, FROM_REG, 8, VM_REG_GUEST_##r \
	}
#define SEG(n, r)                                                   \
	{                                                           \
		NULL, n, "int32", 32, FROM_REG, 4, VM_REG_GUEST_##r \
	}
#define FPU(n, t, b, w, off)                    \
	{                                       \
		NULL, n, t, b, FROM_FPU, w, off \
	}
#define ST(i) FPU("st" #i, "i387_ext", 80, 10, FX_ST + 16 * i)
#define CTL(n, w, off) FPU(n, "int", 32, w, off)
#define XMM(i) FPU("xmm" #i, "vec128", 128, 16, FX_XMM + 16 * i)

static const struct gdb_reg gdb_regs[] = {
	{ "org.gnu.gdb.i386.core", "rax", "int64", 64, FROM_REG, 8,
	    VM_REG_GUEST_RAX },
	R64("rbx", RBX),
	R64("rcx", RCX),
	R64("rdx", RDX),
	R64("rsi", RSI),
	R64("rdi", RDI),
	{ NULL, "rbp", "data_ptr", 64, FROM_REG, 8, VM_REG_GUEST_RBP },
	{ NULL, "rsp", "data_ptr", 64, FROM_REG, 8, VM_REG_GUEST_RSP },
	R64("r8", R8),
	R64("r9", R9),
	R64("r10", R10),
	R64("r11", R11),
	R64("r12", R12),
	R64("r13", R13),
	R64("r14", R14),
	R64("r15", R15),
	{ NULL, "rip", "code_ptr", 64, FROM_REG, 8, VM_REG_GUEST_RIP },
	{ NULL, "eflags", "i386_eflags", 32, FROM_REG, 4, VM_REG_GUEST_RFLAGS },
	SEG("cs", CS),
	SEG("ss", SS),
	SEG("ds", DS),
	SEG("es", ES),
	SEG("fs", FS),
	SEG("gs", GS),
	ST(0),
	ST(1),
	ST(2),
	ST(3),
	ST(4),
	ST(5),
	ST(6),
	ST(7),
	CTL("fctrl", 2, FX_FCW),
	CTL("fstat", 2, FX_FSW),
	{ NULL, "ftag", "int", 32, FROM_FTW, 2, FX_FTW },
	CTL("fiseg", 2, FX_FCS),
	CTL("fioff", 4, FX_FIP),
	CTL("foseg", 2, FX_FDS),
	CTL("fooff", 4, FX_FDP),
	CTL("fop", 2, FX_FOP),
	{ "org.gnu.gdb.i386.sse", "xmm0", "vec128", 128, FROM_FPU, 16, FX_XMM },
	XMM(1),
	XMM(2),
	XMM(3),
	XMM(4),
	XMM(5),
	XMM(6),
	XMM(7),
	XMM(8),
	XMM(9),
	XMM(10),
	XMM(11),
	XMM(12),
	XMM(13),
	XMM(14),
	XMM(15),
	FPU("mxcsr", "i386_mxcsr", 32, 4, FX_MXCSR),
	{ "org.gnu.gdb.i386.segments", "fs_base", "int", 64, FROM_BASE, 8,
	    VM_REG_GUEST_FS },
	{ NULL, "gs_base", "int", 64, FROM_BASE, 8, VM_REG_GUEST_GS },
	{ "org.bhyve.system", "k_gs_base", "int64", 64, FROM_MSR, 8,
	    MSR_KGSBASE },
	R64("cr0", CR0),
	R64("cr2", CR2),
	R64("cr3", CR3),
	R64("cr4", CR4),
	R64("efer", EFER),
};
#define NREGS (sizeof(gdb_regs) / sizeof(gdb_regs[0]))

static char *target_xml;

/* ---- the description ---- */

/* Types that gdb does not know by itself, in the features that use them. */
static void
write_types(FILE *f, const char *feature)
{
	static const struct {
		const char *name;
		int bit;
	} eflags[] = { { "CF", 0 }, { "PF", 2 }, { "AF", 4 }, { "ZF", 6 },
		{ "SF", 7 }, { "TF", 8 }, { "IF", 9 }, { "DF", 10 },
		{ "OF", 11 }, { "NT", 14 }, { "RF", 16 }, { "VM", 17 },
		{ "AC", 18 }, { "VIF", 19 }, { "VIP", 20 }, { "ID", 21 } },
	  mxcsr[] = { { "IE", 0 }, { "DE", 1 }, { "ZE", 2 }, { "OE", 3 },
		  { "UE", 4 }, { "PE", 5 }, { "DAZ", 6 }, { "IM", 7 },
		  { "DM", 8 }, { "ZM", 9 }, { "OM", 10 }, { "UM", 11 },
		  { "PM", 12 }, { "FZ", 15 } };
	static const struct {
		const char *id, *type;
		int count;
	} vectors[] = { { "v4f", "ieee_single", 4 },
		{ "v2d", "ieee_double", 2 }, { "v16i8", "int8", 16 },
		{ "v8i16", "int16", 8 }, { "v4i32", "int32", 4 },
		{ "v2i64", "int64", 2 } };
	size_t i;

	if (strcmp(feature, "org.gnu.gdb.i386.core") == 0) {
		fputs("<flags id=\"i386_eflags\" size=\"4\">", f);
		for (i = 0; i < sizeof(eflags) / sizeof(eflags[0]); i++)
			fprintf(f,
			    "<field name=\"%s\" start=\"%d\" end=\"%d\"/>",
			    eflags[i].name, eflags[i].bit, eflags[i].bit);
		fputs("</flags>\n", f);
		return;
	}
	if (strcmp(feature, "org.gnu.gdb.i386.sse") != 0)
		return;
	for (i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++)
		fprintf(f, "<vector id=\"%s\" type=\"%s\" count=\"%d\"/>",
		    vectors[i].id, vectors[i].type, vectors[i].count);
	fputs("<union id=\"vec128\">", f);
	for (i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++)
		fprintf(f, "<field name=\"%s\" type=\"%s\"/>", vectors[i].id,
		    vectors[i].id);
	fputs("<field name=\"uint128\" type=\"uint128\"/></union>\n"
	      "<flags id=\"i386_mxcsr\" size=\"4\">",
	    f);
	for (i = 0; i < sizeof(mxcsr) / sizeof(mxcsr[0]); i++)
		fprintf(f, "<field name=\"%s\" start=\"%d\" end=\"%d\"/>",
		    mxcsr[i].name, mxcsr[i].bit, mxcsr[i].bit);
	fputs("</flags>\n", f);
}

const char *
gdb_target_xml(void)
{
	const struct gdb_reg *reg;
	size_t size;
	FILE *f;

	if (target_xml != NULL)
		return (target_xml);
	f = open_memstream(&target_xml, &size);
	if (f == NULL)
		return (NULL);
	fputs("<?xml version=\"1.0\"?>\n"
	      "<!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n"
	      "<target><architecture>i386:x86-64</architecture>\n",
	    f);
	for (reg = gdb_regs; reg < gdb_regs + NREGS; reg++) {
		if (reg->feature != NULL) {
			fprintf(f, "%s<feature name=\"%s\">\n",
			    reg != gdb_regs ? "</feature>\n" : "",
			    reg->feature);
			write_types(f, reg->feature);
		}
		fprintf(f,
		    "<reg name=\"%s\" bitsize=\"%d\" type=\"%s\" "
		    "regnum=\"%d\"/>\n",
		    reg->name, reg->bits, reg->type, (int)(reg - gdb_regs));
	}
	fputs("</feature></target>\n", f);
	if (fclose(f) != 0) {
		free(target_xml);
		target_xml = NULL;
	}
	return (target_xml);
}

void
gdb_regs_cleanup(void)
{
	free(target_xml);
	target_xml = NULL;
}

/* ---- the FPU's image ---- */

struct fpu_image {
	uint8_t bytes[FPU_ROOM];
	int len; /* 0: not read yet; -1: there is none */
};

/* Parts that XSAVE's header calls initial hold nothing of the guest's. */
static void
fill_initial(struct fpu_image *fpu)
{
	static const uint8_t fcw[2] = { 0x7f, 0x03 };
	uint64_t held;

	if (fpu->len < XSTATE_BV + 8)
		return;
	memcpy(&held, fpu->bytes + XSTATE_BV, sizeof(held));
	if ((held & 1) == 0) {
		memset(fpu->bytes, 0, FX_MXCSR);
		memset(fpu->bytes + FX_ST, 0, FX_XMM - FX_ST);
		memcpy(fpu->bytes + FX_FCW, fcw, sizeof(fcw));
	}
	if ((held & 2) == 0)
		memset(fpu->bytes + FX_XMM, 0, 256);
	held |= 3;
	memcpy(fpu->bytes + XSTATE_BV, &held, sizeof(held));
}

static bool
read_fpu(struct vcpu *vcpu, struct fpu_image *fpu)
{
	if (fpu->len == 0) {
		fpu->len = vm_data_read(gdb_ctx(), vcpu_id(vcpu), VDC_FPU, 1,
		    fpu->bytes, sizeof(fpu->bytes));
		if (fpu->len < FXSAVE_SIZE)
			fpu->len = -1;
		else
			fill_initial(fpu);
	}
	return (fpu->len > 0);
}

/* Two bits for each register: 0 a number, 1 zero, 2 special, 3 empty. */
static uint16_t
tag_word(const struct fpu_image *fpu)
{
	unsigned int i, st, tag, top, word;
	uint64_t mantissa;
	uint16_t exponent;

	top = fpu->bytes[FX_FSW + 1] >> 3 & 7;
	for (i = 0, word = 0; i < 8; i++) {
		st = (i - top) & 7;
		memcpy(&mantissa, fpu->bytes + FX_ST + 16 * st, 8);
		memcpy(&exponent, fpu->bytes + FX_ST + 16 * st + 8, 2);
		exponent &= 0x7fff;
		if ((fpu->bytes[FX_FTW] >> i & 1) == 0)
			tag = 3;
		else if (exponent == 0 && mantissa == 0)
			tag = 1;
		else if (exponent == 0 || exponent == 0x7fff ||
		    mantissa >> 63 == 0)
			tag = 2;
		else
			tag = 0;
		word |= tag << (2 * i);
	}
	return ((uint16_t)word);
}

static void
set_tag_word(struct fpu_image *fpu, uint16_t word)
{
	unsigned int abridged, i;

	for (i = 0, abridged = 0; i < 8; i++)
		if ((word >> (2 * i) & 3) != 3)
			abridged |= 1u << i;
	fpu->bytes[FX_FTW] = (uint8_t)abridged;
}

/* ---- one register ---- */

static bool
get_register(struct vcpu *vcpu, const struct gdb_reg *reg,
    struct fpu_image *fpu, uint8_t *bytes)
{
	uint32_t access, limit;
	uint64_t val = 0;
	uint16_t tags;
	int error;

	memset(bytes, 0, 16);
	switch (reg->source) {
	case FROM_REG:
		error = vm_get_register(vcpu, (int)reg->arg, &val);
		break;
	case FROM_BASE:
		error = vm_get_desc(vcpu, (int)reg->arg, &val, &limit, &access);
		break;
	case FROM_MSR:
		error = vm_get_msr(vcpu, reg->arg, &val);
		break;
	case FROM_FTW:
		if (!read_fpu(vcpu, fpu))
			return (false);
		tags = tag_word(fpu);
		memcpy(bytes, &tags, sizeof(tags));
		return (true);
	default:
		if (!read_fpu(vcpu, fpu))
			return (false);
		memcpy(bytes, fpu->bytes + reg->arg, reg->width);
		return (true);
	}
	memcpy(bytes, &val, reg->width);
	return (error == 0);
}

/* Registers in the image are changed there; *changed then says so. */
static bool
put_register(struct vcpu *vcpu, const struct gdb_reg *reg,
    struct fpu_image *fpu, const uint8_t *bytes, bool *changed)
{
	uint32_t access, limit;
	uint64_t old, val = 0;
	uint16_t tags;

	switch (reg->source) {
	case FROM_REG:
		memcpy(&val, bytes, reg->width);
		return (vm_set_register(vcpu, (int)reg->arg, val) == 0);
	case FROM_BASE:
		memcpy(&val, bytes, reg->width);
		return (vm_get_desc(
			    vcpu, (int)reg->arg, &old, &limit, &access) == 0 &&
		    vm_set_desc(vcpu, (int)reg->arg, val, limit, access) == 0);
	case FROM_MSR:
		memcpy(&val, bytes, reg->width);
		return (vm_set_msr(vcpu, reg->arg, val) == 0);
	case FROM_FTW:
		if (!read_fpu(vcpu, fpu))
			return (false);
		memcpy(&tags, bytes, sizeof(tags));
		set_tag_word(fpu, tags);
		break;
	default:
		if (!read_fpu(vcpu, fpu))
			return (false);
		memcpy(fpu->bytes + reg->arg, bytes, reg->width);
		break;
	}
	*changed = true;
	return (true);
}

static bool
write_fpu(struct vcpu *vcpu, const struct fpu_image *fpu, bool changed)
{
	return (!changed ||
	    vm_data_write(gdb_ctx(), vcpu_id(vcpu), VDC_FPU, 1, fpu->bytes,
		(size_t)fpu->len) == 0);
}

static bool
same_register(struct vcpu *vcpu, const struct gdb_reg *reg,
    struct fpu_image *fpu, const uint8_t *bytes)
{
	uint8_t now[16];

	return (get_register(vcpu, reg, fpu, now) &&
	    memcmp(now, bytes, reg->bits / 8) == 0);
}

/* ---- commands ---- */

void
gdb_read_registers(struct vcpu *vcpu, struct gdb_reply *r)
{
	struct fpu_image fpu = { .len = 0 };
	uint8_t bytes[16];
	size_t i, n;

	for (i = 0; i < NREGS; i++) {
		if (get_register(vcpu, &gdb_regs[i], &fpu, bytes)) {
			gdb_put_hex(r, bytes, gdb_regs[i].bits / 8);
			continue;
		}
		for (n = 0; n < gdb_regs[i].bits / 8; n++)
			gdb_put(r, "xx"); /* not available */
	}
}

/* Only what differs is set: not everything that can be read can be. */
void
gdb_write_registers(struct vcpu *vcpu, struct gdb_text *t, struct gdb_reply *r)
{
	struct fpu_image fpu = { .len = 0 };
	bool changed = false;
	uint8_t bytes[16];
	size_t i;

	for (i = 0; i < NREGS; i++) {
		if (gdb_take(t, "xx")) {
			t->p += 2 * (gdb_regs[i].bits / 8 - 1);
			if (t->p > t->end)
				t->p = t->end;
			continue;
		}
		memset(bytes, 0, sizeof(bytes));
		if (!gdb_take_bytes(t, bytes, gdb_regs[i].bits / 8)) {
			gdb_put_error(r, EINVAL);
			return;
		}
		if (same_register(vcpu, &gdb_regs[i], &fpu, bytes))
			continue;
		if (!put_register(vcpu, &gdb_regs[i], &fpu, bytes, &changed)) {
			gdb_put_error(r, EIO);
			return;
		}
	}
	if (write_fpu(vcpu, &fpu, changed))
		gdb_put(r, "OK");
	else
		gdb_put_error(r, errno);
}

void
gdb_read_register(struct vcpu *vcpu, unsigned int n, struct gdb_reply *r)
{
	struct fpu_image fpu = { .len = 0 };
	uint8_t bytes[16];

	if (n >= NREGS)
		gdb_put_error(r, EINVAL);
	else if (!get_register(vcpu, &gdb_regs[n], &fpu, bytes))
		gdb_put_error(r, EIO);
	else
		gdb_put_hex(r, bytes, gdb_regs[n].bits / 8);
}

void
gdb_write_register(
    struct vcpu *vcpu, unsigned int n, struct gdb_text *t, struct gdb_reply *r)
{
	struct fpu_image fpu = { .len = 0 };
	bool changed = false;
	uint8_t bytes[16] = { 0 };

	if (n >= NREGS || !gdb_take_bytes(t, bytes, gdb_regs[n].bits / 8) ||
	    t->p != t->end)
		gdb_put_error(r, EINVAL);
	else if (!put_register(vcpu, &gdb_regs[n], &fpu, bytes, &changed) ||
	    !write_fpu(vcpu, &fpu, changed))
		gdb_put_error(r, EIO);
	else
		gdb_put(r, "OK");
}
