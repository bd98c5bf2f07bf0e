/*
 * Where a UART's bytes go: stdio, a terminal device, a TCP or UNIX server
 * socket with one client.  Output is collected and written by the event
 * thread within a millisecond; a byte costs no system call.
 */
#ifndef _UART_BACKEND_H_
#define _UART_BACKEND_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct uart_softc;

/* Event thread, no lock of the backend's held: uart_rx_get() has bytes, or
 * room was made for output. */
typedef void (*uart_event_func_t)(void *arg);

/* NULL after one EPRINTLN.  device: "stdio", a path, "tcp=IP:port",
 * "tcp=[v6]:port" or "socket,PATH[,wait]". */
struct uart_softc *uart_backend_open(
    const char *device, uart_event_func_t rx, uart_event_func_t tx, void *arg);
void uart_backend_close(struct uart_softc *sc); /* flushes */
/* Next received byte, or -1. */
int uart_rx_get(struct uart_softc *sc);
/* Queue a byte.  False: the queue is full and the byte is lost. */
bool uart_tx_put(struct uart_softc *sc, uint8_t ch);
/* False while the other side is too slow; the tx function then tells. */
bool uart_tx_ready(struct uart_softc *sc);

/* Put the terminal back as it was.  Harmless when nothing changed; also
 * called at exit. */
void uart_restore_tty(void);

#endif
