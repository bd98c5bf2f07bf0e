/* The RTC's date and the memory sizes that firmware reads from CMOS. */
#ifndef _RTC_H_
#define _RTC_H_

struct vmctx;

int rtc_init(struct vmctx *ctx); /* 0, or an errno after a line */

#endif
