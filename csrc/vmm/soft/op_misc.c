/*
 * CPUID, time stamps, PAUSE, hints, fences, cache line control, hardware
 * random numbers.
 */
#include <sched.h>

#include "sys_local.h"
#include "vmm_stat.h"

static __attribute__((__noinline__)) void
cpuid(struct softcpu *cpu)
{
	uint32_t a, b, c, d;

	a = (uint32_t)cpu->gpr[R_AX];
	b = 0;
	c = (uint32_t)cpu->gpr[R_CX];
	d = 0;
	vmm_stat_inside(cpu->vcpu, VMEXIT_CPUID);
	x86_emulate_cpuid(cpu->vcpu, &a, &b, &c, &d);
	cpu->gpr[R_AX] = a;
	cpu->gpr[R_BX] = b;
	cpu->gpr[R_CX] = c;
	cpu->gpr[R_DX] = d;
}

/* x86_emulate_cpuid() reads registers of this vCPU: rip is exact. */
static void
op_cpuid(struct softcpu *cpu, const struct insn *in)
{
	cpu->rip = soft_rip(cpu, in);
	cpuid(cpu);
	SOFT_NEXT(cpu, in);
}

/* in->arg: 0 RDTSC, 1 RDTSCP. */
static void
op_rdtsc(struct softcpu *cpu, const struct insn *in)
{
	uint64_t tsc;

	if ((cpu->cr4 & CR4_TSD) && cpu->cpl != 0) {
		soft_fault_err(cpu, in, X_GP, 0);
		return;
	}
	tsc = soft_rdtsc(cpu);
	cpu->gpr[R_AX] = (uint32_t)tsc;
	cpu->gpr[R_DX] = tsc >> 32;
	if (in->arg)
		cpu->gpr[R_CX] = (uint32_t)cpu->tsc_aux;
	SOFT_NEXT(cpu, in);
}

/* CPUID shows no counters: every index is out of range. */
static void
op_rdpmc(struct softcpu *cpu, const struct insn *in)
{
	soft_fault_err(cpu, in, X_GP, 0);
}

static void
op_rdpid(struct softcpu *cpu, const struct insn *in)
{
	cpu->gpr[in->rm] = (uint32_t)cpu->tsc_aux;
	SOFT_NEXT(cpu, in);
}

BIND(cpuid, op_cpuid)
BIND(rdtsc, op_rdtsc)
BIND(rdpmc, op_rdpmc)
BIND(rdpid, op_rdpid)

/*
 * A guest that spins waits for another vCPU, which may need this host CPU:
 * every 256th PAUSE gives it away.
 */
static void
op_pause(struct softcpu *cpu, const struct insn *in)
{
	if (cpu->caps & (1u << VM_CAP_PAUSE_EXIT)) {
		cpu->vme->exitcode = VM_EXITCODE_PAUSE;
		cpu->vme->rip = soft_rip(cpu, in);
		cpu->vme->inst_length = in->len;
		cpu->rip = soft_rip_next(cpu, in);
		cpu->stop = STOP_EXIT;
		return;
	}
	if ((++cpu->pauses & 0xff) == 0)
		sched_yield();
	else
		__builtin_ia32_pause();
	SOFT_NEXT(cpu, in);
}

static void
op_nop(struct softcpu *cpu, const struct insn *in)
{
	SOFT_NEXT(cpu, in);
}

static void
op_ud(struct softcpu *cpu, const struct insn *in)
{
	soft_fault(cpu, in, X_UD);
}

BIND(pause, op_pause)
BIND(nop, op_nop)
BIND(ud, op_ud)

/* Plain accesses are host accesses: a host fence orders them. */
static void
op_mfence(struct softcpu *cpu, const struct insn *in)
{
	__builtin_ia32_mfence();
	SOFT_NEXT(cpu, in);
}
static void
op_sfence(struct softcpu *cpu, const struct insn *in)
{
	__builtin_ia32_sfence();
	SOFT_NEXT(cpu, in);
}
static void
op_lfence(struct softcpu *cpu, const struct insn *in)
{
	__asm__ __volatile__("" ::: "memory");
	SOFT_NEXT(cpu, in);
}

BIND(mfence, op_mfence)
BIND(sfence, op_sfence)
BIND(lfence, op_lfence)

/* CLFLUSH, CLFLUSHOPT, CLWB fault like a load of the byte. */
static __attribute__((__noinline__)) bool
clflush_probe(struct softcpu *cpu, const struct insn *in)
{
	uint64_t lin;
	uint8_t byte;

	return (
	    soft_ea(cpu, in, 1, false, &lin) && soft_ld8(cpu, in, lin, &byte));
}

static void
op_clflush(struct softcpu *cpu, const struct insn *in)
{
	if (!clflush_probe(cpu, in))
		return;
	SOFT_NEXT(cpu, in);
}
BIND(clflush, op_clflush)

/* CF tells success; the host's generator may be momentarily dry. */
static void
op_rdrand(struct softcpu *cpu, const struct insn *in)
{
	uint64_t val;
	uint8_t ok;

	__asm__ __volatile__("rdrand %0; setc %1"
			     : "=r"(val), "=qm"(ok)
			     :
			     : "cc");
	if (!ok)
		val = 0;
	if (in->aux == 2)
		WREG(cpu, in->rm) = (uint16_t)val;
	else
		cpu->gpr[in->rm] = in->aux == 4 ? (uint32_t)val : val;
	cpu->cc = ok ? CC_CF : 0;
	SOFT_NEXT(cpu, in);
}
BIND(rdrand, op_rdrand)
