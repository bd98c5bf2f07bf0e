/*
 * A 16550A UART: registers, FIFOs and interrupt logic.  Its bytes come from
 * and go to a uart_backend.
 */
#ifndef _UART_EMUL_H_
#define _UART_EMUL_H_

#include <stdint.h>

#define UART_NS16550_IO_BAR_SIZE 8

struct uart_ns16550_softc;
typedef void (*uart_intr_func_t)(void *arg);

/*
 * assert is called for each new cause, deassert when none is left; the
 * UART's lock is held.
 */
struct uart_ns16550_softc *uart_ns16550_init(
    uart_intr_func_t intr_assert, uart_intr_func_t intr_deassert, void *arg);
void uart_ns16550_cleanup(struct uart_ns16550_softc *sc);
/* Port and IRQ of COM1 to COM4 (which 0 to 3); 0, or -1: taken or absent. */
int uart_legacy_alloc(int which, int *ioaddr, int *irq);
void uart_legacy_dealloc(int which);
uint8_t uart_ns16550_read(struct uart_ns16550_softc *sc, int offset);
void uart_ns16550_write(
    struct uart_ns16550_softc *sc, int offset, uint8_t value);
/* 0, or non-zero after one EPRINTLN. */
int uart_ns16550_tty_open(struct uart_ns16550_softc *sc, const char *device);

#endif
