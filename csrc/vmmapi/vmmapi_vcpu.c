/*
 * vCPUs by libvmmapi: registers, descriptors, capabilities, sets of vCPUs,
 * and states in versioned classes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmmapi_local.h"

struct vcpu *
vm_vcpu_open(struct vmctx *ctx, int vcpuid)
{
	struct vcpu *vcpu;

	if (vcpuid < 0 || vcpuid >= VM_MAXCPU) {
		errno = EINVAL;
		return (NULL);
	}
	vcpu = malloc(sizeof(*vcpu));
	if (vcpu == NULL)
		return (NULL);
	vcpu->ctx = ctx;
	vcpu->vcpuid = vcpuid;
	return (vcpu);
}

void
vm_vcpu_close(struct vcpu *vcpu)
{
	free(vcpu);
}

int
vcpu_id(struct vcpu *vcpu)
{
	return (vcpu->vcpuid);
}

struct vmctx *
vcpu_ctx(struct vcpu *vcpu)
{
	return (vcpu->ctx);
}

/* Commands that take a vCPU and nothing else. */
static int
vcpu_command(struct vcpu *vcpu, uint32_t cmd)
{
	struct vm_vcpuid a = { vcpu->vcpuid, 0 };

	return (VMIOC(vcpu->ctx, cmd, &a));
}

int
vm_activate_cpu(struct vcpu *vcpu)
{
	return (vcpu_command(vcpu, VM_ACTIVATE_CPU));
}

int
vm_suspend_cpu(struct vcpu *vcpu)
{
	return (vcpu_command(vcpu, VM_SUSPEND_CPU));
}

int
vm_resume_cpu(struct vcpu *vcpu)
{
	return (vcpu_command(vcpu, VM_RESUME_CPU));
}

int
vm_suspend_all_cpus(struct vmctx *ctx)
{
	struct vm_vcpuid a = { -1, 0 };

	return (VMIOC(ctx, VM_SUSPEND_CPU, &a));
}

int
vm_resume_all_cpus(struct vmctx *ctx)
{
	struct vm_vcpuid a = { -1, 0 };

	return (VMIOC(ctx, VM_RESUME_CPU, &a));
}

static int
get_cpus(struct vmctx *ctx, int which, uint64_t *cpus)
{
	struct vm_cpuset a = { .which = which };

	if (VMIOC(ctx, VM_GET_CPUS, &a) != 0)
		return (-1);
	*cpus = a.cpus;
	return (0);
}

int
vm_active_cpus(struct vmctx *ctx, uint64_t *cpus)
{
	return (get_cpus(ctx, VM_ACTIVE_CPUS, cpus));
}

int
vm_suspended_cpus(struct vmctx *ctx, uint64_t *cpus)
{
	return (get_cpus(ctx, VM_SUSPENDED_CPUS, cpus));
}

int
vm_debug_cpus(struct vmctx *ctx, uint64_t *cpus)
{
	return (get_cpus(ctx, VM_DEBUG_CPUS, cpus));
}

/* A vCPU's APIC id is its number. */
int
vm_apicid2vcpu(struct vmctx *ctx, int apicid)
{
	(void)ctx;
	return (apicid);
}

int
vm_set_topology(struct vmctx *ctx, uint16_t sockets, uint16_t cores,
    uint16_t threads, uint16_t maxcpus)
{
	struct vm_cpu_topology a = { sockets, cores, threads, maxcpus };

	return (VMIOC(ctx, VM_SET_TOPOLOGY, &a));
}

int
vm_get_topology(struct vmctx *ctx, uint16_t *sockets, uint16_t *cores,
    uint16_t *threads, uint16_t *maxcpus)
{
	struct vm_cpu_topology a = { 0 };

	if (VMIOC(ctx, VM_GET_TOPOLOGY, &a) != 0)
		return (-1);
	*sockets = a.sockets;
	*cores = a.cores;
	*threads = a.threads;
	*maxcpus = a.maxcpus;
	return (0);
}

int
vm_restart_instruction(struct vcpu *vcpu)
{
	return (vcpu_command(vcpu, VM_RESTART_INSTRUCTION));
}

int
vm_get_run_state(struct vcpu *vcpu, uint32_t *state, uint8_t *sipi)
{
	struct vm_run_state a = { .vcpuid = vcpu->vcpuid };

	if (VMIOC(vcpu->ctx, VM_GET_RUN_STATE, &a) != 0)
		return (-1);
	*state = a.state;
	*sipi = a.sipi_vector;
	return (0);
}

int
vm_set_run_state(struct vcpu *vcpu, uint32_t state, uint8_t sipi)
{
	struct vm_run_state a = {
		.vcpuid = vcpu->vcpuid, .state = state, .sipi_vector = sipi
	};

	return (VMIOC(vcpu->ctx, VM_SET_RUN_STATE, &a));
}

/* ---- registers ---- */

int
vm_set_register(struct vcpu *vcpu, int reg, uint64_t val)
{
	struct vm_register a = { vcpu->vcpuid, reg, val };

	return (VMIOC(vcpu->ctx, VM_SET_REGISTER, &a));
}

int
vm_get_register(struct vcpu *vcpu, int reg, uint64_t *val)
{
	struct vm_register a = { vcpu->vcpuid, reg, 0 };

	if (VMIOC(vcpu->ctx, VM_GET_REGISTER, &a) != 0)
		return (-1);
	*val = a.regval;
	return (0);
}

int
vm_set_register_set(struct vcpu *vcpu, unsigned int count, const int *regs,
    const uint64_t *vals)
{
	struct vm_register_set a = { .vcpuid = vcpu->vcpuid, .count = count };

	if (count > VM_REGSET_MAX)
		return (vmapi_error(EINVAL));
	memcpy(a.regnums, regs, count * sizeof(regs[0]));
	memcpy(a.regvals, vals, count * sizeof(vals[0]));
	return (VMIOC(vcpu->ctx, VM_SET_REGISTER_SET, &a));
}

int
vm_get_register_set(
    struct vcpu *vcpu, unsigned int count, const int *regs, uint64_t *vals)
{
	struct vm_register_set a = { .vcpuid = vcpu->vcpuid, .count = count };

	if (count > VM_REGSET_MAX)
		return (vmapi_error(EINVAL));
	memcpy(a.regnums, regs, count * sizeof(regs[0]));
	if (VMIOC(vcpu->ctx, VM_GET_REGISTER_SET, &a) != 0)
		return (-1);
	memcpy(vals, a.regvals, count * sizeof(vals[0]));
	return (0);
}

int
vm_set_desc(
    struct vcpu *vcpu, int reg, uint64_t base, uint32_t limit, uint32_t access)
{
	struct vm_seg_desc a = { vcpu->vcpuid, reg, { base, limit, access } };

	return (VMIOC(vcpu->ctx, VM_SET_SEGMENT_DESCRIPTOR, &a));
}

int
vm_get_seg_desc(struct vcpu *vcpu, int reg, struct seg_desc *desc)
{
	struct vm_seg_desc a = { .vcpuid = vcpu->vcpuid, .regnum = reg };

	if (VMIOC(vcpu->ctx, VM_GET_SEGMENT_DESCRIPTOR, &a) != 0)
		return (-1);
	*desc = a.desc;
	return (0);
}

int
vm_get_desc(struct vcpu *vcpu, int reg, uint64_t *base, uint32_t *limit,
    uint32_t *access)
{
	struct seg_desc desc;

	if (vm_get_seg_desc(vcpu, reg, &desc) != 0)
		return (-1);
	*base = desc.base;
	*limit = desc.limit;
	*access = desc.access;
	return (0);
}

int
vm_get_msr(struct vcpu *vcpu, uint32_t msr, uint64_t *val)
{
	struct vm_register a = { vcpu->vcpuid, (int32_t)msr, 0 };

	if (VMIOC(vcpu->ctx, VM_GET_MSR, &a) != 0)
		return (-1);
	*val = a.regval;
	return (0);
}

int
vm_set_msr(struct vcpu *vcpu, uint32_t msr, uint64_t val)
{
	struct vm_register a = { vcpu->vcpuid, (int32_t)msr, val };

	return (VMIOC(vcpu->ctx, VM_SET_MSR, &a));
}

/* ---- capabilities ---- */

int
vm_get_capability(struct vcpu *vcpu, int type, int *val)
{
	struct vm_capability a = { vcpu->vcpuid, type, 0, 0 };

	if (VMIOC(vcpu->ctx, VM_GET_CAPABILITY, &a) != 0)
		return (-1);
	*val = a.capval;
	return (0);
}

int
vm_set_capability(struct vcpu *vcpu, int type, int val)
{
	struct vm_capability a = { vcpu->vcpuid, type, val, 0 };

	return (VMIOC(vcpu->ctx, VM_SET_CAPABILITY, &a));
}

int
vm_set_debugregs(struct vcpu *vcpu, const uint64_t dr[4], uint64_t dr7)
{
	struct vm_debugregs a = { .vcpuid = vcpu->vcpuid, .dr7 = dr7 };

	memcpy(a.dr, dr, sizeof(a.dr));
	return (VMIOC(vcpu->ctx, VM_SET_DEBUGREGS, &a));
}

int
vm_get_tsc_offset(struct vcpu *vcpu, uint64_t *offset)
{
	struct vm_register a = { .vcpuid = vcpu->vcpuid };

	if (VMIOC(vcpu->ctx, VM_GET_TSC_OFFSET, &a) != 0)
		return (-1);
	*offset = a.regval;
	return (0);
}

/* ---- versioned classes ---- */

int
vm_data_read(struct vmctx *ctx, int vcpuid, uint16_t cls, uint16_t version,
    void *buf, size_t len)
{
	struct vm_data_xfer a = {
		.vcpuid = vcpuid, .cls = cls, .version = version
	};

	a.len = len < VM_DATA_XFER_LIMIT ? (uint32_t)len : VM_DATA_XFER_LIMIT;
	if (VMIOC(ctx, VM_DATA_READ, &a) != 0)
		return (-1);
	if (a.result_len > len || a.result_len > VM_DATA_XFER_LIMIT)
		return (vmapi_error(EPROTO));
	memcpy(buf, a.data, a.result_len);
	return ((int)a.result_len);
}

int
vm_data_write(struct vmctx *ctx, int vcpuid, uint16_t cls, uint16_t version,
    const void *buf, size_t len)
{
	struct vm_data_xfer a = { .vcpuid = vcpuid,
		.cls = cls,
		.version = version,
		.len = (uint32_t)len };

	if (len > VM_DATA_XFER_LIMIT)
		return (vmapi_error(EINVAL));
	memcpy(a.data, buf, len);
	return (VMIOC(ctx, VM_DATA_WRITE, &a));
}
