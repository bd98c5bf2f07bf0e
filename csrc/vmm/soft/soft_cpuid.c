/*
 * CPUID bits that this engine implements.  Instruction sets follow from the
 * opcode rows (soft_features()); system features are listed here.  PCID is
 * not, nor INVPCID: translations carry no tag.
 */
#include "soft_core_local.h"

struct feature_bit {
	uint32_t sf; /* rows needed; 0: always there */
	uint8_t reg; /* 0-3: eax ebx ecx edx */
	uint8_t bit;
};
enum { EAX, EBX, ECX, EDX };

static const struct feature_bit leaf1[] = {
	{ SF_SSE3, ECX, 0 }, { SF_PCLMUL, ECX, 1 }, { SF_SSSE3, ECX, 9 },
	{ SF_CX16, ECX, 13 }, { SF_SSE41, ECX, 19 }, { SF_SSE42, ECX, 20 },
	{ 0, ECX, 21 }, /* x2APIC */
	{ SF_MOVBE, ECX, 22 }, { SF_POPCNT, ECX, 23 },
	{ 0, ECX, 24 }, /* TSC deadline */
	{ SF_AES, ECX, 25 }, { SF_XSAVE, ECX, 26 },
	{ SF_XSAVE, ECX, 27 },			/* OSXSAVE */
	{ SF_RDRAND, ECX, 30 }, { 0, ECX, 31 }, /* hypervisor */
	{ 0, EDX, 0 },				/* FPU */
	{ 0, EDX, 1 },				/* VME */
	{ 0, EDX, 2 },				/* DE */
	{ 0, EDX, 3 },				/* PSE */
	{ 0, EDX, 4 },				/* TSC */
	{ 0, EDX, 5 },				/* MSR */
	{ 0, EDX, 6 },				/* PAE */
	{ 0, EDX, 7 },				/* MCE */
	{ SF_CX8, EDX, 8 }, { 0, EDX, 9 },	/* APIC */
	{ 0, EDX, 11 },				/* SEP */
	{ 0, EDX, 12 },				/* MTRR */
	{ 0, EDX, 13 },				/* PGE */
	{ 0, EDX, 14 },				/* MCA */
	{ SF_CMOV, EDX, 15 }, { 0, EDX, 16 },	/* PAT */
	{ 0, EDX, 17 },				/* PSE-36 */
	{ SF_CLFLUSH, EDX, 19 }, { SF_MMX, EDX, 23 }, { SF_FXSR, EDX, 24 },
	{ SF_SSE, EDX, 25 }, { SF_SSE2, EDX, 26 },
	{ 0, EDX, 28 }, /* HTT: topology */
};

static const struct feature_bit leaf7[] = {
	{ SF_FSGSBASE, EBX, 0 }, { SF_BMI1, EBX, 3 },
	{ 0, EBX, 6 }, /* x87 data pointer is exact on exceptions only */
	{ 0, EBX, 7 }, /* SMEP */
	{ SF_BMI2, EBX, 8 }, { 0, EBX, 9 },   /* ERMS */
	{ SF_ADX, EBX, 19 }, { 0, EBX, 20 },  /* SMAP */
	{ SF_CLFLUSH, EBX, 23 },	      /* CLFLUSHOPT */
	{ SF_CLFLUSH, EBX, 24 },	      /* CLWB */
	{ 0, ECX, 2 },			      /* UMIP */
	{ SF_RDPID, ECX, 22 }, { 0, EDX, 4 }, /* fast short REP MOV */
};

static const struct feature_bit leaf8_1[] = {
	{ 0, ECX, 0 },			     /* LAHF in 64-bit mode */
	{ 0, ECX, 1 },			     /* CmpLegacy: topology */
	{ SF_LZCNT, ECX, 5 }, { 0, ECX, 8 }, /* PREFETCHW */
	{ 0, ECX, 22 },			     /* topology extensions */
	/* EDX 0-9, 12-17, 23, 24: AMD repeats leaf 1. */
	{ 0, EDX, 0 }, { 0, EDX, 1 }, { 0, EDX, 2 }, { 0, EDX, 3 },
	{ 0, EDX, 4 }, { 0, EDX, 5 }, { 0, EDX, 6 }, { 0, EDX, 7 },
	{ SF_CX8, EDX, 8 }, { 0, EDX, 9 }, { 0, EDX, 11 }, /* SYSCALL */
	{ 0, EDX, 12 }, { 0, EDX, 13 }, { 0, EDX, 14 }, { SF_CMOV, EDX, 15 },
	{ 0, EDX, 16 }, { 0, EDX, 17 }, { 0, EDX, 20 }, /* NX */
	{ SF_MMX, EDX, 23 }, { SF_FXSR, EDX, 24 },
	{ 0, EDX, 26 },				/* 1 GiB pages */
	{ SF_RDTSCP, EDX, 27 }, { 0, EDX, 29 }, /* long mode */
};

static void
mask_by(const struct feature_bit *f, size_t n, uint32_t regs, uint32_t r[4])
{
	uint32_t have, mask[4] = { 0, 0, 0, 0 };
	size_t i;

	have = soft_features();
	for (i = 0; i < n; i++)
		if ((f[i].sf & ~have) == 0)
			mask[f[i].reg] |= 1u << f[i].bit;
	/* Only the registers that hold feature bits. */
	for (i = 0; i < 4; i++)
		if (regs & (1u << i))
			r[i] &= mask[i];
}
#define MASK_BY(table, regs, r) \
	mask_by(table, sizeof(table) / sizeof((table)[0]), regs, r)

/* Leaf 0xd: x87 and SSE state; XSAVEOPT, XSAVEC, XGETBV of XINUSE. */
static void
mask_xsave(uint32_t subleaf, uint32_t r[4])
{
	switch (subleaf) {
	case 0:
		r[0] &= 3;
		r[3] = 0;
		/* 512 bytes of legacy area and the 64-byte header. */
		if (r[1] > 576)
			r[1] = 576;
		if (r[2] > 576)
			r[2] = 576;
		break;
	case 1:
		r[0] &= 7;
		r[2] = r[3] = 0;
		break;
	default:
		r[0] = r[1] = r[2] = r[3] = 0;
		break;
	}
}

void
soft_cpuid_mask(void *vmi, uint32_t leaf, uint32_t subleaf, uint32_t r[4])
{
	switch (leaf) {
	case 1:
		MASK_BY(leaf1, 1u << ECX | 1u << EDX, r);
		break;
	case 5:	   /* MONITOR and MWAIT */
	case 0xa:  /* performance counters */
	case 0x12: /* SGX */
	case 0x14: /* processor trace */
		r[0] = r[1] = r[2] = r[3] = 0;
		break;
	case 7:
		if (subleaf != 0)
			r[0] = r[1] = r[2] = r[3] = 0;
		r[0] = 0; /* no further subleaf */
		MASK_BY(leaf7, 1u << EBX | 1u << ECX | 1u << EDX, r);
		break;
	case 0xd:
		mask_xsave(subleaf, r);
		break;
	case 0x80000001:
		MASK_BY(leaf8_1, 1u << ECX | 1u << EDX, r);
		break;
	case 0x80000007:
		r[0] = r[1] = r[2] = 0;
		r[3] &= 1u << 8; /* invariant TSC */
		break;
	case 0x80000008:
		/* No CLZERO, WBNOINVD, IBPB and the like; 48-bit linear. */
		r[1] = 0;
		r[0] = (r[0] & ~0xff00u) | 48u << 8;
		break;
	case 0x8000000a: /* SVM */
	case 0x8000001b: /* IBS */
	case 0x8000001c: /* LWP */
	case 0x8000001f: /* memory encryption */
	case 0x80000020: /* bandwidth enforcement */
	case 0x80000022: /* performance monitoring */
		r[0] = r[1] = r[2] = r[3] = 0;
		break;
	case 0x80000021:
		/* LFENCE is serializing; a null selector clears the base. */
		r[0] &= 1u << 2 | 1u << 6;
		r[1] = r[2] = r[3] = 0;
		break;
	default:
		break;
	}
}
