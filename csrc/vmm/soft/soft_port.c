/*
 * Port accesses: chips of the vmm answer at once, everything else leaves
 * through an exit and is completed by the next entry.
 */
#include <string.h>

#include "soft_core_local.h"
#include "vmm_stat.h"

static void
port_exit(struct softcpu *cpu, const struct insn *in, uint16_t port, int bytes,
    bool write, bool string, uint32_t val)
{
	struct vm_exit *vme = cpu->vme;

	/* vmm_run() counts the exit itself. */
	vmm_stat_incr(cpu->vcpu, VMEXIT_INOUT, 1);
	cpu->rip = soft_rip(cpu, in);
	cpu->stop = STOP_EXIT;
	memset(vme, 0, sizeof(*vme));
	vme->exitcode = string ? VM_EXITCODE_INOUT_STR : VM_EXITCODE_INOUT;
	vme->inst_length = in->len;
	vme->rip = cpu->rip;
	vme->u.inout.bytes = (uint8_t)bytes;
	vme->u.inout.in = !write;
	vme->u.inout.string = string;
	vme->u.inout.rep = (in->flags & (IN_REP | IN_REPNE)) != 0;
	vme->u.inout.port = port;
	vme->u.inout.eax = write ? val : 0;
}

/* A chip of the vmm answers: an exit of the kind that stays inside. */
static bool
port_inside(
    struct softcpu *cpu, bool in, uint16_t port, int bytes, uint32_t *val)
{
	if (!vmm_handle_inout(cpu->vcpu, in, port, bytes, val))
		return (false);
	vmm_stat_inside(cpu->vcpu, VMEXIT_INOUT);
	cpu->core->ev_pending = true;
	return (true);
}

static bool
port_access(struct softcpu *cpu, const struct insn *in, uint16_t port,
    int bytes, bool write, bool string, uint32_t *val)
{
	struct soft_io *io;
	uint32_t v;

	if (!(cpu->mode & MODE_TF) && !string) {
		/* Nothing behind the access can make it happen again. */
		if (port_inside(cpu, !write, port, bytes, val))
			return (true);
	} else if (!(cpu->mode & MODE_TF)) {
		cpu->rip = soft_rip(cpu, in);
		cpu->stop = STOP_RETRY;
		cpu->core->want_step = true;
		return (false);
	}
	io = soft_io_get(cpu, in, true, write, port, bytes);
	if (io == NULL)
		return (false);
	if (!io->done) {
		v = write ? *val : 0;
		io->data = v;
		if (!(cpu->mode & MODE_TF) ||
		    !port_inside(cpu, !write, port, bytes, &v)) {
			port_exit(cpu, in, port, bytes, write, string, v);
			return (false);
		}
		io->data = v;
		io->done = true;
	}
	cpu->io_next++;
	if (!write)
		*val = (uint32_t)io->data;
	return (true);
}

/* *val gets the value read; bytes past (bytes) are not meaningful. */
bool
soft_port_in(struct softcpu *cpu, const struct insn *in, uint16_t port,
    int bytes, bool string, uint32_t *val)
{
	return (port_access(cpu, in, port, bytes, false, string, val));
}

bool
soft_port_out(struct softcpu *cpu, const struct insn *in, uint16_t port,
    int bytes, bool string, uint32_t val)
{
	return (port_access(cpu, in, port, bytes, true, string, &val));
}
