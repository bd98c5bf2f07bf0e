/*
 * The virtio transport over PCI: set-up, interrupts, and the legacy register
 * block in an I/O BAR (Virtual I/O Device specification 1.1, 4.1.4.8).
 */
#include <string.h>

#include "bhyverun.h"
#include "debug.h"
#include "virtio_local.h"
#include "vmmapi.h"

/* The legacy registers. */
#define VIRTIO_PCI_HOST_FEATURES 0
#define VIRTIO_PCI_GUEST_FEATURES 4
#define VIRTIO_PCI_QUEUE_PFN 8
#define VIRTIO_PCI_QUEUE_NUM 12
#define VIRTIO_PCI_QUEUE_SEL 14
#define VIRTIO_PCI_QUEUE_NOTIFY 16
#define VIRTIO_PCI_STATUS 18
#define VIRTIO_PCI_ISR 19
#define VIRTIO_MSI_CONFIG_VECTOR 20
#define VIRTIO_MSI_QUEUE_VECTOR 22
#define VIRTIO_PCI_CONFIG_NOMSI 20
#define VIRTIO_PCI_CONFIG_MSI 24

static const uint8_t reg_size[VIRTIO_PCI_CONFIG_MSI] = {
	[VIRTIO_PCI_HOST_FEATURES] = 4,
	[VIRTIO_PCI_GUEST_FEATURES] = 4,
	[VIRTIO_PCI_QUEUE_PFN] = 4,
	[VIRTIO_PCI_QUEUE_NUM] = 2,
	[VIRTIO_PCI_QUEUE_SEL] = 2,
	[VIRTIO_PCI_QUEUE_NOTIFY] = 2,
	[VIRTIO_PCI_STATUS] = 1,
	[VIRTIO_PCI_ISR] = 1,
	[VIRTIO_MSI_CONFIG_VECTOR] = 2,
	[VIRTIO_MSI_QUEUE_VECTOR] = 2,
};

/* ---- set-up ---- */

void
vi_softc_linkup(struct virtio_softc *vs, const struct virtio_consts *vc,
    void *dev_softc, struct pci_devinst *pi, struct vqueue_info *queues)
{
	int i;

	memset(vs, 0, sizeof(*vs));
	vs->vs_vc = vc;
	vs->vs_dev = dev_softc;
	vs->vs_pi = pi;
	vs->vs_queues = queues;
	vs->vs_msix_cfg_idx = VIRTIO_MSI_NO_VECTOR;
	pthread_mutex_init(&vs->vs_isr_mtx, NULL);
	pi->pi_arg = vs;
	for (i = 0; i < vc->vc_nvq; i++) {
		queues[i].vq_vs = vs;
		queues[i].vq_num = (uint16_t)i;
		queues[i].vq_msix_idx = VIRTIO_MSI_NO_VECTOR;
	}
	vi_doorbells_init(vs);
}

void
vi_softc_cleanup(struct virtio_softc *vs)
{
	int i;

	vi_quiesce(vs);
	vs->vs_pi->pi_arg = NULL;
	for (i = 0; i < vs->vs_vc->vc_nvq; i++)
		vq_cleanup(&vs->vs_queues[i]);
	pthread_mutex_destroy(&vs->vs_isr_mtx);
}

void
vi_set_identity(
    struct pci_devinst *pi, uint16_t device, uint8_t class, uint16_t virtio_id)
{
	pci_set_cfgdata16(pi, PCIR_VENDOR, VIRTIO_VENDOR);
	pci_set_cfgdata16(pi, PCIR_DEVICE, device);
	pci_set_cfgdata8(pi, PCIR_CLASS, class);
	pci_set_cfgdata16(pi, PCIR_SUBVEND_0, VIRTIO_VENDOR);
	pci_set_cfgdata16(pi, PCIR_SUBDEV_0, virtio_id);
}

int
vi_intr_init(struct virtio_softc *vs, int barnum, bool use_msix)
{
	int error;

	error = 0;
	if (use_msix)
		error = pci_emul_add_msixcap(
		    vs->vs_pi, vs->vs_vc->vc_nvq + 1, barnum);
	if (use_msix && error == 0)
		pci_msix_use_irqfd(vs->vs_pi);
	if (error == 0)
		error = pci_emul_add_msicap(vs->vs_pi, 1);
	if (error != 0) {
		EPRINTLN("%s: cannot set up interrupts: %s", vs->vs_vc->vc_name,
		    strerror(error));
		return (error);
	}
	pci_lintr_request(vs->vs_pi);
	return (0);
}

int
vi_set_io_bar(struct virtio_softc *vs, int barnum)
{
	int error, i;

	for (i = 0; i < vs->vs_vc->vc_nvq; i++)
		vs->vs_queues[i].vq_maxsize = vs->vs_queues[i].vq_qsize;
	error = pci_emul_alloc_bar(vs->vs_pi, barnum, PCIBAR_IO,
	    VIRTIO_PCI_CONFIG_MSI + vs->vs_vc->vc_cfgsize);
	if (error == 0 && get_config_bool_default("virtio.modern", true))
		error = vi_modern_init(vs);
	vs->vs_packed = get_config_bool_default("virtio.packed", false);
	if (error != 0)
		EPRINTLN("%s: cannot allocate BARs: %s", vs->vs_vc->vc_name,
		    strerror(error));
	return (error);
}

/* ---- interrupts ---- */

void
vi_interrupt(struct virtio_softc *vs, uint8_t isr, uint16_t msix_idx)
{
	if (pci_msix_enabled(vs->vs_pi)) {
		pci_generate_msix(vs->vs_pi, msix_idx);
		return;
	}
	pthread_mutex_lock(&vs->vs_isr_mtx);
	vs->vs_isr |= isr;
	pci_generate_msi(vs->vs_pi, 0);
	pci_lintr_assert(vs->vs_pi);
	pthread_mutex_unlock(&vs->vs_isr_mtx);
}

void
vq_interrupt(struct vqueue_info *vq)
{
	vi_interrupt(vq->vq_vs, VIRTIO_PCI_ISR_INTR, vq->vq_msix_idx);
}

void
vi_config_changed(struct virtio_softc *vs)
{
	atomic_fetch_add(&vs->vs_cfggen, 1);
	if ((atomic_load(&vs->vs_status) & VIRTIO_CONFIG_STATUS_DRIVER_OK) != 0)
		vi_interrupt(vs, VIRTIO_PCI_ISR_CONFIG, vs->vs_msix_cfg_idx);
}

uint8_t
vi_isr_read(struct virtio_softc *vs)
{
	uint8_t isr;

	pthread_mutex_lock(&vs->vs_isr_mtx);
	isr = vs->vs_isr;
	vs->vs_isr = 0;
	if (isr != 0)
		pci_lintr_deassert(vs->vs_pi);
	pthread_mutex_unlock(&vs->vs_isr_mtx);
	return (isr);
}

/* ---- what both register blocks do ---- */

void
vi_lock(struct virtio_softc *vs)
{
	if (vs->vs_mtx != NULL)
		pthread_mutex_lock(vs->vs_mtx);
}

void
vi_unlock(struct virtio_softc *vs)
{
	if (vs->vs_mtx != NULL)
		pthread_mutex_unlock(vs->vs_mtx);
}

void
vi_queue_lock(struct vqueue_info *vq)
{
	if (vq->vq_mtx != NULL)
		pthread_mutex_lock(vq->vq_mtx);
}

void
vi_queue_unlock(struct vqueue_info *vq)
{
	if (vq->vq_mtx != NULL)
		pthread_mutex_unlock(vq->vq_mtx);
}

void
vi_reset_dev(struct virtio_softc *vs)
{
	int i;

	vi_doorbells_stop(vs);
	for (i = 0; i < vs->vs_vc->vc_nvq; i++) {
		vi_queue_lock(&vs->vs_queues[i]);
		vq_reset(&vs->vs_queues[i]);
		vi_queue_unlock(&vs->vs_queues[i]);
	}
	vs->vs_negotiated_caps = 0;
	vs->vs_gfeatures = 0;
	vs->vs_curq = 0;
	vs->vs_dfselect = vs->vs_gfselect = 0;
	vs->vs_msix_cfg_idx = VIRTIO_MSI_NO_VECTOR;
	atomic_store(&vs->vs_status, 0);
	vi_isr_read(vs);
}

void
vi_device_broken(struct virtio_softc *vs)
{
	uint8_t old;

	old = atomic_fetch_or(&vs->vs_status, VIRTIO_CONFIG_S_NEEDS_RESET);
	if ((old & VIRTIO_CONFIG_S_NEEDS_RESET) == 0 &&
	    (vs->vs_negotiated_caps & VIRTIO_F_VERSION_1) != 0)
		vi_config_changed(vs);
}

uint64_t
vi_hv_caps(struct virtio_softc *vs)
{
	uint64_t caps = vs->vs_vc->vc_hv_caps;

	if (!vs->vs_modern || !vs->vs_packed)
		caps &= ~VIRTIO_F_RING_PACKED;
	return (caps | (vs->vs_modern ? VIRTIO_F_VERSION_1 : 0));
}

struct vqueue_info *
vi_curq(struct virtio_softc *vs)
{
	return (vs->vs_curq < vs->vs_vc->vc_nvq ? &vs->vs_queues[vs->vs_curq]
						: NULL);
}

uint16_t
vi_vector(struct virtio_softc *vs, uint32_t val)
{
	if (vs->vs_pi->pi_msix.table == NULL ||
	    val >= (uint32_t)vs->vs_pi->pi_msix.table_count)
		return (VIRTIO_MSI_NO_VECTOR);
	return ((uint16_t)val);
}

static bool
cfg_in_range(struct virtio_softc *vs, uint64_t offset, int size)
{
	size_t cfgsize = vs->vs_vc->vc_cfgsize;

	return ((size == 1 || size == 2 || size == 4) && offset < cfgsize &&
	    (uint64_t)size <= cfgsize - offset);
}

uint32_t
vi_cfgread(struct virtio_softc *vs, uint64_t offset, int size)
{
	uint32_t val;

	if (!cfg_in_range(vs, offset, size))
		return (0xffffffffu);
	val = 0;
	if (vs->vs_vc->vc_cfgread != NULL &&
	    vs->vs_vc->vc_cfgread(vs->vs_dev, (int)offset, size, &val) != 0)
		val = 0xffffffffu;
	return (val);
}

void
vi_cfgwrite(struct virtio_softc *vs, uint64_t offset, int size, uint32_t val)
{
	if (cfg_in_range(vs, offset, size) && vs->vs_vc->vc_cfgwrite != NULL)
		(void)vs->vs_vc->vc_cfgwrite(
		    vs->vs_dev, (int)offset, size, val);
}

void
vi_notify(struct virtio_softc *vs, uint32_t qnum)
{
	struct vqueue_info *vq;

	if (qnum >= (uint32_t)vs->vs_vc->vc_nvq) {
		GUEST_LOG("%s: queue %u notify out of range",
		    vs->vs_pi->pi_name, qnum);
		return;
	}
	vq = &vs->vs_queues[qnum];
	/* Queues with locks of their own do not wait for each other. */
	if (vq->vq_mtx != NULL) {
		vi_unlock(vs);
		vi_queue_lock(vq);
	}
	if (vq_ring_ready(vq)) {
		if (vq->vq_notify != NULL)
			vq->vq_notify(vs->vs_dev, vq);
		else if (vs->vs_vc->vc_qnotify != NULL)
			vs->vs_vc->vc_qnotify(vs->vs_dev, vq);
	}
	if (vq->vq_mtx != NULL) {
		vi_queue_unlock(vq);
		vi_lock(vs);
	}
}

/* Drivers only ever add bits; zero is a reset. */
void
vi_status_write(struct virtio_softc *vs, uint8_t val)
{
	uint8_t new, old;

	if (val == VIRTIO_CONFIG_STATUS_RESET) {
		vs->vs_vc->vc_reset(vs->vs_dev);
		return;
	}
	old = atomic_load(&vs->vs_status);
	new = (val & (uint8_t)~VIRTIO_CONFIG_S_NEEDS_RESET) & (uint8_t)~old;
	if ((new &VIRTIO_CONFIG_S_FEATURES_OK) != 0) {
		if ((vs->vs_gfeatures & ~vi_hv_caps(vs)) != 0) {
			new &= (uint8_t)~VIRTIO_CONFIG_S_FEATURES_OK;
		} else if ((vs->vs_gfeatures & VIRTIO_F_VERSION_1) != 0) {
			vs->vs_negotiated_caps = vs->vs_gfeatures;
			if (vs->vs_vc->vc_apply_features != NULL)
				vs->vs_vc->vc_apply_features(
				    vs->vs_dev, vs->vs_negotiated_caps);
		}
	}
	atomic_fetch_or(&vs->vs_status, new);
	if ((new &VIRTIO_CONFIG_STATUS_DRIVER_OK) != 0 &&
	    vs->vs_vc->vc_driver_ok != NULL)
		vs->vs_vc->vc_driver_ok(vs->vs_dev);
	if ((new &VIRTIO_CONFIG_STATUS_DRIVER_OK) != 0)
		vi_doorbells_start(vs);
}

/* ---- the legacy registers ---- */

static uint64_t
config_offset(struct virtio_softc *vs)
{
	return (pci_msix_enabled(vs->vs_pi) ? VIRTIO_PCI_CONFIG_MSI
					    : VIRTIO_PCI_CONFIG_NOMSI);
}

static uint32_t
legacy_read(struct virtio_softc *vs, uint64_t offset, int size)
{
	struct vqueue_info *vq;

	if (offset >= config_offset(vs))
		return (vi_cfgread(vs, offset - config_offset(vs), size));
	if (reg_size[offset] != size) {
		GUEST_LOG("%s: read of %d bytes at offset %d refused",
		    vs->vs_pi->pi_name, size, (int)offset);
		return (0xffffffffu);
	}
	vq = vi_curq(vs);
	switch (offset) {
	case VIRTIO_PCI_HOST_FEATURES:
		return ((uint32_t)vs->vs_vc->vc_hv_caps);
	case VIRTIO_PCI_GUEST_FEATURES:
		return ((uint32_t)vs->vs_negotiated_caps);
	case VIRTIO_PCI_QUEUE_PFN:
		return (vq != NULL ? vq->vq_pfn : 0);
	case VIRTIO_PCI_QUEUE_NUM:
		return (vq != NULL ? vq->vq_maxsize : 0);
	case VIRTIO_PCI_QUEUE_SEL:
		return (vs->vs_curq);
	case VIRTIO_PCI_QUEUE_NOTIFY:
		return (0);
	case VIRTIO_PCI_STATUS:
		return (atomic_load(&vs->vs_status));
	case VIRTIO_PCI_ISR:
		return (vi_isr_read(vs));
	case VIRTIO_MSI_CONFIG_VECTOR:
		return (vs->vs_msix_cfg_idx);
	case VIRTIO_MSI_QUEUE_VECTOR:
		return (vq != NULL ? vq->vq_msix_idx : VIRTIO_MSI_NO_VECTOR);
	default:
		return (0xffffffffu);
	}
}

static void
legacy_features(struct virtio_softc *vs, uint32_t val)
{
	if ((atomic_load(&vs->vs_status) & VIRTIO_CONFIG_STATUS_DRIVER_OK) != 0)
		return;
	vs->vs_negotiated_caps = val & vs->vs_vc->vc_hv_caps;
	if (vs->vs_vc->vc_apply_features != NULL)
		vs->vs_vc->vc_apply_features(
		    vs->vs_dev, vs->vs_negotiated_caps);
}

static void
set_pfn(struct vqueue_info *vq, uint32_t pfn)
{
	uint16_t vector;

	/* Chains in the device's hands belong to the rings as they are. */
	if (vq->vq_nheld != 0) {
		GUEST_LOG("%s: queue %u is busy, its rings stay",
		    vq->vq_vs->vs_pi->pi_name, vq->vq_num);
		return;
	}
	vector = vq->vq_msix_idx;
	vq_reset(vq);
	vq->vq_msix_idx = vector;
	vq->vq_pfn = pfn;
	if (pfn != 0)
		vq_enable_legacy(vq);
}

static void
legacy_pfn(struct virtio_softc *vs, struct vqueue_info *vq, uint32_t pfn)
{
	if (vq == NULL || vq->vq_qsize == 0)
		return;
	if (vs->vs_vc->vc_hold != NULL)
		vs->vs_vc->vc_hold(vs->vs_dev, true);
	vi_queue_lock(vq);
	set_pfn(vq, pfn);
	vi_queue_unlock(vq);
	if (vs->vs_vc->vc_hold != NULL)
		vs->vs_vc->vc_hold(vs->vs_dev, false);
}

static void
legacy_write(struct virtio_softc *vs, uint64_t offset, int size, uint32_t val)
{
	struct vqueue_info *vq;

	if (offset >= config_offset(vs)) {
		vi_cfgwrite(vs, offset - config_offset(vs), size, val);
		return;
	}
	if (reg_size[offset] != size) {
		GUEST_LOG("%s: write of %d bytes at offset %d refused",
		    vs->vs_pi->pi_name, size, (int)offset);
		return;
	}
	vq = vi_curq(vs);
	switch (offset) {
	case VIRTIO_PCI_GUEST_FEATURES:
		legacy_features(vs, val);
		break;
	case VIRTIO_PCI_QUEUE_PFN:
		legacy_pfn(vs, vq, val);
		break;
	case VIRTIO_PCI_QUEUE_SEL:
		vs->vs_curq = (uint16_t)val;
		break;
	case VIRTIO_PCI_QUEUE_NOTIFY:
		vi_notify(vs, val);
		break;
	case VIRTIO_PCI_STATUS:
		vi_status_write(vs, (uint8_t)val);
		break;
	case VIRTIO_MSI_CONFIG_VECTOR:
		vs->vs_msix_cfg_idx = vi_vector(vs, val);
		break;
	case VIRTIO_MSI_QUEUE_VECTOR:
		if (vq != NULL)
			vq->vq_msix_idx = vi_vector(vs, val);
		break;
	default:
		break; /* read-only */
	}
}

/* ---- the device's BARs ---- */

uint64_t
vi_pci_read(struct pci_devinst *pi, int baridx, uint64_t offset, int size)
{
	struct virtio_softc *vs = pi->pi_arg;
	uint64_t val;

	if (pi->pi_msix.table != NULL && baridx == pci_msix_table_bar(pi))
		return (pci_emul_msix_tread(pi, offset, size));
	vi_lock(vs);
	if (vs->vs_modern && baridx == VI_MODERN_BAR)
		val = vi_modern_read(vs, offset, size);
	else
		val = legacy_read(vs, offset, size);
	vi_unlock(vs);
	return (val);
}

void
vi_pci_write(struct pci_devinst *pi, int baridx, uint64_t offset, int size,
    uint64_t value)
{
	struct virtio_softc *vs = pi->pi_arg;

	if (pi->pi_msix.table != NULL && baridx == pci_msix_table_bar(pi)) {
		(void)pci_emul_msix_twrite(pi, offset, size, value);
		return;
	}
	if (size < 4)
		value &= (1UL << (size * 8)) - 1;
	vi_lock(vs);
	if (vs->vs_modern && baridx == VI_MODERN_BAR)
		vi_modern_write(vs, offset, size, (uint32_t)value);
	else
		legacy_write(vs, offset, size, (uint32_t)value);
	vi_unlock(vs);
}
