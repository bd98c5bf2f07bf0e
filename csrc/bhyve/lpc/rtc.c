/*
 * What bhyve puts into the RTC that the vmm emulates: the date, in local
 * time or UTC, and the memory sizes that firmware looks for in CMOS.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "acpi_aml.h"
#include "config.h"
#include "debug.h"
#include "pci_irq.h"
#include "pci_lpc.h"
#include "rtc.h"
#include "vmmapi.h"

#define IO_RTC 0x70

/* In units of 64 KB; the first from 16 MB on, the second from 4 GB on. */
#define RTC_LMEM_LSB 0x34
#define RTC_LMEM_MSB 0x35
#define RTC_HMEM_LSB 0x5b
#define RTC_HMEM_SB 0x5c
#define RTC_HMEM_MSB 0x5d

#define M_64KB (64UL << 10)
#define M_16MB (16UL << 20)

static int64_t
rtc_time(bool use_localtime)
{
	struct tm tm;
	time_t t;

	time(&t);
	if (use_localtime && localtime_r(&t, &tm) != NULL)
		t = timegm(&tm);
	return ((int64_t)t);
}

int
rtc_init(struct vmctx *ctx)
{
	const uint8_t cells[] = { RTC_LMEM_LSB, RTC_LMEM_MSB, RTC_HMEM_LSB,
		RTC_HMEM_SB, RTC_HMEM_MSB };
	uint8_t vals[sizeof(cells)];
	size_t himem, i, lomem;

	/* Less than 16 MB shows as none. */
	lomem = vm_get_lowmem_size(ctx);
	lomem = lomem > M_16MB ? (lomem - M_16MB) / M_64KB : 0;
	himem = vm_get_highmem_size(ctx) / M_64KB;
	vals[0] = (uint8_t)lomem;
	vals[1] = (uint8_t)(lomem >> 8);
	vals[2] = (uint8_t)himem;
	vals[3] = (uint8_t)(himem >> 8);
	vals[4] = (uint8_t)(himem >> 16);
	for (i = 0; i < sizeof(cells); i++) {
		if (vm_rtc_write(ctx, cells[i], vals[i]) != 0) {
			EPRINTLN(
			    "rtc: cell 0x%02x: %s", cells[i], strerror(errno));
			return (errno);
		}
	}
	if (vm_rtc_settime(ctx,
		rtc_time(get_config_bool_default("rtc.use_localtime", true))) !=
	    0) {
		EPRINTLN("rtc: cannot set the time: %s", strerror(errno));
		return (errno);
	}
	pci_irq_reserve(8);
	return (0);
}

static void
rtc_dsdt(struct aml *a)
{
	aml_device_begin(a, "RTC");
	aml_name_eisaid(a, "_HID", "PNP0B00");
	aml_crs_begin(a);
	aml_res_io(a, IO_RTC, 2);
	aml_res_irq(a, 8);
	aml_crs_end(a);
	aml_device_end(a);
}
LPC_DSDT(rtc_dsdt);

/* The second bank's index and data ports, and their aliases. */
SYSRES_IO(0x72, 6);
