/*
 * The modern PCI interface of virtio (Virtual I/O Device specification 1.1,
 * 4.1.4): vendor capabilities that point into one memory BAR, and the window
 * into it by configuration space.
 */
#include <errno.h>
#include <string.h>

#include "virtio_local.h"

#define VIRTIO_PCI_CAP_COMMON_CFG 1
#define VIRTIO_PCI_CAP_NOTIFY_CFG 2
#define VIRTIO_PCI_CAP_ISR_CFG 3
#define VIRTIO_PCI_CAP_DEVICE_CFG 4
#define VIRTIO_PCI_CAP_PCI_CFG 5

/* Where the structures are in the BAR: a page each. */
#define COMMON_OFFSET 0x0000
#define ISR_OFFSET 0x1000
#define DEVICE_OFFSET 0x2000
#define NOTIFY_OFFSET 0x3000
#define STRUCT_SIZE 0x1000
#define NOTIFY_MULTIPLIER 4

/* struct virtio_pci_common_cfg. */
#define VIRTIO_PCI_COMMON_DFSELECT 0
#define VIRTIO_PCI_COMMON_DF 4
#define VIRTIO_PCI_COMMON_GFSELECT 8
#define VIRTIO_PCI_COMMON_GF 12
#define VIRTIO_PCI_COMMON_MSIX 16
#define VIRTIO_PCI_COMMON_NUMQ 18
#define VIRTIO_PCI_COMMON_STATUS 20
#define VIRTIO_PCI_COMMON_CFGGENERATION 21
#define VIRTIO_PCI_COMMON_Q_SELECT 22
#define VIRTIO_PCI_COMMON_Q_SIZE 24
#define VIRTIO_PCI_COMMON_Q_MSIX 26
#define VIRTIO_PCI_COMMON_Q_ENABLE 28
#define VIRTIO_PCI_COMMON_Q_NOFF 30
#define VIRTIO_PCI_COMMON_Q_DESCLO 32
#define VIRTIO_PCI_COMMON_Q_DESCHI 36
#define VIRTIO_PCI_COMMON_Q_AVAILLO 40
#define VIRTIO_PCI_COMMON_Q_AVAILHI 44
#define VIRTIO_PCI_COMMON_Q_USEDLO 48
#define VIRTIO_PCI_COMMON_Q_USEDHI 52
#define COMMON_SIZE 56

static const uint8_t common_size[COMMON_SIZE] = {
	[VIRTIO_PCI_COMMON_DFSELECT] = 4,
	[VIRTIO_PCI_COMMON_DF] = 4,
	[VIRTIO_PCI_COMMON_GFSELECT] = 4,
	[VIRTIO_PCI_COMMON_GF] = 4,
	[VIRTIO_PCI_COMMON_MSIX] = 2,
	[VIRTIO_PCI_COMMON_NUMQ] = 2,
	[VIRTIO_PCI_COMMON_STATUS] = 1,
	[VIRTIO_PCI_COMMON_CFGGENERATION] = 1,
	[VIRTIO_PCI_COMMON_Q_SELECT] = 2,
	[VIRTIO_PCI_COMMON_Q_SIZE] = 2,
	[VIRTIO_PCI_COMMON_Q_MSIX] = 2,
	[VIRTIO_PCI_COMMON_Q_ENABLE] = 2,
	[VIRTIO_PCI_COMMON_Q_NOFF] = 2,
	[VIRTIO_PCI_COMMON_Q_DESCLO] = 4,
	[VIRTIO_PCI_COMMON_Q_DESCHI] = 4,
	[VIRTIO_PCI_COMMON_Q_AVAILLO] = 4,
	[VIRTIO_PCI_COMMON_Q_AVAILHI] = 4,
	[VIRTIO_PCI_COMMON_Q_USEDLO] = 4,
	[VIRTIO_PCI_COMMON_Q_USEDHI] = 4,
};

/* struct virtio_pci_cap, virtio_pci_notify_cap and virtio_pci_cfg_cap. */
struct vi_cap {
	uint8_t cap_vndr, cap_next, cap_len, cfg_type;
	uint8_t bar, id, padding[2];
	uint32_t offset, length;
	uint32_t extra;
} __attribute__((__packed__));
_Static_assert(sizeof(struct vi_cap) == 20, "virtio capability");
#define CAP_LEN 16
#define CAP_EXTRA_LEN 20
#define CAPR_BAR 4
#define CAPR_OFFSET 8
#define CAPR_LENGTH 12
#define CAPR_DATA 16

/* ---- set-up ---- */

static int
add_cap(struct virtio_softc *vs, uint8_t type, uint32_t offset, uint32_t length,
    uint8_t len, uint32_t extra)
{
	struct vi_cap cap = {
		.cap_vndr = PCIY_VENDOR,
		.cap_len = len,
		.cfg_type = type,
		.bar = type == VIRTIO_PCI_CAP_PCI_CFG ? 0 : VI_MODERN_BAR,
		.offset = offset,
		.length = length,
		.extra = extra,
	};

	return (pci_emul_add_capability(vs->vs_pi, (const uint8_t *)&cap, len));
}

int
vi_modern_init(struct virtio_softc *vs)
{
	int error;

	if (vs->vs_vc->vc_cfgsize > STRUCT_SIZE ||
	    vs->vs_vc->vc_nvq * NOTIFY_MULTIPLIER > STRUCT_SIZE)
		return (EINVAL);
	error = pci_emul_alloc_bar(
	    vs->vs_pi, VI_MODERN_BAR, PCIBAR_MEM32, VI_MODERN_BARSIZE);
	if (error == 0)
		error = add_cap(vs, VIRTIO_PCI_CAP_COMMON_CFG, COMMON_OFFSET,
		    STRUCT_SIZE, CAP_LEN, 0);
	if (error == 0)
		error = add_cap(vs, VIRTIO_PCI_CAP_ISR_CFG, ISR_OFFSET,
		    STRUCT_SIZE, CAP_LEN, 0);
	if (error == 0 && vs->vs_vc->vc_cfgsize != 0)
		error = add_cap(vs, VIRTIO_PCI_CAP_DEVICE_CFG, DEVICE_OFFSET,
		    STRUCT_SIZE, CAP_LEN, 0);
	if (error == 0)
		error = add_cap(vs, VIRTIO_PCI_CAP_NOTIFY_CFG, NOTIFY_OFFSET,
		    STRUCT_SIZE, CAP_EXTRA_LEN, NOTIFY_MULTIPLIER);
	if (error == 0)
		error =
		    add_cap(vs, VIRTIO_PCI_CAP_PCI_CFG, 0, 0, CAP_EXTRA_LEN, 0);
	if (error != 0)
		return (error);
	vs->vs_pcicfg_cap = vs->vs_pi->pi_prevcap;
	vs->vs_modern = true;
	return (0);
}

/* ---- the common structure ---- */

static uint32_t
half(uint64_t val, bool high)
{
	return ((uint32_t)(high ? val >> 32 : val));
}

static void
set_half(uint64_t *reg, bool high, uint32_t val)
{
	if (high)
		*reg = (*reg & 0xffffffffUL) | (uint64_t)val << 32;
	else
		*reg = (*reg & ~0xffffffffUL) | val;
}

/* The 64-bit register of a queue that the offset is half of. */
static uint64_t *
queue_address(struct vqueue_info *vq, uint64_t offset)
{
	switch (offset & ~7UL) {
	case VIRTIO_PCI_COMMON_Q_DESCLO:
		return (&vq->vq_gpa_desc);
	case VIRTIO_PCI_COMMON_Q_AVAILLO:
		return (&vq->vq_gpa_avail);
	default:
		return (&vq->vq_gpa_used);
	}
}

static bool
queue_enabled(struct vqueue_info *vq)
{
	return ((atomic_load(&vq->vq_flags) & (VQ_ALLOC | VQ_BROKED)) != 0);
}

static uint32_t
queue_read(struct virtio_softc *vs, uint64_t offset)
{
	struct vqueue_info *vq;

	vq = vi_curq(vs);
	if (vq == NULL)
		return (offset == VIRTIO_PCI_COMMON_Q_MSIX
			? VIRTIO_MSI_NO_VECTOR
			: 0);
	switch (offset) {
	case VIRTIO_PCI_COMMON_Q_SIZE:
		return (vq->vq_qsize);
	case VIRTIO_PCI_COMMON_Q_MSIX:
		return (vq->vq_msix_idx);
	case VIRTIO_PCI_COMMON_Q_ENABLE:
		return (queue_enabled(vq));
	case VIRTIO_PCI_COMMON_Q_NOFF:
		return (vq->vq_num);
	default:
		return (half(*queue_address(vq, offset), (offset & 4) != 0));
	}
}

static uint32_t
common_read(struct virtio_softc *vs, uint64_t offset, int size)
{
	/* iPXE of 2019 reads the lower halves of 32-bit registers. */
	if (offset >= COMMON_SIZE || common_size[offset] < size)
		return (0xffffffffu);
	switch (offset) {
	case VIRTIO_PCI_COMMON_DFSELECT:
		return (vs->vs_dfselect);
	case VIRTIO_PCI_COMMON_DF:
		return (vs->vs_dfselect > 1
			? 0
			: half(vi_hv_caps(vs), vs->vs_dfselect == 1));
	case VIRTIO_PCI_COMMON_GFSELECT:
		return (vs->vs_gfselect);
	case VIRTIO_PCI_COMMON_GF:
		return (vs->vs_gfselect > 1
			? 0
			: half(vs->vs_gfeatures, vs->vs_gfselect == 1));
	case VIRTIO_PCI_COMMON_MSIX:
		return (vs->vs_msix_cfg_idx);
	case VIRTIO_PCI_COMMON_NUMQ:
		return ((uint32_t)vs->vs_vc->vc_nvq);
	case VIRTIO_PCI_COMMON_STATUS:
		return (atomic_load(&vs->vs_status));
	case VIRTIO_PCI_COMMON_CFGGENERATION:
		return (atomic_load(&vs->vs_cfggen));
	case VIRTIO_PCI_COMMON_Q_SELECT:
		return (vs->vs_curq);
	default:
		return (queue_read(vs, offset));
	}
}

static void
queue_write(struct virtio_softc *vs, uint64_t offset, uint32_t val)
{
	struct vqueue_info *vq;

	vq = vi_curq(vs);
	if (vq == NULL)
		return;
	if (offset == VIRTIO_PCI_COMMON_Q_MSIX) {
		vq->vq_msix_idx = vi_vector(vs, val);
		return;
	}
	/* What an enabled queue is made of does not change any more. */
	if (queue_enabled(vq))
		return;
	switch (offset) {
	case VIRTIO_PCI_COMMON_Q_SIZE:
		if (val != 0 && val <= vq->vq_maxsize && (val & (val - 1)) == 0)
			vq->vq_qsize = (uint16_t)val;
		break;
	case VIRTIO_PCI_COMMON_Q_ENABLE:
		if (val == 1 && vq->vq_qsize != 0 &&
		    (atomic_load(&vs->vs_status) &
			VIRTIO_CONFIG_S_FEATURES_OK) != 0) {
			vi_queue_lock(vq);
			vq_enable_modern(vq);
			vi_queue_unlock(vq);
		}
		break;
	case VIRTIO_PCI_COMMON_Q_NOFF:
		break;
	default:
		set_half(queue_address(vq, offset), (offset & 4) != 0, val);
		break;
	}
}

static void
common_write(struct virtio_softc *vs, uint64_t offset, int size, uint32_t val)
{
	if (offset >= COMMON_SIZE || common_size[offset] != size)
		return;
	switch (offset) {
	case VIRTIO_PCI_COMMON_DFSELECT:
		vs->vs_dfselect = val;
		break;
	case VIRTIO_PCI_COMMON_GFSELECT:
		vs->vs_gfselect = val;
		break;
	case VIRTIO_PCI_COMMON_GF:
		if (vs->vs_gfselect <= 1 &&
		    (atomic_load(&vs->vs_status) &
			VIRTIO_CONFIG_S_FEATURES_OK) == 0)
			set_half(&vs->vs_gfeatures, vs->vs_gfselect == 1, val);
		break;
	case VIRTIO_PCI_COMMON_MSIX:
		vs->vs_msix_cfg_idx = vi_vector(vs, val);
		break;
	case VIRTIO_PCI_COMMON_STATUS:
		vi_status_write(vs, (uint8_t)val);
		break;
	case VIRTIO_PCI_COMMON_Q_SELECT:
		vs->vs_curq = (uint16_t)val;
		break;
	case VIRTIO_PCI_COMMON_DF:
	case VIRTIO_PCI_COMMON_NUMQ:
	case VIRTIO_PCI_COMMON_CFGGENERATION:
		break; /* read-only */
	default:
		queue_write(vs, offset, val);
		break;
	}
}

/* ---- the BAR ---- */

uint32_t
vi_modern_read(struct virtio_softc *vs, uint64_t offset, int size)
{
	uint64_t reg;

	reg = offset % STRUCT_SIZE;
	switch (offset - reg) {
	case COMMON_OFFSET:
		return (common_read(vs, reg, size));
	case ISR_OFFSET:
		return (reg == 0 && size == 1 ? vi_isr_read(vs) : 0xffffffffu);
	case DEVICE_OFFSET:
		return (vi_cfgread(vs, reg, size));
	default:
		return (0);
	}
}

void
vi_modern_write(
    struct virtio_softc *vs, uint64_t offset, int size, uint32_t val)
{
	uint64_t reg;

	reg = offset % STRUCT_SIZE;
	switch (offset - reg) {
	case COMMON_OFFSET:
		common_write(vs, reg, size, val);
		break;
	case DEVICE_OFFSET:
		vi_cfgwrite(vs, reg, size, val);
		break;
	case NOTIFY_OFFSET:
		/* The address says which queue; the value repeats it. */
		if (reg % NOTIFY_MULTIPLIER == 0)
			vi_notify(vs, (uint32_t)(reg / NOTIFY_MULTIPLIER));
		break;
	default:
		break;
	}
}

uint64_t
vi_modern_notify_offset(int qnum)
{
	return (NOTIFY_OFFSET + (uint64_t)qnum * NOTIFY_MULTIPLIER);
}

/* ---- the window in configuration space ---- */

/* The access that the capability describes; false: none. */
static bool
window(struct virtio_softc *vs, int *bar, uint64_t *offset, int *size)
{
	struct pci_devinst *pi = vs->vs_pi;
	uint32_t length;

	*bar = pci_get_cfgdata8(pi, vs->vs_pcicfg_cap + CAPR_BAR);
	*offset = pci_get_cfgdata32(pi, vs->vs_pcicfg_cap + CAPR_OFFSET);
	length = pci_get_cfgdata32(pi, vs->vs_pcicfg_cap + CAPR_LENGTH);
	*size = (int)length;
	return (*bar == VI_MODERN_BAR &&
	    (length == 1 || length == 2 || length == 4) &&
	    *offset % length == 0 && *offset <= VI_MODERN_BARSIZE - length);
}

static bool
hits_data(struct virtio_softc *vs, int offset)
{
	return (vs->vs_modern && offset >= vs->vs_pcicfg_cap + CAPR_DATA &&
	    offset < vs->vs_pcicfg_cap + CAP_EXTRA_LEN);
}

int
vi_pci_cfgread(struct pci_devinst *pi, int offset, int bytes, uint32_t *retval)
{
	struct virtio_softc *vs = pi->pi_arg;
	uint64_t off;
	int bar, size;

	if (hits_data(vs, offset) && window(vs, &bar, &off, &size))
		pci_set_cfgdata32(pi, vs->vs_pcicfg_cap + CAPR_DATA,
		    (uint32_t)vi_pci_read(pi, bar, off, size));
	return (-1); /* the core reads what is there now */
}

int
vi_pci_cfgwrite(struct pci_devinst *pi, int offset, int bytes, uint32_t val)
{
	struct virtio_softc *vs = pi->pi_arg;
	int bar, i, reg, size;
	uint64_t off;

	if (!vs->vs_modern || offset < vs->vs_pcicfg_cap ||
	    offset >= vs->vs_pcicfg_cap + CAP_EXTRA_LEN)
		return (-1);
	for (i = 0; i < bytes; i++) {
		reg = offset + i - vs->vs_pcicfg_cap;
		if (reg == CAPR_BAR ||
		    (reg >= CAPR_OFFSET && reg < CAP_EXTRA_LEN))
			pci_set_cfgdata8(
			    pi, offset + i, (uint8_t)(val >> (i * 8)));
	}
	if (hits_data(vs, offset) && window(vs, &bar, &off, &size))
		vi_pci_write(pi, bar, off, size,
		    pci_get_cfgdata32(pi, vs->vs_pcicfg_cap + CAPR_DATA));
	return (0);
}
