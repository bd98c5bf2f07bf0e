/*
 * The 82545EM's sending side: descriptors are taken one by one on a thread
 * of the device's own, their data gathered into one buffer, and the offloads
 * done there.  Each descriptor is read once; nothing that it says is trusted.
 */
#include <errno.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "debug.h"
#include "e82545_local.h"
#include "vmmapi.h"

#define FRAME_BUF (ETHER_VLAN_LEN + NET_FRAME_MAX)
#define TX_BATCH 64

/* A snapshot of the ring for one batch. */
struct tx_batch {
	uint64_t base;
	uint32_t count, head, tail;
	uint32_t causes;
};

/* ---- frames ---- */

/* Insert a checksum over [start, end] (end 0: all) at field. */
static bool
insert_csum(
    uint8_t *frame, size_t len, size_t start, size_t end, size_t field, bool l4)
{
	uint16_t csum;

	if (start >= len || field + 2 > len)
		return (false);
	end = end == 0 || end >= len ? len : end + 1;
	if (end < start)
		return (false);
	csum = (uint16_t)~net_fold(net_sum(frame + start, end - start, 0));
	if (csum == 0 && l4)
		csum = 0xffff; /* in UDP, zero means none */
	frame[field] = (uint8_t)(csum >> 8);
	frame[field + 1] = (uint8_t)csum;
	return (true);
}

/*
 * Put a whole frame on the wire; there are ETHER_VLAN_LEN bytes of room
 * before it.
 */
static int
tx_emit(void *arg, uint8_t *frame, size_t len)
{
	struct e82545_softc *sc = arg;
	struct iovec iov;
	uint16_t vet;

	pthread_mutex_lock(&sc->esc_mtx);
	vet = (uint16_t)E82545_REG(sc, E1000_VET);
	if ((E82545_REG(sc, E1000_TCTL) & E1000_TCTL_PSP) != 0 &&
	    len < ETHER_MIN_LEN) {
		memset(frame + len, 0, ETHER_MIN_LEN - len);
		len = ETHER_MIN_LEN;
	}
	if (len >= ETHER_HDR_LEN)
		e82545_count(sc, frame, len, true);
	pthread_mutex_unlock(&sc->esc_mtx);
	if (len < ETHER_HDR_LEN)
		return (0);
	if ((sc->esc_frame_cmd & E1000_TXD_CMD_VLE) != 0) {
		memmove(frame - ETHER_VLAN_LEN, frame, 2 * ETHER_ADDR_LEN);
		frame -= ETHER_VLAN_LEN;
		len += ETHER_VLAN_LEN;
		frame[12] = (uint8_t)(vet >> 8);
		frame[13] = (uint8_t)vet;
		frame[14] = (uint8_t)(sc->esc_frame_vlan >> 8);
		frame[15] = (uint8_t)sc->esc_frame_vlan;
	}
	iov.iov_base = frame;
	iov.iov_len = len;
	(void)netbe_send(sc->esc_be, &iov, 1);
	return (sc->esc_tx_stop);
}

static bool
tx_segment(struct e82545_softc *sc, uint8_t *frame, size_t len)
{
	const struct e82545_txctx *ctx = &sc->esc_txctx;
	struct net_tso tso = {
		.ip_off = ctx->ipcss,
		.l4_off = ctx->tucss,
		.hdr_len = ctx->hdrlen,
		.mss = ctx->mss,
		.ipv6 = (ctx->tucmd & E1000_TXD_CTX_IP) == 0,
		.tcp = (ctx->tucmd & E1000_TXD_CTX_TCP) != 0,
	};
	bool ok;

	ok = net_segment(frame, len, &tso, sc->esc_segbuf + ETHER_VLAN_LEN,
		 NET_FRAME_MAX, tx_emit, sc) >= 0;
	pthread_mutex_lock(&sc->esc_mtx);
	e82545_stat(sc, ok ? E1000_TSCTC : E1000_TSCTFC);
	pthread_mutex_unlock(&sc->esc_mtx);
	return (ok);
}

/* The frame in esc_frame is complete. */
static void
tx_frame(struct e82545_softc *sc)
{
	const struct e82545_txctx *ctx = &sc->esc_txctx;
	uint8_t *frame;
	size_t len;
	bool ok;

	frame = sc->esc_frame + ETHER_VLAN_LEN;
	len = sc->esc_frame_len;
	ok = !sc->esc_frame_bad && len != 0;
	if (!ok) {
		/* Dropped below. */
	} else if ((sc->esc_frame_cmd & E1000_TXD_CMD_DEXT) == 0) {
		/* The checksum's place is in the last descriptor. */
		if ((sc->esc_frame_cmd & E1000_TXD_CMD_IC) != 0)
			ok = insert_csum(
			    frame, len, ctx->tucss, 0, ctx->tucso, true);
		if (ok)
			(void)tx_emit(sc, frame, len);
	} else if ((sc->esc_frame_cmd & E1000_TXD_CMD_TSE) != 0) {
		ok = tx_segment(sc, frame, len);
	} else {
		if ((sc->esc_frame_opts & E1000_TXD_POPTS_IXSM) != 0)
			ok = insert_csum(frame, len, ctx->ipcss, ctx->ipcse,
			    ctx->ipcso, false);
		if (ok && (sc->esc_frame_opts & E1000_TXD_POPTS_TXSM) != 0)
			ok = insert_csum(frame, len, ctx->tucss, ctx->tucse,
			    ctx->tucso, true);
		if (ok)
			(void)tx_emit(sc, frame, len);
	}
	if (!ok)
		GUEST_LOG("e1000: a malformed frame is not sent");
	sc->esc_frame_len = 0;
	sc->esc_frame_bad = false;
	sc->esc_frame_first = true;
}

/* ---- descriptors ---- */

static void
tx_append(struct e82545_softc *sc, uint64_t addr, uint32_t len)
{
	void *data;

	if (len == 0 || sc->esc_frame_bad)
		return;
	data = len > NET_FRAME_MAX - sc->esc_frame_len
	    ? NULL
	    : vm_map_gpa(sc->esc_ctx, addr, len);
	if (data == NULL) {
		sc->esc_frame_bad = true;
		return;
	}
	memcpy(sc->esc_frame + ETHER_VLAN_LEN + sc->esc_frame_len, data, len);
	sc->esc_frame_len += len;
}

static void
tx_context(struct e82545_softc *sc, const struct e1000_tx_desc *desc)
{
	struct e82545_txctx *ctx = &sc->esc_txctx;

	ctx->ipcss = (uint8_t)desc->addr;
	ctx->ipcso = (uint8_t)(desc->addr >> 8);
	ctx->ipcse = (uint16_t)(desc->addr >> 16);
	ctx->tucss = (uint8_t)(desc->addr >> 32);
	ctx->tucso = (uint8_t)(desc->addr >> 40);
	ctx->tucse = (uint16_t)(desc->addr >> 48);
	ctx->tucmd = desc->lower;
	ctx->hdrlen = (uint8_t)(desc->upper >> 8);
	ctx->mss = (uint16_t)(desc->upper >> 16);
}

static void
tx_data(struct e82545_softc *sc, const struct e1000_tx_desc *desc)
{
	struct e82545_txctx saved;
	bool extended;

	extended = (desc->lower & E1000_TXD_CMD_DEXT) != 0;
	if (sc->esc_frame_first) {
		/* The first descriptor says what is done to the frame. */
		sc->esc_frame_first = false;
		sc->esc_frame_cmd = desc->lower;
		sc->esc_frame_opts = desc->upper;
	}
	tx_append(sc, desc->addr, desc->lower & (extended ? 0xfffff : 0xffff));
	if ((desc->lower & E1000_TXD_CMD_EOP) == 0)
		return;
	/* VLE and the tag are the last one's. */
	sc->esc_frame_cmd &= ~(uint32_t)E1000_TXD_CMD_VLE;
	sc->esc_frame_cmd |= desc->lower & E1000_TXD_CMD_VLE;
	sc->esc_frame_vlan = (uint16_t)(desc->upper >> 16);
	if (extended) {
		tx_frame(sc);
		return;
	}
	/* A legacy frame's checksum leaves the context as it is. */
	saved = sc->esc_txctx;
	sc->esc_txctx.tucso = (uint8_t)(desc->lower >> 16);
	sc->esc_txctx.tucss = (uint8_t)(desc->upper >> 8);
	sc->esc_frame_cmd &= ~(uint32_t)(E1000_TXD_CMD_DEXT | E1000_TXD_CMD_IC);
	sc->esc_frame_cmd |= desc->lower & E1000_TXD_CMD_IC;
	tx_frame(sc);
	sc->esc_txctx = saved;
}

/* One descriptor at a guest address; its causes of interrupt. */
static uint32_t
tx_descriptor(struct e82545_softc *sc, uint64_t gpa)
{
	struct e1000_tx_desc *ring, desc;
	_Atomic uint32_t *status;

	ring = vm_map_gpa(sc->esc_ctx, gpa, sizeof(*ring));
	if (ring == NULL)
		return (0);
	memcpy(&desc, ring, sizeof(desc));
	if ((desc.lower & E1000_TXD_CMD_DEXT) != 0 &&
	    (desc.lower & E1000_TXD_DTYP_MASK) == E1000_TXD_DTYP_C)
		tx_context(sc, &desc);
	else
		tx_data(sc, &desc);
	if ((desc.lower & (E1000_TXD_CMD_RS | E1000_TXD_CMD_RPS)) == 0)
		return (0);
	status = (_Atomic uint32_t *)&ring->upper;
	atomic_store_explicit(
	    status, desc.upper | E1000_TXD_STAT_DD, memory_order_release);
	vm_dirty_gpa(sc->esc_ctx, gpa, sizeof(*ring));
	return (E1000_ICR_TXDW);
}

static void
tx_run(struct e82545_softc *sc, struct tx_batch *b)
{
	int n;

	for (n = 0; n < TX_BATCH && b->head != b->tail && !sc->esc_tx_stop;
	     n++) {
		b->causes |= tx_descriptor(sc, b->base + b->head * 16ULL);
		b->head = b->head + 1 == b->count ? 0 : b->head + 1;
	}
}

/* ---- the thread ---- */

/* What there is to do; false: nothing.  esc_mtx held. */
static bool
tx_ready(struct e82545_softc *sc, struct tx_batch *b)
{
	memset(b, 0, sizeof(*b));
	if ((E82545_REG(sc, E1000_TCTL) & E1000_TCTL_EN) == 0 ||
	    sc->esc_tx_stop ||
	    (pci_get_cfgdata16(sc->esc_pi, PCIR_COMMAND) &
		PCIM_CMD_BUSMASTEREN) == 0)
		return (false);
	b->base = (uint64_t)E82545_REG(sc, E1000_TDBAH) << 32 |
	    E82545_REG(sc, E1000_TDBAL);
	b->count = E82545_REG(sc, E1000_TDLEN) / 16;
	b->head = E82545_REG(sc, E1000_TDH);
	b->tail = E82545_REG(sc, E1000_TDT);
	return (b->head != b->tail && b->head < b->count && b->tail < b->count);
}

static void *
e82545_tx_thread(void *arg)
{
	struct e82545_softc *sc = arg;
	struct tx_batch b;

	pthread_mutex_lock(&sc->esc_mtx);
	while (!sc->esc_tx_quit) {
		if (!tx_ready(sc, &b)) {
			pthread_cond_wait(&sc->esc_tx_cond, &sc->esc_mtx);
			continue;
		}
		sc->esc_tx_busy = true;
		pthread_mutex_unlock(&sc->esc_mtx);
		tx_run(sc, &b);
		pthread_mutex_lock(&sc->esc_mtx);
		E82545_REG(sc, E1000_TDH) = b.head;
		if (b.head == E82545_REG(sc, E1000_TDT))
			b.causes |= E1000_ICR_TXQE;
		if (b.causes != 0)
			e82545_interrupt(sc, b.causes);
		sc->esc_tx_busy = false;
		pthread_cond_broadcast(&sc->esc_tx_cond);
	}
	pthread_mutex_unlock(&sc->esc_mtx);
	return (NULL);
}

void
e82545_tx_kick(struct e82545_softc *sc)
{
	if (!sc->esc_tx_busy)
		pthread_cond_broadcast(&sc->esc_tx_cond);
}

void
e82545_tx_quiesce(struct e82545_softc *sc)
{
	while (sc->esc_tx_busy) {
		sc->esc_tx_stop = true;
		pthread_cond_wait(&sc->esc_tx_cond, &sc->esc_mtx);
	}
	if (!sc->esc_tx_quit)
		sc->esc_tx_stop = false;
	/* What the caller sets next may be work. */
	pthread_cond_broadcast(&sc->esc_tx_cond);
}

void
e82545_tx_reset(struct e82545_softc *sc)
{
	memset(&sc->esc_txctx, 0, sizeof(sc->esc_txctx));
	sc->esc_frame_len = 0;
	sc->esc_frame_bad = false;
	sc->esc_frame_first = true;
}

int
e82545_tx_init(struct e82545_softc *sc)
{
	char name[32];
	int error;

	sc->esc_frame = calloc(1, FRAME_BUF);
	sc->esc_segbuf = calloc(1, FRAME_BUF);
	if (sc->esc_frame == NULL || sc->esc_segbuf == NULL)
		return (ENOMEM);
	e82545_tx_reset(sc);
	error = pthread_create(&sc->esc_tx_tid, NULL, e82545_tx_thread, sc);
	if (error != 0)
		return (error);
	sc->esc_tx_started = true;
	snprintf(name, sizeof(name), "e1000-%d:%d tx", sc->esc_pi->pi_slot,
	    sc->esc_pi->pi_func);
	name[15] = '\0';
	pthread_setname_np(sc->esc_tx_tid, name);
	return (0);
}

void
e82545_tx_cleanup(struct e82545_softc *sc)
{
	if (sc->esc_tx_started) {
		pthread_mutex_lock(&sc->esc_mtx);
		sc->esc_tx_quit = true;
		sc->esc_tx_stop = true;
		pthread_cond_broadcast(&sc->esc_tx_cond);
		pthread_mutex_unlock(&sc->esc_mtx);
		pthread_join(sc->esc_tx_tid, NULL);
	}
	free(sc->esc_frame);
	free(sc->esc_segbuf);
}
