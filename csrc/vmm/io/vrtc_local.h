/*
 * Calendar arithmetic of the RTC (vrtc_time.c): seconds since 1970 against
 * the date and time registers in their BCD or binary, 12 or 24 hour form.
 */
#ifndef _VRTC_LOCAL_H_
#define _VRTC_LOCAL_H_

#include <stdbool.h>
#include <stdint.h>

/* Register numbers (MC146818 data sheet; 0x32 is the PC's century). */
#define RTC_SEC 0x00
#define RTC_SEC_ALARM 0x01
#define RTC_MIN 0x02
#define RTC_MIN_ALARM 0x03
#define RTC_HOUR 0x04
#define RTC_HOUR_ALARM 0x05
#define RTC_WDAY 0x06
#define RTC_MDAY 0x07
#define RTC_MONTH 0x08
#define RTC_YEAR 0x09
#define RTC_STATUSA 0x0a
#define RTC_STATUSB 0x0b
#define RTC_STATUSC 0x0c
#define RTC_STATUSD 0x0d
#define RTC_NVRAM_FIRST 0x0e
#define RTC_CENTURY 0x32
#define RTC_SIZE 128

#define RTCSA_UIP 0x80
#define RTCSA_DIVIDER 0x70
#define RTCSA_DIVIDER_RUN 0x20
#define RTCSA_RATE 0x0f

#define RTCSB_SET 0x80
#define RTCSB_PIE 0x40
#define RTCSB_AIE 0x20
#define RTCSB_UIE 0x10
#define RTCSB_BINARY 0x04
#define RTCSB_24HR 0x02

#define RTCIR_IRQF 0x80
#define RTCIR_PF 0x40
#define RTCIR_AF 0x20
#define RTCIR_UF 0x10

#define RTCSD_VALID 0x80

/* Fill the date and time registers, in the form that status B asks for. */
void vrtc_secs_to_regs(int64_t secs, uint8_t *regs);
/* False where the registers hold no date. */
bool vrtc_regs_to_secs(const uint8_t *regs, int64_t *secs);
/* True when the alarm registers match at the second of the day. */
bool vrtc_alarm_match(const uint8_t *regs, unsigned int daysec);

#endif
