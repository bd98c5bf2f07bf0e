/* A PS/2 mouse with three buttons (id 0). */
#ifndef _PS2MOUSE_H_
#define _PS2MOUSE_H_

#include <stdbool.h>
#include <stdint.h>

struct ps2mouse_softc;

struct ps2mouse_softc *ps2mouse_init(void);
void ps2mouse_cleanup(struct ps2mouse_softc *sc);
bool ps2mouse_read(struct ps2mouse_softc *sc, uint8_t *val);
/* insert: the byte is to appear as if the mouse had sent it. */
void ps2mouse_write(struct ps2mouse_softc *sc, uint8_t val, bool insert);
/* Relative motion and buttons (bit 0 left, 1 right, 2 middle). */
void ps2mouse_event(struct ps2mouse_softc *sc, int dx, int dy, uint8_t buttons);

#endif
