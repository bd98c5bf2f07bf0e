/*
 * A 16550A as a PCI function with the identity of SIIG's one-port card, whose
 * registers are BAR0's eight ports.
 */
#include "debug.h"
#include "pci_emul.h"
#include "uart_emul.h"

#define COM_VENDOR 0x131f
#define COM_DEV 0x2000

/* The interrupt is a level here: a cause that stays keeps it asserted. */
static void
pci_uart_intr_assert(void *arg)
{
	pci_lintr_assert(arg);
}

static void
pci_uart_intr_deassert(void *arg)
{
	pci_lintr_deassert(arg);
}

static void
pci_uart_write(struct pci_devinst *pi, int baridx, uint64_t offset, int size,
    uint64_t value)
{
	if (baridx == 0 && size == 1)
		uart_ns16550_write(pi->pi_arg, (int)offset, (uint8_t)value);
}

static uint64_t
pci_uart_read(struct pci_devinst *pi, int baridx, uint64_t offset, int size)
{
	if (baridx != 0 || size != 1)
		return (~0UL);
	return (uart_ns16550_read(pi->pi_arg, (int)offset));
}

/* The whole argument is the back end: it may have commas of its own. */
static int
pci_uart_legacy_config(nvlist_t *nvl, const char *opts)
{
	if (opts == NULL || *opts == '\0')
		return (0);
	return (set_config_value_node(nvl, "path", opts) != 0 ? -1 : 0);
}

static int
pci_uart_init(struct pci_devinst *pi, nvlist_t *nvl)
{
	struct uart_ns16550_softc *sc;

	sc =
	    uart_ns16550_init(pci_uart_intr_assert, pci_uart_intr_deassert, pi);
	if (sc == NULL ||
	    pci_emul_alloc_bar(pi, 0, PCIBAR_IO, UART_NS16550_IO_BAR_SIZE) !=
		0) {
		EPRINTLN("%s: cannot set up", pi->pi_name);
		uart_ns16550_cleanup(sc);
		return (1);
	}
	pci_lintr_request(pi);
	pci_set_cfgdata16(pi, PCIR_VENDOR, COM_VENDOR);
	pci_set_cfgdata16(pi, PCIR_DEVICE, COM_DEV);
	pci_set_cfgdata8(pi, PCIR_CLASS, PCIC_SIMPLECOMM);
	pi->pi_arg = sc;
	if (uart_ns16550_tty_open(sc, get_config_value_node(nvl, "path")) !=
	    0) {
		uart_ns16550_cleanup(sc);
		return (1);
	}
	return (0);
}

static void
pci_uart_cleanup(struct pci_devinst *pi)
{
	uart_ns16550_cleanup(pi->pi_arg);
}

static const struct pci_devemu pci_de_com = {
	.pe_emu = "uart",
	.pe_init = pci_uart_init,
	.pe_legacy_config = pci_uart_legacy_config,
	.pe_barwrite = pci_uart_write,
	.pe_barread = pci_uart_read,
	.pe_cleanup = pci_uart_cleanup,
};
PCI_EMUL_SET(pci_de_com);
