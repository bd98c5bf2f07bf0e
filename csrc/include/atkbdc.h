/* The 8042 keyboard controller with its two PS/2 devices. */
#ifndef _ATKBDC_H_
#define _ATKBDC_H_

struct atkbdc_softc;
struct ps2kbd_softc;
struct ps2mouse_softc;
struct vmctx;

int atkbdc_init(struct vmctx *ctx);
void atkbdc_cleanup(void);
/* A device has bytes; its lock is not held. */
void atkbdc_event(struct atkbdc_softc *sc, int iskbd);

#endif
