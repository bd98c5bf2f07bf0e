/*
 * A PS/2 keyboard: its commands and answers, and scan code set 2 for keys.
 */
#include <pthread.h>
#include <stdlib.h>

#include "ps2kbd.h"

/* Commands from the host. */
#define PS2KC_SET_LEDS 0xed
#define PS2KC_ECHO 0xee
#define PS2KC_SET_SCANCODE_SET 0xf0
#define PS2KC_SEND_DEV_ID 0xf2
#define PS2KC_SET_TYPEMATIC 0xf3
#define PS2KC_ENABLE 0xf4
#define PS2KC_DISABLE 0xf5
#define PS2KC_SET_DEFAULTS 0xf6
#define PS2KC_SET_ALL_TMB 0xfa
#define PS2KC_RESEND 0xfe
#define PS2KC_RESET_DEV 0xff

/* Answers. */
#define PS2KC_BAT_SUCCESS 0xaa
#define PS2KC_ECHO_REPLY 0xee
#define PS2KC_ACK 0xfa
#define PS2KC_NACK 0xfe

#define PS2KBD_FIFOSZ 16

struct ps2kbd_softc {
	pthread_mutex_t mtx;
	uint8_t fifo[PS2KBD_FIFOSZ];
	int head, count;
	bool enabled;
	uint8_t curcmd; /* waits for its argument */
	uint8_t codeset;
};

static void
fifo_reset(struct ps2kbd_softc *sc)
{
	sc->head = sc->count = 0;
}

static void
fifo_put(struct ps2kbd_softc *sc, uint8_t val)
{
	if (sc->count == PS2KBD_FIFOSZ)
		return;
	sc->fifo[(sc->head + sc->count++) % PS2KBD_FIFOSZ] = val;
}

bool
ps2kbd_read(struct ps2kbd_softc *sc, uint8_t *val)
{
	bool have;

	pthread_mutex_lock(&sc->mtx);
	have = sc->count > 0;
	if (have) {
		*val = sc->fifo[sc->head];
		sc->head = (sc->head + 1) % PS2KBD_FIFOSZ;
		sc->count--;
	}
	pthread_mutex_unlock(&sc->mtx);
	return (have);
}

static void
set_defaults(struct ps2kbd_softc *sc, bool enabled)
{
	fifo_reset(sc);
	sc->enabled = enabled;
	sc->curcmd = 0;
	sc->codeset = 2;
}

static void
argument(struct ps2kbd_softc *sc, uint8_t val)
{
	fifo_put(sc, PS2KC_ACK);
	if (sc->curcmd == PS2KC_SET_SCANCODE_SET) {
		/* Zero asks which set is in use. */
		if (val == 0)
			fifo_put(sc, sc->codeset);
		else if (val <= 3)
			sc->codeset = val;
	}
	sc->curcmd = 0;
}

static void
command(struct ps2kbd_softc *sc, uint8_t val)
{
	switch (val) {
	case PS2KC_RESET_DEV:
		set_defaults(sc, true);
		fifo_put(sc, PS2KC_ACK);
		fifo_put(sc, PS2KC_BAT_SUCCESS);
		break;
	case PS2KC_DISABLE:
		set_defaults(sc, false);
		fifo_put(sc, PS2KC_ACK);
		break;
	case PS2KC_SET_DEFAULTS:
		set_defaults(sc, sc->enabled);
		fifo_put(sc, PS2KC_ACK);
		break;
	case PS2KC_ENABLE:
		fifo_reset(sc);
		sc->enabled = true;
		fifo_put(sc, PS2KC_ACK);
		break;
	case PS2KC_SEND_DEV_ID:
		fifo_put(sc, PS2KC_ACK);
		fifo_put(sc, 0xab);
		fifo_put(sc, 0x83);
		break;
	case PS2KC_ECHO:
		fifo_put(sc, PS2KC_ECHO_REPLY);
		break;
	case PS2KC_SET_LEDS:
	case PS2KC_SET_TYPEMATIC:
	case PS2KC_SET_SCANCODE_SET:
		sc->curcmd = val;
		fifo_put(sc, PS2KC_ACK);
		break;
	case PS2KC_SET_ALL_TMB:
		fifo_put(sc, PS2KC_ACK);
		break;
	default:
		fifo_put(sc, PS2KC_NACK);
		break;
	}
}

void
ps2kbd_write(struct ps2kbd_softc *sc, uint8_t val)
{
	pthread_mutex_lock(&sc->mtx);
	if (sc->curcmd != 0)
		argument(sc, val);
	else
		command(sc, val);
	pthread_mutex_unlock(&sc->mtx);
}

bool
ps2kbd_event(struct ps2kbd_softc *sc, const uint8_t *codes, int len)
{
	bool room;
	int i;

	pthread_mutex_lock(&sc->mtx);
	room = sc->enabled && len > 0 && len <= PS2KBD_FIFOSZ - sc->count;
	for (i = 0; room && i < len; i++)
		fifo_put(sc, codes[i]);
	pthread_mutex_unlock(&sc->mtx);
	return (room);
}

struct ps2kbd_softc *
ps2kbd_init(void)
{
	struct ps2kbd_softc *sc;

	sc = calloc(1, sizeof(*sc));
	if (sc == NULL)
		return (NULL);
	pthread_mutex_init(&sc->mtx, NULL);
	set_defaults(sc, true);
	return (sc);
}

void
ps2kbd_cleanup(struct ps2kbd_softc *sc)
{
	if (sc == NULL)
		return;
	pthread_mutex_destroy(&sc->mtx);
	free(sc);
}
