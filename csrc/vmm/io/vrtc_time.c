/*
 * Calendar arithmetic of the RTC: the proleptic Gregorian calendar in UTC,
 * years 0 to 9999, and the chip's number formats.
 */
#include "vrtc_local.h"

#define SECS_PER_DAY 86400
#define HOUR_PM 0x80
#define ALARM_ANY 0xc0

static uint8_t
rtc_encode(const uint8_t *regs, unsigned int val)
{
	if (regs[RTC_STATUSB] & RTCSB_BINARY)
		return ((uint8_t)val);
	return ((uint8_t)((val / 10) << 4 | val % 10));
}

/* False when the byte is no number of that form up to max. */
static bool
rtc_decode(
    const uint8_t *regs, uint8_t byte, unsigned int max, unsigned int *val)
{
	if (regs[RTC_STATUSB] & RTCSB_BINARY)
		*val = byte;
	else {
		if ((byte & 0xf) > 9 || byte >> 4 > 9)
			return (false);
		*val = (unsigned int)(byte >> 4) * 10 + (byte & 0xf);
	}
	return (*val <= max);
}

static uint8_t
rtc_encode_hour(const uint8_t *regs, unsigned int hour)
{
	uint8_t byte;

	if (regs[RTC_STATUSB] & RTCSB_24HR)
		return (rtc_encode(regs, hour));
	byte = rtc_encode(regs, hour % 12 == 0 ? 12 : hour % 12);
	if (hour >= 12)
		byte |= HOUR_PM;
	return (byte);
}

static bool
rtc_decode_hour(const uint8_t *regs, uint8_t byte, unsigned int *hour)
{
	bool pm;

	if (regs[RTC_STATUSB] & RTCSB_24HR)
		return (rtc_decode(regs, byte, 23, hour));
	pm = (byte & HOUR_PM) != 0;
	if (!rtc_decode(regs, byte & (uint8_t)~HOUR_PM, 12, hour) || *hour == 0)
		return (false);
	*hour = *hour % 12 + (pm ? 12 : 0);
	return (true);
}

/* Days from 1970-01-01; months count from March, so leap days come last. */
static int64_t
days_from_date(int64_t year, unsigned int month, unsigned int mday)
{
	int64_t era, yoe, doy;

	if (month <= 2)
		year--;
	era = (year >= 0 ? year : year - 399) / 400;
	yoe = year - era * 400;
	doy = (153 * ((month + 9) % 12) + 2) / 5 + mday - 1;
	return (era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468);
}

static void
date_from_days(
    int64_t days, int64_t *year, unsigned int *month, unsigned int *mday)
{
	int64_t era, doe, yoe, doy, mp;

	days += 719468;
	era = (days >= 0 ? days : days - 146096) / 146097;
	doe = days - era * 146097;
	yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	mp = (5 * doy + 2) / 153;
	*mday = (unsigned int)(doy - (153 * mp + 2) / 5 + 1);
	*month = (unsigned int)(mp < 10 ? mp + 3 : mp - 9);
	*year = yoe + era * 400 + (*month <= 2 ? 1 : 0);
}

static unsigned int
days_in_month(int64_t year, unsigned int month)
{
	static const uint8_t days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31,
		30, 31 };

	if (month == 2 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0))
		return (29);
	return (days[month - 1]);
}

void
vrtc_secs_to_regs(int64_t secs, uint8_t *regs)
{
	int64_t days, year;
	unsigned int month, mday, daysec;

	days = (secs >= 0 ? secs : secs - (SECS_PER_DAY - 1)) / SECS_PER_DAY;
	daysec = (unsigned int)(secs - days * SECS_PER_DAY);
	date_from_days(days, &year, &month, &mday);
	year = (year % 10000 + 10000) % 10000;
	regs[RTC_SEC] = rtc_encode(regs, daysec % 60);
	regs[RTC_MIN] = rtc_encode(regs, daysec / 60 % 60);
	regs[RTC_HOUR] = rtc_encode_hour(regs, daysec / 3600);
	/* The first of January 1970 was a Thursday; Sunday is 1. */
	regs[RTC_WDAY] =
	    rtc_encode(regs, (unsigned int)(((days + 4) % 7 + 7) % 7) + 1);
	regs[RTC_MDAY] = rtc_encode(regs, mday);
	regs[RTC_MONTH] = rtc_encode(regs, month);
	regs[RTC_YEAR] = rtc_encode(regs, (unsigned int)(year % 100));
	regs[RTC_CENTURY] = rtc_encode(regs, (unsigned int)(year / 100));
}

bool
vrtc_regs_to_secs(const uint8_t *regs, int64_t *secs)
{
	unsigned int sec, min, hour, mday, month, yy, century;
	int64_t year;

	if (!rtc_decode(regs, regs[RTC_SEC], 59, &sec) ||
	    !rtc_decode(regs, regs[RTC_MIN], 59, &min) ||
	    !rtc_decode_hour(regs, regs[RTC_HOUR], &hour) ||
	    !rtc_decode(regs, regs[RTC_MDAY], 31, &mday) ||
	    !rtc_decode(regs, regs[RTC_MONTH], 12, &month) ||
	    !rtc_decode(regs, regs[RTC_YEAR], 99, &yy) ||
	    !rtc_decode(regs, regs[RTC_CENTURY], 99, &century))
		return (false);
	year = (int64_t)century * 100 + yy;
	if (month == 0 || mday == 0 || mday > days_in_month(year, month))
		return (false);
	*secs = days_from_date(year, month, mday) * SECS_PER_DAY +
	    (int64_t)hour * 3600 + min * 60 + sec;
	return (true);
}

static bool
alarm_field(const uint8_t *regs, uint8_t byte, unsigned int val)
{
	return (
	    (byte & ALARM_ANY) == ALARM_ANY || byte == rtc_encode(regs, val));
}

bool
vrtc_alarm_match(const uint8_t *regs, unsigned int daysec)
{
	uint8_t hour;

	hour = regs[RTC_HOUR_ALARM];
	return (alarm_field(regs, regs[RTC_SEC_ALARM], daysec % 60) &&
	    alarm_field(regs, regs[RTC_MIN_ALARM], daysec / 60 % 60) &&
	    ((hour & ALARM_ANY) == ALARM_ANY ||
		hour == rtc_encode_hour(regs, daysec / 3600)));
}
