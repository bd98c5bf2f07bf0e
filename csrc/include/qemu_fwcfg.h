/*
 * QEMU's firmware configuration device (lpc.fwcfg=qemu): items by number,
 * files by name, read byte by byte from a port or by DMA.
 *
 * Order: qemu_fwcfg_init(), qemu_fwcfg_add_*() by anyone, then
 * qemu_fwcfg_finalize() before the vCPUs start; nothing changes after it.
 * Functions return 0, or an errno; init and finalize after one line.
 */
#ifndef _QEMU_FWCFG_H_
#define _QEMU_FWCFG_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pci_devinst;
struct vmctx;

/* Including the terminating NUL. */
#define QEMU_FWCFG_MAX_NAME 56

/* Take the user's files (fwcfg.N.*) and claim the ports when configured. */
int qemu_fwcfg_init(struct vmctx *ctx);
/* True: the guest has the device, so its files are worth building. */
bool qemu_fwcfg_present(void);
/*
 * Copy data into a file.  A file of that name that the user gave with -f
 * stays as it is.  EEXIST, ENAMETOOLONG, ENOSPC, ENOMEM.
 */
int qemu_fwcfg_add_file(const char *name, const void *data, size_t size);
/*
 * A device that firmware may boot from; the lowest index comes first, and a
 * negative one does not count.  path is what follows the device in Open
 * Firmware's notation ("/disk@0"), or "".  EEXIST after a line: another
 * device has that index.
 */
int qemu_fwcfg_add_boot_device(
    struct pci_devinst *pi, int bootindex, const char *path);
/* Sort the directory, add what only now is known (bootorder, e820). */
int qemu_fwcfg_finalize(struct vmctx *ctx);
void qemu_fwcfg_cleanup(void);

#endif
