/*
 * The registers of a 16550A (National Semiconductor PC16550D data sheet).
 *
 * The transmitter is as fast as its back end: THR empties at once unless the
 * other side is too slow, and then THRE stays clear until there is room.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "debug.h"
#include "uart_backend.h"
#include "uart_emul.h"

#define COM1_BASE 0x3f8
#define COM1_IRQ 4
#define COM2_BASE 0x2f8
#define COM2_IRQ 3
#define COM3_BASE 0x3e8
#define COM3_IRQ 4
#define COM4_BASE 0x2e8
#define COM4_IRQ 3

#define DEFAULT_RCLK 1843200
#define DEFAULT_BAUD 9600
#define FIFOSZ 16

/* Registers by offset. */
#define REG_DATA 0
#define REG_IER 1
#define REG_IIR 2 /* read */
#define REG_FCR 2 /* write */
#define REG_LCR 3
#define REG_MCR 4
#define REG_LSR 5
#define REG_MSR 6
#define REG_SCR 7
#define REG_DLL 0 /* with DLAB */
#define REG_DLH 1

#define IER_ERXRDY 0x01
#define IER_ETXRDY 0x02
#define IER_ERLS 0x04
#define IER_EMSC 0x08
#define IER_MASK 0x0f

#define IIR_FIFO_MASK 0xc0
#define IIR_RXTOUT 0x0c
#define IIR_RLS 0x06
#define IIR_RXRDY 0x04
#define IIR_TXRDY 0x02
#define IIR_MLSC 0x00
#define IIR_NOPEND 0x01

#define FCR_ENABLE 0x01
#define FCR_RCV_RST 0x02
#define FCR_XMT_RST 0x04
#define FCR_DMA 0x08
#define FCR_RX_MASK 0xc0

#define LCR_DLAB 0x80

#define MCR_DTR 0x01
#define MCR_RTS 0x02
#define MCR_OUT1 0x04
#define MCR_OUT2 0x08
#define MCR_LOOPBACK 0x10
#define MCR_MASK 0x1f

#define LSR_RXRDY 0x01
#define LSR_OE 0x02
#define LSR_THRE 0x20
#define LSR_TEMT 0x40

#define MSR_DCTS 0x01
#define MSR_DDSR 0x02
#define MSR_TERI 0x04
#define MSR_DDCD 0x08
#define MSR_DELTA_MASK 0x0f
#define MSR_CTS 0x10
#define MSR_DSR 0x20
#define MSR_RI 0x40
#define MSR_DCD 0x80

struct uart_ns16550_softc {
	pthread_mutex_t mtx;	    /* order: this, then the back end's */
	struct uart_softc *backend; /* NULL: output goes nowhere */
	uint8_t dll, dlh;
	uint8_t ier, lcr, mcr, lsr, msr, fcr, scr;
	uint8_t rxfifo[FIFOSZ];
	int rx_head, rx_count;
	bool thre_int_pending;
	uint8_t causes; /* IER bits of the causes that were announced */
	uart_intr_func_t intr_assert, intr_deassert;
	void *arg;
};

static struct {
	int baseaddr;
	int irq;
	bool inuse;
} uart_lres[] = {
	{ COM1_BASE, COM1_IRQ, false },
	{ COM2_BASE, COM2_IRQ, false },
	{ COM3_BASE, COM3_IRQ, false },
	{ COM4_BASE, COM4_IRQ, false },
};
#define UART_NLDEVS ((int)(sizeof(uart_lres) / sizeof(uart_lres[0])))

int
uart_legacy_alloc(int which, int *ioaddr, int *irq)
{
	if (which < 0 || which >= UART_NLDEVS || uart_lres[which].inuse)
		return (-1);
	uart_lres[which].inuse = true;
	*ioaddr = uart_lres[which].baseaddr;
	*irq = uart_lres[which].irq;
	return (0);
}

void
uart_legacy_dealloc(int which)
{
	if (which >= 0 && which < UART_NLDEVS)
		uart_lres[which].inuse = false;
}

/* ---- interrupts; locked ---- */

static bool
tx_ready(struct uart_ns16550_softc *sc)
{
	return (sc->backend == NULL || uart_tx_ready(sc->backend));
}

/* The causes that stand now, as the IER bits that enable them. */
static uint8_t
active_causes(const struct uart_ns16550_softc *sc)
{
	uint8_t causes;

	causes = 0;
	if ((sc->lsr & LSR_OE) != 0)
		causes |= IER_ERLS;
	if (sc->rx_count > 0)
		causes |= IER_ERXRDY;
	if (sc->thre_int_pending)
		causes |= IER_ETXRDY;
	if ((sc->msr & MSR_DELTA_MASK) != 0)
		causes |= IER_EMSC;
	return (causes & sc->ier);
}

static uint8_t
intr_reason(const struct uart_ns16550_softc *sc)
{
	uint8_t causes;

	causes = active_causes(sc);
	if ((causes & IER_ERLS) != 0)
		return (IIR_RLS);
	if ((causes & IER_ERXRDY) != 0)
		return ((sc->fcr & FCR_ENABLE) != 0 ? IIR_RXTOUT : IIR_RXRDY);
	if ((causes & IER_ETXRDY) != 0)
		return (IIR_TXRDY);
	if ((causes & IER_EMSC) != 0)
		return (IIR_MLSC);
	return (IIR_NOPEND);
}

/* The line is edge triggered: each new cause is an edge of its own. */
static void
toggle_intr(struct uart_ns16550_softc *sc)
{
	uint8_t causes, fresh;

	causes = active_causes(sc);
	fresh = causes & (uint8_t)~sc->causes;
	sc->causes = causes;
	if (fresh != 0)
		sc->intr_assert(sc->arg);
	else if (causes == 0)
		sc->intr_deassert(sc->arg);
}

/* ---- the receive FIFO; locked ---- */

static int
rxfifo_size(const struct uart_ns16550_softc *sc)
{
	return ((sc->fcr & FCR_ENABLE) != 0 ? FIFOSZ : 1);
}

static void
rxfifo_reset(struct uart_ns16550_softc *sc)
{
	sc->rx_head = sc->rx_count = 0;
}

static bool
rxfifo_put(struct uart_ns16550_softc *sc, uint8_t ch)
{
	if (sc->rx_count >= rxfifo_size(sc))
		return (false);
	sc->rxfifo[(sc->rx_head + sc->rx_count) % FIFOSZ] = ch;
	sc->rx_count++;
	return (true);
}

/* In loopback the receiver is cut off from the line. */
static void
rxfifo_fill(struct uart_ns16550_softc *sc)
{
	int ch;

	if (sc->backend == NULL || (sc->mcr & MCR_LOOPBACK) != 0)
		return;
	while (sc->rx_count < rxfifo_size(sc)) {
		ch = uart_rx_get(sc->backend);
		if (ch < 0)
			break;
		rxfifo_put(sc, (uint8_t)ch);
	}
}

static uint8_t
rxfifo_get(struct uart_ns16550_softc *sc)
{
	uint8_t ch;

	if (sc->rx_count == 0)
		return (0);
	ch = sc->rxfifo[sc->rx_head];
	sc->rx_head = (sc->rx_head + 1) % FIFOSZ;
	sc->rx_count--;
	return (ch);
}

/* ---- events of the back end; event thread ---- */

static void
backend_rx(void *arg)
{
	struct uart_ns16550_softc *sc = arg;

	pthread_mutex_lock(&sc->mtx);
	rxfifo_fill(sc);
	toggle_intr(sc);
	pthread_mutex_unlock(&sc->mtx);
}

static void
backend_tx(void *arg)
{
	struct uart_ns16550_softc *sc = arg;

	pthread_mutex_lock(&sc->mtx);
	sc->thre_int_pending = true;
	toggle_intr(sc);
	pthread_mutex_unlock(&sc->mtx);
}

/* ---- registers; locked ---- */

/* Modem inputs: the loop from our outputs, or a line that is always up. */
static uint8_t
modem_status(uint8_t mcr)
{
	uint8_t msr;

	if ((mcr & MCR_LOOPBACK) == 0)
		return (MSR_DCD | MSR_DSR);
	msr = 0;
	if ((mcr & MCR_RTS) != 0)
		msr |= MSR_CTS;
	if ((mcr & MCR_DTR) != 0)
		msr |= MSR_DSR;
	if ((mcr & MCR_OUT1) != 0)
		msr |= MSR_RI;
	if ((mcr & MCR_OUT2) != 0)
		msr |= MSR_DCD;
	return (msr);
}

static void
write_mcr(struct uart_ns16550_softc *sc, uint8_t value)
{
	uint8_t changed, msr;

	sc->mcr = value & MCR_MASK;
	msr = modem_status(sc->mcr);
	changed = msr ^ (sc->msr & (uint8_t)~MSR_DELTA_MASK);
	if ((changed & MSR_CTS) != 0)
		sc->msr |= MSR_DCTS;
	if ((changed & MSR_DSR) != 0)
		sc->msr |= MSR_DDSR;
	if ((changed & MSR_DCD) != 0)
		sc->msr |= MSR_DDCD;
	/* The ring indicator reports its trailing edge only. */
	if ((changed & MSR_RI) != 0 && (msr & MSR_RI) == 0)
		sc->msr |= MSR_TERI;
	sc->msr = (sc->msr & MSR_DELTA_MASK) | msr;
	rxfifo_fill(sc);
}

static void
write_fcr(struct uart_ns16550_softc *sc, uint8_t value)
{
	/* Changing modes empties the FIFO. */
	if (((sc->fcr ^ value) & FCR_ENABLE) != 0)
		rxfifo_reset(sc);
	if ((value & FCR_ENABLE) == 0) {
		sc->fcr = 0;
		return;
	}
	/* What still waits on the line's other side was not received yet. */
	if ((value & FCR_RCV_RST) != 0)
		rxfifo_reset(sc);
	sc->fcr = value & (FCR_ENABLE | FCR_DMA | FCR_RX_MASK);
	rxfifo_fill(sc);
}

static void
write_data(struct uart_ns16550_softc *sc, uint8_t value)
{
	if ((sc->mcr & MCR_LOOPBACK) != 0) {
		if (!rxfifo_put(sc, value))
			sc->lsr |= LSR_OE;
	} else if (sc->backend != NULL) {
		(void)uart_tx_put(sc->backend, value);
	}
	/* The line fell when THR was written; it may rise again. */
	sc->causes &= (uint8_t)~IER_ETXRDY;
	sc->thre_int_pending = tx_ready(sc);
}

static void
write_reg(struct uart_ns16550_softc *sc, int offset, uint8_t value)
{
	switch (offset) {
	case REG_DATA:
		write_data(sc, value);
		break;
	case REG_IER:
		/* Enabling the interrupt while THR is empty raises it. */
		if ((sc->ier & IER_ETXRDY) == 0 && (value & IER_ETXRDY) != 0)
			sc->thre_int_pending = tx_ready(sc);
		sc->ier = value & IER_MASK;
		break;
	case REG_FCR:
		write_fcr(sc, value);
		break;
	case REG_LCR:
		sc->lcr = value;
		break;
	case REG_MCR:
		write_mcr(sc, value);
		break;
	case REG_SCR:
		sc->scr = value;
		break;
	default:
		break; /* LSR and MSR are read-only */
	}
}

static uint8_t
read_iir(struct uart_ns16550_softc *sc)
{
	uint8_t reason;

	reason = intr_reason(sc);
	/* Reading the reason takes this one away. */
	if (reason == IIR_TXRDY)
		sc->thre_int_pending = false;
	return (reason | ((sc->fcr & FCR_ENABLE) != 0 ? IIR_FIFO_MASK : 0));
}

static uint8_t
read_lsr(struct uart_ns16550_softc *sc)
{
	uint8_t lsr;

	lsr = sc->lsr;
	if (tx_ready(sc))
		lsr |= LSR_THRE | LSR_TEMT;
	if (sc->rx_count > 0)
		lsr |= LSR_RXRDY;
	sc->lsr &= (uint8_t)~LSR_OE;
	return (lsr);
}

static uint8_t
read_reg(struct uart_ns16550_softc *sc, int offset)
{
	uint8_t reg;

	switch (offset) {
	case REG_DATA:
		reg = rxfifo_get(sc);
		rxfifo_fill(sc);
		break;
	case REG_IER:
		reg = sc->ier;
		break;
	case REG_IIR:
		reg = read_iir(sc);
		break;
	case REG_LCR:
		reg = sc->lcr;
		break;
	case REG_MCR:
		reg = sc->mcr;
		break;
	case REG_LSR:
		reg = read_lsr(sc);
		break;
	case REG_MSR:
		reg = sc->msr;
		sc->msr &= (uint8_t)~MSR_DELTA_MASK;
		break;
	case REG_SCR:
		reg = sc->scr;
		break;
	default:
		reg = 0xff;
		break;
	}
	return (reg);
}

uint8_t
uart_ns16550_read(struct uart_ns16550_softc *sc, int offset)
{
	uint8_t reg;

	pthread_mutex_lock(&sc->mtx);
	if ((sc->lcr & LCR_DLAB) != 0 && offset == REG_DLL) {
		reg = sc->dll;
	} else if ((sc->lcr & LCR_DLAB) != 0 && offset == REG_DLH) {
		reg = sc->dlh;
	} else {
		reg = read_reg(sc, offset);
		toggle_intr(sc);
	}
	pthread_mutex_unlock(&sc->mtx);
	return (reg);
}

void
uart_ns16550_write(struct uart_ns16550_softc *sc, int offset, uint8_t value)
{
	pthread_mutex_lock(&sc->mtx);
	if ((sc->lcr & LCR_DLAB) != 0 && offset == REG_DLL) {
		sc->dll = value;
	} else if ((sc->lcr & LCR_DLAB) != 0 && offset == REG_DLH) {
		sc->dlh = value;
	} else {
		write_reg(sc, offset, value);
		toggle_intr(sc);
	}
	pthread_mutex_unlock(&sc->mtx);
}

struct uart_ns16550_softc *
uart_ns16550_init(
    uart_intr_func_t intr_assert, uart_intr_func_t intr_deassert, void *arg)
{
	struct uart_ns16550_softc *sc;
	int divisor;

	sc = calloc(1, sizeof(*sc));
	if (sc == NULL)
		return (NULL);
	pthread_mutex_init(&sc->mtx, NULL);
	sc->intr_assert = intr_assert;
	sc->intr_deassert = intr_deassert;
	sc->arg = arg;
	divisor = DEFAULT_RCLK / DEFAULT_BAUD / 16;
	sc->dll = (uint8_t)divisor;
	sc->dlh = (uint8_t)(divisor >> 8);
	sc->msr = modem_status(0);
	return (sc);
}

void
uart_ns16550_cleanup(struct uart_ns16550_softc *sc)
{
	if (sc == NULL)
		return;
	if (sc->backend != NULL)
		uart_backend_close(sc->backend);
	pthread_mutex_destroy(&sc->mtx);
	free(sc);
}

int
uart_ns16550_tty_open(struct uart_ns16550_softc *sc, const char *device)
{
	if (device == NULL)
		return (0);
	sc->backend = uart_backend_open(device, backend_rx, backend_tx, sc);
	return (sc->backend != NULL ? 0 : -1);
}
