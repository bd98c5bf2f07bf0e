/* SMBIOS 2.6 structures from 0xF1000 to 0xF23FF (DSP0134). */
#ifndef _SMBIOSTBL_H_
#define _SMBIOSTBL_H_

struct vmctx;

#define SMBIOS_BASE 0xf1000UL
#define SMBIOS_LIMIT 0xf2400UL

/* 0, or an errno after one message (a bad uuid, no room). */
int smbios_build(struct vmctx *ctx);

#endif
