/* Between qemu_fwcfg.c (the device) and qemu_fwcfg_files.c (what it has). */
#ifndef _QEMU_FWCFG_LOCAL_H_
#define _QEMU_FWCFG_LOCAL_H_

#include <stddef.h>
#include <stdint.h>

struct vmctx;

struct fwcfg_item {
	uint8_t *data;
	uint32_t size;
};

/* Items that are no files; indices of fwcfg_items[]. */
#define FWCFG_SIGNATURE 0x00
#define FWCFG_ID 0x01
#define FWCFG_RAM_SIZE 0x03
#define FWCFG_NB_CPUS 0x05
#define FWCFG_MAX_CPUS 0x0f
#define FWCFG_FILE_DIR 0x19
#define FWCFG_FILE_FIRST 0x20
#define FWCFG_MAX_FILES 512
#define FWCFG_MAX_ITEMS (FWCFG_FILE_FIRST + FWCFG_MAX_FILES)

/* Set up before the vCPUs start, then only read. */
extern struct fwcfg_item fwcfg_items[FWCFG_MAX_ITEMS];

int fwcfg_set_item(unsigned int key, const void *data, size_t size);
/* The files of fwcfg.N.{name,string,file}.  0, or an errno after a line. */
int fwcfg_add_user_files(void);
int fwcfg_count_files(void);
/* Give the files their numbers in the order of their names. */
int fwcfg_build_directory(void);
int fwcfg_add_bootorder(void);
void fwcfg_free_files(void);

#endif
