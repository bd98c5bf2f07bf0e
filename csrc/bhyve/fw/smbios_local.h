/* Between smbiostbl.c (placement) and smbios_types.c (contents). */
#ifndef _SMBIOS_LOCAL_H_
#define _SMBIOS_LOCAL_H_

#include <stddef.h>
#include <stdint.h>

struct vmctx;

struct smbios_area {
	uint8_t *base;
	size_t room, len;
	uint16_t count, max_struct;
	int error;
};

void smbios_append(struct smbios_area *sa, const void *formatted, size_t flen,
    const char *const *strings, int nstrings);
void smbios_write_types(struct smbios_area *sa, struct vmctx *ctx);

#endif
