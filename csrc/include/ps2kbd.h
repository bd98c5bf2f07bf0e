/* A PS/2 keyboard (scan code set 2). */
#ifndef _PS2KBD_H_
#define _PS2KBD_H_

#include <stdbool.h>
#include <stdint.h>

struct ps2kbd_softc;

struct ps2kbd_softc *ps2kbd_init(void);
void ps2kbd_cleanup(struct ps2kbd_softc *sc);
bool ps2kbd_read(struct ps2kbd_softc *sc, uint8_t *val);
void ps2kbd_write(struct ps2kbd_softc *sc, uint8_t val);
/* Bytes of scan code set 2 from a key; false: not enabled, or no room. */
bool ps2kbd_event(struct ps2kbd_softc *sc, const uint8_t *codes, int len);

#endif
