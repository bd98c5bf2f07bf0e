/*
 * ACPI power management ports (ACPI 5.1, chapter 4), the reset port 0xcf9
 * and port 0x92.  The numbers stand in the FADT too.
 */
#ifndef _PM_H_
#define _PM_H_

#include <stdbool.h>
#include <stdint.h>

struct vmctx;

#define SCI_INT 9
#define SMI_CMD 0xb2
#define BHYVE_ACPI_ENABLE 0xa0
#define BHYVE_ACPI_DISABLE 0xa1
#define PM1A_EVT_ADDR 0x400
#define PM1A_EVT_LEN 4
#define PM1A_CNT_ADDR 0x404
#define PM1A_CNT_LEN 2
#define IO_PMTMR 0x408
#define IO_GPE0_BLK 0x40c
#define IO_GPE0_LEN 2
#define IO_GPE0_STS IO_GPE0_BLK
#define IO_GPE0_EN (IO_GPE0_BLK + IO_GPE0_LEN / 2)
#define GPE_VMGENC 0
#define RESET_CTL_PORT 0xcf9
#define RESET_CTL_VALUE 0x06

void sci_init(struct vmctx *ctx);
void acpi_raise_gpe(struct vmctx *ctx, unsigned int bit);
/* True once the guest enabled ACPI and until it disables it. */
bool pm_acpi_enabled(void);
/* One access to the PM1 registers by their offset in the block (0 status, 2
 * enable, 4 control).  Non-zero: no register answers it. */
int pm1_access(struct vmctx *ctx, int in, int offset, int bytes, uint32_t *eax);
/* Press the power button.  False: the guest has not enabled ACPI. */
bool pm_power_button(struct vmctx *ctx);

#endif
