/*
 * virtio-rnd: the host's random numbers (Virtual I/O Device specification
 * 1.1, 5.4).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "bhyverun.h"
#include "debug.h"
#include "virtio.h"

#define VTRND_RINGSZ 64
#define VTRND_MAXSEGS 64
/* The most that one request gets; drivers ask again. */
#define VTRND_MAXLEN (64U * 1024)

struct pci_vtrnd_softc {
	struct virtio_softc vrsc_vs;
	struct vqueue_info vrsc_vq;
	pthread_mutex_t vrsc_mtx;
};

static void
pci_vtrnd_reset(void *vsc)
{
	struct pci_vtrnd_softc *sc = vsc;

	vi_reset_dev(&sc->vrsc_vs);
}

/* Fill the buffers up to the limit; returns the number of bytes. */
static uint32_t
fill(const struct iovec *iov, int niov)
{
	size_t left, len;
	ssize_t n;
	int i;

	left = VTRND_MAXLEN;
	for (i = 0; i < niov && left > 0; i++) {
		len = iov[i].iov_len < left ? iov[i].iov_len : left;
		n = getrandom(iov[i].iov_base, len, GRND_NONBLOCK);
		if (n <= 0)
			break;
		left -= (size_t)n;
		if ((size_t)n < len)
			break;
	}
	return ((uint32_t)(VTRND_MAXLEN - left));
}

static void
pci_vtrnd_notify(void *vsc, struct vqueue_info *vq)
{
	struct iovec iov[VTRND_MAXSEGS];
	struct vi_req req;

	while (vq_getchain(vq, iov, VTRND_MAXSEGS, &req) > 0) {
		if (req.writable == 0) {
			vq_broken(vq, "request has nothing to fill");
			break;
		}
		vq_relchain(vq, (uint16_t)req.idx,
		    fill(iov + req.readable, req.writable));
	}
	vq_endchains(vq, 1);
}

static const struct virtio_consts vtrnd_vi_consts = {
	.vc_name = "vtrnd",
	.vc_nvq = 1,
	.vc_reset = pci_vtrnd_reset,
	.vc_qnotify = pci_vtrnd_notify,
};

static int
pci_vtrnd_init(struct pci_devinst *pi, nvlist_t *nvl)
{
	struct pci_vtrnd_softc *sc;
	uint8_t byte;

	/* A source without entropy is no source. */
	if (getrandom(&byte, 1, GRND_NONBLOCK) != 1) {
		EPRINTLN("virtio-rnd: getrandom: %s", strerror(errno));
		return (1);
	}
	sc = calloc(1, sizeof(*sc));
	if (sc == NULL) {
		EPRINTLN("virtio-rnd: out of memory");
		return (1);
	}
	pthread_mutex_init(&sc->vrsc_mtx, NULL);
	vi_softc_linkup(&sc->vrsc_vs, &vtrnd_vi_consts, sc, pi, &sc->vrsc_vq);
	sc->vrsc_vs.vs_mtx = &sc->vrsc_mtx;
	sc->vrsc_vq.vq_qsize = VTRND_RINGSZ;
	vi_set_identity(pi, VIRTIO_DEV_RANDOM, PCIC_CRYPTO, VIRTIO_ID_ENTROPY);
	if (vi_intr_init(&sc->vrsc_vs, 1, fbsdrun_virtio_msix()) != 0 ||
	    vi_set_io_bar(&sc->vrsc_vs, 0) != 0) {
		vi_softc_cleanup(&sc->vrsc_vs);
		free(sc);
		return (1);
	}
	return (0);
}

static void
pci_vtrnd_cleanup(struct pci_devinst *pi)
{
	struct pci_vtrnd_softc *sc = pi->pi_arg;

	vi_softc_cleanup(&sc->vrsc_vs); /* it stops the notifications */
	pthread_mutex_destroy(&sc->vrsc_mtx);
	free(sc);
}

static const struct pci_devemu pci_de_vrnd = {
	.pe_emu = "virtio-rnd",
	.pe_init = pci_vtrnd_init,
	.pe_cfgread = vi_pci_cfgread,
	.pe_cfgwrite = vi_pci_cfgwrite,
	.pe_barread = vi_pci_read,
	.pe_barwrite = vi_pci_write,
	.pe_baraddr = vi_pci_baraddr,
	.pe_cleanup = pci_vtrnd_cleanup,
};
PCI_EMUL_SET(pci_de_vrnd);
