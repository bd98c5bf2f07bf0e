/*
 * ACPI power management registers, the SCI, the power button, and the two
 * reset ports 0xcf9 and 0x92.
 */
#include <pthread.h>

#include "acpi_aml.h"
#include "debug.h"
#include "debugcon.h"
#include "inout.h"
#include "pci_irq.h"
#include "pci_lpc.h"
#include "pm.h"
#include "vmmapi.h"

/* PM1 status (ACPI 5.1, 4.8.3.1). */
#define PM1_TMR_STS 0x0001
#define PM1_BM_STS 0x0010
#define PM1_GBL_STS 0x0020
#define PM1_PWRBTN_STS 0x0100
#define PM1_SLPBTN_STS 0x0200
#define PM1_RTC_STS 0x0400
#define PM1_WAK_STS 0x8000
#define PM1_STS_W1C                                                    \
	(PM1_WAK_STS | PM1_RTC_STS | PM1_SLPBTN_STS | PM1_PWRBTN_STS | \
	    PM1_BM_STS)

#define PM1_GBL_EN 0x0020
#define PM1_PWRBTN_EN 0x0100
#define PM1_RTC_EN 0x0400
/*
 * bhyve keeps the power button and the global bit only, and Linux complains
 * of an RTC event that cannot be enabled: the bit sticks, the event never
 * comes.
 */
#define PM1_EN_RW (PM1_PWRBTN_EN | PM1_GBL_EN | PM1_RTC_EN)

#define PM1_SCI_EN 0x0001
#define PM1_SLP_TYP 0x1c00
#define PM1_SLP_EN 0x2000
#define PM1_ALWAYS_ZERO 0xc003
#define SLP_TYP_S5 5

#define RESET_CTL_RST_CPU 0x04

#define PORT92 0x92
#define PORT92_FAST_RESET 0x01
#define PORT92_A20 0x02

static pthread_mutex_t pm_mtx = PTHREAD_MUTEX_INITIALIZER;
static uint16_t pm1_enable, pm1_status, pm1_control;
static uint8_t gpe0_active, gpe0_enabled;
static const uint8_t gpe0_supported = 1u << GPE_VMGENC;
static uint8_t reset_control, port92;
static bool sci_active;
static bool acpi_enabled; /* by SMI_CMD: arms the power button */

/* The SCI is a level: it follows status and enable bits.  Locked. */
static void
sci_update(struct vmctx *ctx)
{
	bool need;

	need = (pm1_enable & PM1_PWRBTN_EN) != 0 &&
	    (pm1_status & PM1_PWRBTN_STS) != 0;
	if ((pm1_enable & PM1_GBL_EN) != 0 && (pm1_status & PM1_GBL_STS) != 0)
		need = true;
	if ((gpe0_enabled & gpe0_active) != 0)
		need = true;
	if (need && !sci_active)
		vm_isa_assert_irq(ctx, SCI_INT, SCI_INT);
	else if (!need && sci_active)
		vm_isa_deassert_irq(ctx, SCI_INT, SCI_INT);
	sci_active = need;
}

void
sci_init(struct vmctx *ctx)
{
	pthread_mutex_lock(&pm_mtx);
	pm1_enable = pm1_status = pm1_control = 0;
	gpe0_active = gpe0_enabled = 0;
	reset_control = 0;
	port92 = PORT92_A20;
	sci_active = false;
	acpi_enabled = false;
	pthread_mutex_unlock(&pm_mtx);
	/* The FADT's SCI is level triggered, active low. */
	pci_irq_use(SCI_INT);
	vm_isa_set_irq_trigger(ctx, SCI_INT, LEVEL_TRIGGER);
	vm_pmtmr_set_location(ctx, IO_PMTMR);
}

bool
pm_acpi_enabled(void)
{
	bool on;

	pthread_mutex_lock(&pm_mtx);
	on = acpi_enabled;
	pthread_mutex_unlock(&pm_mtx);
	return (on);
}

bool
pm_power_button(struct vmctx *ctx)
{
	bool on;

	pthread_mutex_lock(&pm_mtx);
	on = acpi_enabled;
	if (on && (pm1_status & PM1_PWRBTN_STS) == 0) {
		pm1_status |= PM1_PWRBTN_STS;
		sci_update(ctx);
	}
	pthread_mutex_unlock(&pm_mtx);
	return (on);
}

void
acpi_raise_gpe(struct vmctx *ctx, unsigned int bit)
{
	pthread_mutex_lock(&pm_mtx);
	if (bit < 8 && (gpe0_supported & (1u << bit)) != 0) {
		gpe0_active |= (uint8_t)(1u << bit);
		sci_update(ctx);
	}
	pthread_mutex_unlock(&pm_mtx);
}

static int
pm1_status_handler(
    struct vmctx *ctx, int in, int port, int bytes, uint32_t *eax, void *arg)
{
	if (bytes != 2)
		return (-1);
	pthread_mutex_lock(&pm_mtx);
	if (in) {
		*eax = pm1_status;
	} else {
		pm1_status &= (uint16_t) ~(*eax & PM1_STS_W1C);
		sci_update(ctx);
	}
	pthread_mutex_unlock(&pm_mtx);
	return (0);
}
INOUT_PORT(pm1_status, PM1A_EVT_ADDR, IOPORT_F_INOUT, pm1_status_handler);

static int
pm1_enable_handler(
    struct vmctx *ctx, int in, int port, int bytes, uint32_t *eax, void *arg)
{
	if (bytes == 1)
		return (debugcon_access(in, eax));
	if (bytes != 2)
		return (-1);
	pthread_mutex_lock(&pm_mtx);
	if (in) {
		*eax = pm1_enable;
	} else {
		pm1_enable = (uint16_t)(*eax & PM1_EN_RW);
		sci_update(ctx);
	}
	pthread_mutex_unlock(&pm_mtx);
	return (0);
}
INOUT_PORT(pm1_enable, PM1A_EVT_ADDR + 2, IOPORT_F_INOUT, pm1_enable_handler);

static int
pm1_control_handler(
    struct vmctx *ctx, int in, int port, int bytes, uint32_t *eax, void *arg)
{
	bool off;

	if (bytes != 2)
		return (-1);
	off = false;
	pthread_mutex_lock(&pm_mtx);
	if (in) {
		*eax = pm1_control;
	} else {
		/* SCI_EN belongs to the platform; SLP_EN reads as zero. */
		pm1_control = (uint16_t)((pm1_control & PM1_SCI_EN) |
		    (*eax & ~(uint32_t)(PM1_SLP_EN | PM1_ALWAYS_ZERO)));
		off = (*eax & PM1_SLP_EN) != 0 &&
		    (*eax & PM1_SLP_TYP) >> 10 == SLP_TYP_S5;
	}
	pthread_mutex_unlock(&pm_mtx);
	if (off)
		(void)vm_suspend(ctx, VM_SUSPEND_POWEROFF);
	return (0);
}
INOUT_PORT(pm1_control, PM1A_CNT_ADDR, IOPORT_F_INOUT, pm1_control_handler);

int
pm1_access(struct vmctx *ctx, int in, int offset, int bytes, uint32_t *eax)
{
	if (bytes != 2)
		return (-1);
	switch (offset) {
	case 0:
		return (pm1_status_handler(ctx, in, 0, bytes, eax, NULL));
	case 2:
		return (pm1_enable_handler(ctx, in, 0, bytes, eax, NULL));
	case 4:
		return (pm1_control_handler(ctx, in, 0, bytes, eax, NULL));
	default:
		return (-1);
	}
}

static int
gpe0_sts_handler(
    struct vmctx *ctx, int in, int port, int bytes, uint32_t *eax, void *arg)
{
	pthread_mutex_lock(&pm_mtx);
	if (in) {
		*eax = gpe0_active;
	} else {
		gpe0_active &= (uint8_t) ~*eax;
		sci_update(ctx);
	}
	pthread_mutex_unlock(&pm_mtx);
	return (0);
}
INOUT_PORT(
    gpe0_sts, IO_GPE0_STS, IOPORT_F_INOUT | IOPORT_F_BYTES, gpe0_sts_handler);

static int
gpe0_en_handler(
    struct vmctx *ctx, int in, int port, int bytes, uint32_t *eax, void *arg)
{
	pthread_mutex_lock(&pm_mtx);
	if (in) {
		*eax = gpe0_enabled;
	} else {
		gpe0_enabled = (uint8_t)(*eax & gpe0_supported);
		sci_update(ctx);
	}
	pthread_mutex_unlock(&pm_mtx);
	return (0);
}
INOUT_PORT(
    gpe0_en, IO_GPE0_EN, IOPORT_F_INOUT | IOPORT_F_BYTES, gpe0_en_handler);

static int
smi_cmd_handler(
    struct vmctx *ctx, int in, int port, int bytes, uint32_t *eax, void *arg)
{
	if (bytes != 1)
		return (-1);
	pthread_mutex_lock(&pm_mtx);
	if (*eax == BHYVE_ACPI_ENABLE) {
		pm1_control |= PM1_SCI_EN;
		acpi_enabled = true;
	} else if (*eax == BHYVE_ACPI_DISABLE) {
		pm1_control &= (uint16_t)~PM1_SCI_EN;
		acpi_enabled = false;
	}
	pthread_mutex_unlock(&pm_mtx);
	return (0);
}
INOUT_PORT(smi_cmd, SMI_CMD, IOPORT_F_OUT, smi_cmd_handler);

static int
reset_handler(
    struct vmctx *ctx, int in, int port, int bytes, uint32_t *eax, void *arg)
{
	bool reset;

	if (bytes != 1)
		return (-1);
	reset = false;
	pthread_mutex_lock(&pm_mtx);
	if (in) {
		*eax = reset_control;
	} else {
		reset_control = (uint8_t)*eax;
		reset = (reset_control & RESET_CTL_RST_CPU) != 0;
	}
	pthread_mutex_unlock(&pm_mtx);
	/* Hard and soft resets are the same here. */
	if (reset)
		(void)vm_suspend(ctx, VM_SUSPEND_RESET);
	return (0);
}
INOUT_PORT(reset_reg, RESET_CTL_PORT, IOPORT_F_INOUT, reset_handler);

/* Fast A20 and reset.  A20 is always on; the bit only reads back. */
static int
port92_handler(
    struct vmctx *ctx, int in, int port, int bytes, uint32_t *eax, void *arg)
{
	bool reset;

	reset = false;
	pthread_mutex_lock(&pm_mtx);
	if (in) {
		*eax = port92;
	} else {
		reset = (*eax & PORT92_FAST_RESET) != 0;
		port92 = (uint8_t)(*eax & ~(uint32_t)PORT92_FAST_RESET);
	}
	pthread_mutex_unlock(&pm_mtx);
	if (reset)
		(void)vm_suspend(ctx, VM_SUSPEND_RESET);
	return (0);
}
INOUT_PORT(port92, PORT92, IOPORT_F_INOUT | IOPORT_F_BYTES, port92_handler);

SYSRES_IO(PM1A_EVT_ADDR, 8);
SYSRES_IO(IO_PMTMR, 4);
SYSRES_IO(IO_GPE0_BLK, IO_GPE0_LEN);
SYSRES_IO(SMI_CMD, 1);
SYSRES_IO(PORT92, 1);
