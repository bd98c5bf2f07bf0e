/*
 * A PS/2 mouse with three buttons: its commands, answers and packets.
 */
#include <pthread.h>
#include <stdlib.h>

#include "ps2mouse.h"

/* Commands from the host. */
#define PS2MC_SET_SCALING1 0xe6
#define PS2MC_SET_SCALING2 0xe7
#define PS2MC_SET_RESOLUTION 0xe8
#define PS2MC_SEND_DEV_STATUS 0xe9
#define PS2MC_SET_STREAM_MODE 0xea
#define PS2MC_SEND_DEV_DATA 0xeb
#define PS2MC_SET_REMOTE_MODE 0xf0
#define PS2MC_SEND_DEV_ID 0xf2
#define PS2MC_SET_SAMPLING_RATE 0xf3
#define PS2MC_ENABLE 0xf4
#define PS2MC_DISABLE 0xf5
#define PS2MC_SET_DEFAULTS 0xf6
#define PS2MC_RESET_DEV 0xff

/* Answers. */
#define PS2MC_BAT_SUCCESS 0xaa
#define PS2MC_ACK 0xfa
#define PS2MC_NACK 0xfe
#define PS2MOUSE_DEV_ID 0x00

/* Status byte. */
#define PS2M_STS_RIGHT_BUTTON 0x01
#define PS2M_STS_MID_BUTTON 0x02
#define PS2M_STS_LEFT_BUTTON 0x04
#define PS2M_STS_SCALING_21 0x10
#define PS2M_STS_ENABLE_DEV 0x20
#define PS2M_STS_REMOTE_MODE 0x40

/* First byte of a packet. */
#define PS2M_DATA_AONE 0x08
#define PS2M_DATA_X_SIGN 0x10
#define PS2M_DATA_Y_SIGN 0x20

#define BUTTON_LEFT 0x1
#define BUTTON_RIGHT 0x2
#define BUTTON_MID 0x4

#define PS2MOUSE_FIFOSZ 16

struct ps2mouse_softc {
	pthread_mutex_t mtx;
	uint8_t fifo[PS2MOUSE_FIFOSZ];
	int head, count;
	uint8_t status;
	uint8_t resolution, sampling_rate;
	uint8_t curcmd;
	uint8_t buttons;
	int dx, dy; /* motion that was not yet sent */
};

static void
fifo_reset(struct ps2mouse_softc *sc)
{
	sc->head = sc->count = 0;
}

static void
fifo_put(struct ps2mouse_softc *sc, uint8_t val)
{
	if (sc->count == PS2MOUSE_FIFOSZ)
		return;
	sc->fifo[(sc->head + sc->count++) % PS2MOUSE_FIFOSZ] = val;
}

static void
set_defaults(struct ps2mouse_softc *sc)
{
	fifo_reset(sc);
	sc->dx = sc->dy = 0;
	sc->curcmd = 0;
	sc->status = 0;
	sc->resolution = 2; /* 4 counts a millimetre */
	sc->sampling_rate = 100;
}

static int
clamp(int v)
{
	return (v > 255 ? 255 : v < -256 ? -256 : v);
}

/* One packet of what has gathered; the rest waits for the next. */
static void
send_packet(struct ps2mouse_softc *sc)
{
	uint8_t first;
	int dx, dy;

	if (PS2MOUSE_FIFOSZ - sc->count < 3)
		return;
	dx = clamp(sc->dx);
	dy = clamp(sc->dy);
	sc->dx -= dx;
	sc->dy -= dy;
	first = PS2M_DATA_AONE | (sc->buttons & 7);
	if (dx < 0)
		first |= PS2M_DATA_X_SIGN;
	if (dy < 0)
		first |= PS2M_DATA_Y_SIGN;
	fifo_put(sc, first);
	fifo_put(sc, (uint8_t)dx);
	fifo_put(sc, (uint8_t)dy);
}

static bool
streaming(const struct ps2mouse_softc *sc)
{
	return ((sc->status & PS2M_STS_ENABLE_DEV) != 0 &&
	    (sc->status & PS2M_STS_REMOTE_MODE) == 0);
}

bool
ps2mouse_read(struct ps2mouse_softc *sc, uint8_t *val)
{
	bool have;

	pthread_mutex_lock(&sc->mtx);
	if (sc->count == 0 && streaming(sc) && (sc->dx != 0 || sc->dy != 0))
		send_packet(sc);
	have = sc->count > 0;
	if (have) {
		*val = sc->fifo[sc->head];
		sc->head = (sc->head + 1) % PS2MOUSE_FIFOSZ;
		sc->count--;
	}
	pthread_mutex_unlock(&sc->mtx);
	return (have);
}

static void
send_status(struct ps2mouse_softc *sc)
{
	uint8_t status;

	status = sc->status;
	if ((sc->buttons & BUTTON_LEFT) != 0)
		status |= PS2M_STS_LEFT_BUTTON;
	if ((sc->buttons & BUTTON_RIGHT) != 0)
		status |= PS2M_STS_RIGHT_BUTTON;
	if ((sc->buttons & BUTTON_MID) != 0)
		status |= PS2M_STS_MID_BUTTON;
	fifo_put(sc, status);
	fifo_put(sc, sc->resolution);
	fifo_put(sc, sc->sampling_rate);
}

static void
command(struct ps2mouse_softc *sc, uint8_t val)
{
	/* A new command takes the place of answers nobody fetched. */
	if (val != PS2MC_RESET_DEV && val != PS2MC_SET_DEFAULTS)
		fifo_reset(sc);
	switch (val) {
	case PS2MC_RESET_DEV:
		set_defaults(sc);
		fifo_put(sc, PS2MC_ACK);
		fifo_put(sc, PS2MC_BAT_SUCCESS);
		fifo_put(sc, PS2MOUSE_DEV_ID);
		return;
	case PS2MC_SET_DEFAULTS:
		set_defaults(sc);
		break;
	case PS2MC_DISABLE:
		sc->status &= (uint8_t)~PS2M_STS_ENABLE_DEV;
		break;
	case PS2MC_ENABLE:
		sc->status |= PS2M_STS_ENABLE_DEV;
		break;
	case PS2MC_SET_SAMPLING_RATE:
	case PS2MC_SET_RESOLUTION:
		sc->curcmd = val;
		break;
	case PS2MC_SEND_DEV_ID:
		fifo_put(sc, PS2MC_ACK);
		fifo_put(sc, PS2MOUSE_DEV_ID);
		return;
	case PS2MC_SET_REMOTE_MODE:
		sc->status |= PS2M_STS_REMOTE_MODE;
		break;
	case PS2MC_SET_STREAM_MODE:
		sc->status &= (uint8_t)~PS2M_STS_REMOTE_MODE;
		break;
	case PS2MC_SEND_DEV_DATA:
		fifo_put(sc, PS2MC_ACK);
		send_packet(sc);
		return;
	case PS2MC_SEND_DEV_STATUS:
		fifo_put(sc, PS2MC_ACK);
		send_status(sc);
		return;
	case PS2MC_SET_SCALING1:
		sc->status &= (uint8_t)~PS2M_STS_SCALING_21;
		break;
	case PS2MC_SET_SCALING2:
		sc->status |= PS2M_STS_SCALING_21;
		break;
	default:
		fifo_put(sc, PS2MC_NACK);
		return;
	}
	fifo_put(sc, PS2MC_ACK);
}

void
ps2mouse_write(struct ps2mouse_softc *sc, uint8_t val, bool insert)
{
	pthread_mutex_lock(&sc->mtx);
	if (insert) {
		fifo_reset(sc);
		fifo_put(sc, val);
	} else if (sc->curcmd != 0) {
		if (sc->curcmd == PS2MC_SET_SAMPLING_RATE)
			sc->sampling_rate = val;
		else
			sc->resolution = val;
		sc->curcmd = 0;
		fifo_put(sc, PS2MC_ACK);
	} else {
		command(sc, val);
	}
	pthread_mutex_unlock(&sc->mtx);
}

void
ps2mouse_event(struct ps2mouse_softc *sc, int dx, int dy, uint8_t buttons)
{
	bool pressed;

	pthread_mutex_lock(&sc->mtx);
	pressed = sc->buttons != buttons;
	sc->buttons = buttons;
	/* Motion that piles up must stay within an int. */
	if (abs(sc->dx) < 1 << 20 && abs(dx) < 1 << 20)
		sc->dx += dx;
	if (abs(sc->dy) < 1 << 20 && abs(dy) < 1 << 20)
		sc->dy += dy;
	if (streaming(sc) && (pressed || sc->dx != 0 || sc->dy != 0))
		send_packet(sc);
	pthread_mutex_unlock(&sc->mtx);
}

struct ps2mouse_softc *
ps2mouse_init(void)
{
	struct ps2mouse_softc *sc;

	sc = calloc(1, sizeof(*sc));
	if (sc == NULL)
		return (NULL);
	pthread_mutex_init(&sc->mtx, NULL);
	set_defaults(sc);
	return (sc);
}

void
ps2mouse_cleanup(struct ps2mouse_softc *sc)
{
	if (sc == NULL)
		return;
	pthread_mutex_destroy(&sc->mtx);
	free(sc);
}
