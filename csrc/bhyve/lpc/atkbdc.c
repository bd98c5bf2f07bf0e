/*
 * The 8042 keyboard controller (IBM PS/2 technical reference): ports 0x60
 * and 0x64, IRQ 1 for the keyboard and IRQ 12 for the mouse.
 *
 * Bytes for the host wait in one queue, each with its source; the head is
 * the output buffer.  A device is asked for a byte when the queue is empty.
 * Lock order: the controller's, then a device's.
 */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "acpi_aml.h"
#include "atkbdc.h"
#include "debug.h"
#include "inout.h"
#include "pci_irq.h"
#include "pci_lpc.h"
#include "ps2kbd.h"
#include "ps2mouse.h"
#include "vmmapi.h"

#define KBD_DATA_PORT 0x60
#define KBD_STS_CTL_PORT 0x64
#define KBD_DEV_IRQ 1
#define AUX_DEV_IRQ 12

/* Status register. */
#define KBDS_KBD_BUFFER_FULL 0x01
#define KBDS_SYS_FLAG 0x04
#define KBDS_CTRL_FLAG 0x08 /* the last write was a command */
#define KBDS_KEYLOCK 0x10   /* not locked */
#define KBDS_AUX_BUFFER_FULL 0x20

/* Controller commands. */
#define KBDC_READ_RAM 0x20  /* to 0x3f; 0x20 is the command byte */
#define KBDC_WRITE_RAM 0x60 /* to 0x7f */
#define KBDC_DISABLE_AUX_PORT 0xa7
#define KBDC_ENABLE_AUX_PORT 0xa8
#define KBDC_TEST_AUX_PORT 0xa9
#define KBDC_SELF_TEST 0xaa
#define KBDC_TEST_KBD_PORT 0xab
#define KBDC_DISABLE_KBD_PORT 0xad
#define KBDC_ENABLE_KBD_PORT 0xae
#define KBDC_READ_INPORT 0xc0
#define KBDC_READ_OUTPORT 0xd0
#define KBDC_WRITE_OUTPORT 0xd1
#define KBDC_WRITE_KBD_OUTBUF 0xd2
#define KBDC_WRITE_AUX_OUTBUF 0xd3
#define KBDC_WRITE_TO_AUX 0xd4
#define KBDC_DISABLE_A20 0xdd
#define KBDC_ENABLE_A20 0xdf
#define KBDC_PULSE_OUTPUT 0xf0 /* to 0xff: bits that are 0 pulse */

/* Command byte, RAM 0. */
#define KBD_ENABLE_KBD_INT 0x01
#define KBD_ENABLE_AUX_INT 0x02
#define KBD_SYS_FLAG_BIT 0x04
#define KBD_DISABLE_KBD_PORT 0x10
#define KBD_DISABLE_AUX_PORT 0x20
#define KBD_TRANSLATION 0x40

/* Output port. */
#define OUTPORT_RESET 0x01 /* low: reset */
#define OUTPORT_A20 0x02

#define RAM_SZ 32
#define OUT_FIFO_SZ 16

enum source { FROM_CTRL, FROM_KBD, FROM_AUX };

struct atkbdc_softc {
	struct vmctx *ctx;
	pthread_mutex_t mtx;
	struct ps2kbd_softc *kbd;
	struct ps2mouse_softc *mouse;
	uint8_t ram[RAM_SZ];
	uint8_t outport;
	uint8_t curcmd; /* waits for its data byte at port 0x60 */
	bool last_was_cmd;
	bool break_prefix; /* F0 was translated: the next is a release */
	struct {
		uint8_t val;
		enum source from;
	} out[OUT_FIFO_SZ];
	int out_head, out_count;
	uint8_t last; /* what an empty buffer reads as */
};

static struct atkbdc_softc *atkbdc;

/* What the controller makes of scan code set 2 for set 1. */
static const uint8_t translation[256] = {
	0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40,
	0x3e, 0x0f, 0x29, 0x59, 0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a,
	0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b, 0x67, 0x2e, 0x2d, 0x20,
	0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d,
	0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24,
	0x16, 0x08, 0x09, 0x5f, 0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60,
	0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61, 0x6d, 0x73, 0x28, 0x74,
	0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76,
	0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b,
	0x47, 0x7e, 0x7f, 0x6f, 0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45,
	0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54, 0x80, 0x81, 0x82, 0x41,
	0x54,
	/* From here on a code stands for itself: translate() knows. */
};
#define TRANSLATED_MAX 0x84

/* ---- the output queue; locked ---- */

static void
out_reset(struct atkbdc_softc *sc)
{
	sc->out_head = sc->out_count = 0;
	sc->break_prefix = false;
}

static void
raise_irq(struct atkbdc_softc *sc)
{
	enum source from;

	if (sc->out_count == 0)
		return;
	from = sc->out[sc->out_head].from;
	if (from == FROM_AUX && (sc->ram[0] & KBD_ENABLE_AUX_INT) != 0)
		vm_isa_pulse_irq(sc->ctx, AUX_DEV_IRQ, AUX_DEV_IRQ);
	else if (from != FROM_AUX && (sc->ram[0] & KBD_ENABLE_KBD_INT) != 0)
		vm_isa_pulse_irq(sc->ctx, KBD_DEV_IRQ, KBD_DEV_IRQ);
}

static void
out_put(struct atkbdc_softc *sc, uint8_t val, enum source from)
{
	int tail;

	if (sc->out_count == OUT_FIFO_SZ)
		return;
	tail = (sc->out_head + sc->out_count) % OUT_FIFO_SZ;
	sc->out[tail].val = val;
	sc->out[tail].from = from;
	if (++sc->out_count == 1)
		raise_irq(sc);
}

/* True: *val is for the host; false: it was a prefix. */
static bool
translate(struct atkbdc_softc *sc, uint8_t *val)
{
	uint8_t code;

	if ((sc->ram[0] & KBD_TRANSLATION) == 0)
		return (true);
	if (*val == 0xf0) {
		sc->break_prefix = true;
		return (false);
	}
	code = *val <= TRANSLATED_MAX ? translation[*val] : *val;
	if (sc->break_prefix && *val <= TRANSLATED_MAX)
		code |= 0x80;
	sc->break_prefix = false;
	*val = code;
	return (true);
}

/* Ask the devices for a byte when the host has taken the last one. */
static void
poll_devices(struct atkbdc_softc *sc)
{
	uint8_t val;

	while (sc->out_count == 0 && (sc->ram[0] & KBD_DISABLE_KBD_PORT) == 0 &&
	    ps2kbd_read(sc->kbd, &val)) {
		if (translate(sc, &val))
			out_put(sc, val, FROM_KBD);
	}
	if (sc->out_count == 0 && (sc->ram[0] & KBD_DISABLE_AUX_PORT) == 0 &&
	    ps2mouse_read(sc->mouse, &val))
		out_put(sc, val, FROM_AUX);
}

/* ---- the controller ---- */

static void
do_reset(struct atkbdc_softc *sc)
{
	(void)vm_suspend(sc->ctx, VM_SUSPEND_RESET);
}

/* A command at port 0x64.  Locked. */
static void
command(struct atkbdc_softc *sc, uint8_t cmd)
{
	if (cmd >= KBDC_READ_RAM && cmd < KBDC_READ_RAM + RAM_SZ) {
		out_put(sc, sc->ram[cmd - KBDC_READ_RAM], FROM_CTRL);
		return;
	}
	if (cmd >= KBDC_WRITE_RAM && cmd < KBDC_WRITE_RAM + RAM_SZ) {
		sc->curcmd = cmd;
		return;
	}
	if (cmd >= KBDC_PULSE_OUTPUT) {
		if ((cmd & OUTPORT_RESET) == 0)
			do_reset(sc);
		return;
	}
	switch (cmd) {
	case KBDC_DISABLE_AUX_PORT:
		sc->ram[0] |= KBD_DISABLE_AUX_PORT;
		break;
	case KBDC_ENABLE_AUX_PORT:
		sc->ram[0] &= (uint8_t)~KBD_DISABLE_AUX_PORT;
		break;
	case KBDC_TEST_AUX_PORT:
	case KBDC_TEST_KBD_PORT:
		out_put(sc, 0x00, FROM_CTRL);
		break;
	case KBDC_SELF_TEST:
		out_reset(sc);
		sc->ram[0] |= KBD_SYS_FLAG_BIT;
		out_put(sc, 0x55, FROM_CTRL);
		break;
	case KBDC_DISABLE_KBD_PORT:
		sc->ram[0] |= KBD_DISABLE_KBD_PORT;
		break;
	case KBDC_ENABLE_KBD_PORT:
		sc->ram[0] &= (uint8_t)~KBD_DISABLE_KBD_PORT;
		break;
	case KBDC_READ_INPORT:
		out_put(sc, 0, FROM_CTRL);
		break;
	case KBDC_READ_OUTPORT:
		out_put(sc, sc->outport, FROM_CTRL);
		break;
	case KBDC_WRITE_OUTPORT:
	case KBDC_WRITE_KBD_OUTBUF:
	case KBDC_WRITE_AUX_OUTBUF:
	case KBDC_WRITE_TO_AUX:
		sc->curcmd = cmd;
		break;
	case KBDC_DISABLE_A20:
		sc->outport &= (uint8_t)~OUTPORT_A20;
		break;
	case KBDC_ENABLE_A20:
		sc->outport |= OUTPORT_A20;
		break;
	default:
		break;
	}
}

/* The data byte that a command waited for.  Locked. */
static void
command_data(struct atkbdc_softc *sc, uint8_t val)
{
	uint8_t cmd;

	cmd = sc->curcmd;
	sc->curcmd = 0;
	switch (cmd) {
	case KBDC_WRITE_OUTPORT:
		sc->outport = val;
		if ((val & OUTPORT_RESET) == 0)
			do_reset(sc);
		break;
	case KBDC_WRITE_KBD_OUTBUF:
		out_put(sc, val, FROM_KBD);
		break;
	case KBDC_WRITE_AUX_OUTBUF:
		out_put(sc, val, FROM_AUX);
		break;
	case KBDC_WRITE_TO_AUX:
		/* Writing to a device opens its port. */
		sc->ram[0] &= (uint8_t)~KBD_DISABLE_AUX_PORT;
		ps2mouse_write(sc->mouse, val, false);
		break;
	default:
		sc->ram[cmd - KBDC_WRITE_RAM] = val;
		break;
	}
}

static uint8_t
read_data(struct atkbdc_softc *sc)
{
	if (sc->out_count > 0) {
		sc->last = sc->out[sc->out_head].val;
		sc->out_head = (sc->out_head + 1) % OUT_FIFO_SZ;
		sc->out_count--;
		raise_irq(sc);
	}
	return (sc->last);
}

static int
data_handler(
    struct vmctx *ctx, int in, int port, int bytes, uint32_t *eax, void *arg)
{
	struct atkbdc_softc *sc = atkbdc;

	if (sc == NULL)
		return (-1);
	pthread_mutex_lock(&sc->mtx);
	if (in) {
		*eax = read_data(sc);
	} else {
		sc->last_was_cmd = false;
		if (sc->curcmd != 0) {
			command_data(sc, (uint8_t)*eax);
		} else {
			sc->ram[0] &= (uint8_t)~KBD_DISABLE_KBD_PORT;
			ps2kbd_write(sc->kbd, (uint8_t)*eax);
		}
	}
	poll_devices(sc);
	pthread_mutex_unlock(&sc->mtx);
	return (0);
}
INOUT_PORT(
    atkbdc_data, KBD_DATA_PORT, IOPORT_F_INOUT | IOPORT_F_BYTES, data_handler);

static uint8_t
status(const struct atkbdc_softc *sc)
{
	uint8_t sts;

	sts = KBDS_KEYLOCK;
	if ((sc->ram[0] & KBD_SYS_FLAG_BIT) != 0)
		sts |= KBDS_SYS_FLAG;
	if (sc->last_was_cmd)
		sts |= KBDS_CTRL_FLAG;
	if (sc->out_count > 0) {
		sts |= KBDS_KBD_BUFFER_FULL;
		if (sc->out[sc->out_head].from == FROM_AUX)
			sts |= KBDS_AUX_BUFFER_FULL;
	}
	return (sts);
}

static int
status_handler(
    struct vmctx *ctx, int in, int port, int bytes, uint32_t *eax, void *arg)
{
	struct atkbdc_softc *sc = atkbdc;

	if (sc == NULL)
		return (-1);
	pthread_mutex_lock(&sc->mtx);
	if (in) {
		*eax = status(sc);
	} else {
		sc->last_was_cmd = true;
		sc->curcmd = 0;
		command(sc, (uint8_t)*eax);
		poll_devices(sc);
	}
	pthread_mutex_unlock(&sc->mtx);
	return (0);
}
INOUT_PORT(atkbdc_status, KBD_STS_CTL_PORT, IOPORT_F_INOUT | IOPORT_F_BYTES,
    status_handler);

void
atkbdc_event(struct atkbdc_softc *sc, int iskbd)
{
	pthread_mutex_lock(&sc->mtx);
	poll_devices(sc);
	pthread_mutex_unlock(&sc->mtx);
}

int
atkbdc_init(struct vmctx *ctx)
{
	struct atkbdc_softc *sc;

	sc = calloc(1, sizeof(*sc));
	if (sc == NULL) {
		EPRINTLN("atkbdc: out of memory");
		return (ENOMEM);
	}
	pthread_mutex_init(&sc->mtx, NULL);
	sc->ctx = ctx;
	sc->outport = OUTPORT_RESET | OUTPORT_A20;
	sc->ram[0] = KBD_TRANSLATION | KBD_SYS_FLAG_BIT | KBD_ENABLE_KBD_INT |
	    KBD_ENABLE_AUX_INT;
	sc->kbd = ps2kbd_init();
	sc->mouse = ps2mouse_init();
	atkbdc = sc;
	if (sc->kbd == NULL || sc->mouse == NULL) {
		EPRINTLN("atkbdc: out of memory");
		atkbdc_cleanup();
		return (ENOMEM);
	}
	pci_irq_reserve(KBD_DEV_IRQ);
	pci_irq_reserve(AUX_DEV_IRQ);
	return (0);
}

void
atkbdc_cleanup(void)
{
	struct atkbdc_softc *sc = atkbdc;

	if (sc == NULL)
		return;
	atkbdc = NULL;
	ps2kbd_cleanup(sc->kbd);
	ps2mouse_cleanup(sc->mouse);
	pthread_mutex_destroy(&sc->mtx);
	free(sc);
}

static void
atkbdc_dsdt(struct aml *a)
{
	aml_device_begin(a, "KBD");
	aml_name_eisaid(a, "_HID", "PNP0303");
	aml_crs_begin(a);
	aml_res_io(a, KBD_DATA_PORT, 1);
	aml_res_io(a, KBD_STS_CTL_PORT, 1);
	aml_res_irq(a, KBD_DEV_IRQ);
	aml_crs_end(a);
	aml_device_end(a);

	aml_device_begin(a, "MOU");
	aml_name_eisaid(a, "_HID", "PNP0F13");
	aml_crs_begin(a);
	aml_res_irq(a, AUX_DEV_IRQ);
	aml_crs_end(a);
	aml_device_end(a);
}
LPC_DSDT(atkbdc_dsdt);
