/*
 * What a disk is: its options, the image behind it, its size and geometry.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block_local.h"
#include "debug.h"
#include "mevent.h"
#include "pci_emul.h"

#define DEV_BSIZE 512
#define RESIZE_CHECK_MS 1000

/* ---- options ---- */

int
blockif_legacy_config(nvlist_t *nvl, const char *opts)
{
	char *path;
	const char *comma;
	int error;

	if (opts == NULL)
		return (0);
	comma = strchr(opts, ',');
	if (comma == NULL)
		return (set_config_value_node(nvl, "path", opts));
	path = strndup(opts, (size_t)(comma - opts));
	error =
	    path == NULL ? ENOMEM : set_config_value_node(nvl, "path", path);
	free(path);
	if (error != 0)
		return (-1);
	return (pci_parse_legacy_config(nvl, comma + 1));
}

/* "L" or "L/P"; 0, or EINVAL after a line. */
static int
parse_sectorsize(const char *text, long *logical, long *physical)
{
	char *end;

	*logical = *physical = strtol(text, &end, 10);
	if (end != text && *end == '/') {
		text = end + 1;
		*physical = strtol(text, &end, 10);
	}
	if (end == text || *end != '\0' || *logical > INT_MAX ||
	    *physical > INT_MAX) {
		return (EINVAL);
	}
	return (0);
}

static int
set_sectorsize(struct blockif_ctxt *bc, const char *text)
{
	long ss, pss;

	if (parse_sectorsize(text, &ss, &pss) != 0) {
		EPRINTLN("Invalid sector size \"%s\"", text);
		return (EINVAL);
	}
	if (ss < DEV_BSIZE || (ss & (ss - 1)) != 0 || pss < ss ||
	    (pss & (pss - 1)) != 0) {
		EPRINTLN("Invalid sector size %ld/%ld", ss, pss);
		return (EINVAL);
	}
	if (bc->bc_image->bi_isblk && ss < bc->bc_sectsz) {
		EPRINTLN("Sector size %ld incompatible with underlying device "
			 "sector size %d",
		    ss, bc->bc_sectsz);
		return (EINVAL);
	}
	bc->bc_sectsz = (int)ss;
	bc->bc_psectsz = (int)pss;
	bc->bc_psectoff = 0;
	return (0);
}

/* ---- opening ---- */

static void
blockif_free(struct blockif_ctxt *bc)
{
	if (bc->bc_image != NULL)
		bc->bc_image->bi_ops->bo_close(bc->bc_image);
	free(bc->bc_path);
	free(bc);
}

/* The format is the user's word: what a guest writes is never looked at. */
static int
open_image(struct blockif_ctxt *bc, nvlist_t *nvl)
{
	struct blk_open how = { .path = bc->bc_path };
	const char *format;
	bool overlay;

	format = get_config_value_node(nvl, "format");
	overlay = get_config_bool_node_default(nvl, "overlay", false);
	how.nocache = get_config_bool_node_default(nvl, "nocache", false);
	how.sync = bc->bc_sync;
	how.backing = get_config_bool_node_default(nvl, "backing", false);
	how.ro = get_config_bool_node_default(nvl, "ro", false);
	if (overlay && how.ro) {
		EPRINTLN("%s: overlay and ro exclude each other", bc->bc_path);
		return (EINVAL);
	}
	how.ro |= overlay;
	if (config_failed())
		return (EINVAL);
	if (format == NULL || strcmp(format, "raw") == 0) {
		bc->bc_image = blk_raw_open(&how);
	} else if (strcmp(format, "qcow2") == 0) {
		bc->bc_image = blk_qcow2_open(&how);
		bc->bc_fixed = true;
	} else {
		EPRINTLN(
		    "%s: format %s is not raw or qcow2", bc->bc_path, format);
		return (EINVAL);
	}
	if (overlay && bc->bc_image != NULL)
		bc->bc_image = blk_overlay_open(bc->bc_image);
	if (bc->bc_image == NULL)
		return (EIO);
	if (overlay)
		bc->bc_sync = false;
	bc->bc_rdonly = bc->bc_image->bi_rdonly;
	bc->bc_candelete = bc->bc_image->bi_candelete;
	bc->bc_sectsz = bc->bc_image->bi_sectsz;
	bc->bc_psectsz = bc->bc_image->bi_psectsz;
	bc->bc_psectoff = bc->bc_image->bi_psectoff;
	atomic_store(&bc->bc_size, bc->bc_image->bi_size);
	return (0);
}

/*
 * Past the page cache a ring does the same for less of a processor; through it
 * the threads are faster.  0, or -1 after a line.
 */
static int
choose_engine(struct blockif_ctxt *bc, const char *aio)
{
	bool forced;
	int error;

	if (aio == NULL)
		aio = "auto";
	forced = strcmp(aio, "io_uring") == 0;
	if (!forced && strcmp(aio, "auto") != 0 &&
	    strcmp(aio, "threads") != 0) {
		EPRINTLN("%s: aio %s is not auto, threads or io_uring",
		    bc->bc_path, aio);
		return (-1);
	}
	if (forced && bc->bc_image->bi_ops->bo_plain == NULL) {
		EPRINTLN("%s: aio=io_uring is for raw images without overlay",
		    bc->bc_path);
		return (-1);
	}
	if (!forced && (strcmp(aio, "auto") != 0 || !bc->bc_image->bi_direct))
		return (0);
	error = blk_uring_start(bc);
	if (error == 0)
		return (0);
	EPRINTLN("%s: the host has no io_uring for us (%s)%s", bc->bc_path,
	    strerror(error), forced ? "" : ": threads transfer");
	return (forced ? -1 : 0);
}

struct blockif_ctxt *
blockif_open(nvlist_t *nvl, const char *ident)
{
	const char *path, *sectorsize;
	struct blockif_ctxt *bc;
	int error;

	path = get_config_value_node(nvl, "path");
	if (path == NULL) {
		EPRINTLN("Missing \"path\" for block device.");
		return (NULL);
	}
	bc = calloc(1, sizeof(*bc));
	if (bc == NULL || (bc->bc_path = strdup(path)) == NULL) {
		EPRINTLN("block_if: out of memory");
		free(bc);
		return (NULL);
	}
	snprintf(bc->bc_ident, sizeof(bc->bc_ident), "blk-%s", ident);
	bc->bc_sync = get_config_bool_node_default(nvl, "sync", false) ||
	    get_config_bool_node_default(nvl, "direct", false);
	bc->bc_bootindex =
	    (int)get_config_int_node_default(nvl, "bootindex", -1, -1, 255);
	if (config_failed() || open_image(bc, nvl) != 0)
		goto fail;
	sectorsize = get_config_value_node(nvl, "sectorsize");
	if (sectorsize != NULL && set_sectorsize(bc, sectorsize) != 0)
		goto fail;
	if (get_config_bool_node_default(nvl, "nodelete", false))
		bc->bc_candelete = false;
	error = blockif_start_workers(bc);
	if (error != 0) {
		EPRINTLN("block_if: cannot start threads: %s", strerror(error));
		goto fail;
	}
	if (choose_engine(bc, get_config_value_node(nvl, "aio")) != 0) {
		blockif_stop_workers(bc);
		goto fail;
	}
	return (bc);
fail:
	blockif_free(bc);
	return (NULL);
}

int
blockif_close(struct blockif_ctxt *bc)
{
	int error;

	if (bc->bc_resize_event != NULL)
		mevent_delete(bc->bc_resize_event);
	blockif_stop_workers(bc);
	error = bc->bc_image->bi_ops->bo_close(bc->bc_image);
	bc->bc_image = NULL;
	if (error != 0)
		EPRINTLN("%s: cannot write to stable storage: %s", bc->bc_path,
		    strerror(error));
	blockif_free(bc);
	return (error);
}

/* ---- a size that changes ---- */

static void
check_size(int fd, enum ev_type type, void *param)
{
	struct blockif_ctxt *bc = param;
	int64_t size;

	size = bc->bc_image->bi_ops->bo_size(bc->bc_image);
	if (atomic_exchange(&bc->bc_size, size) != size)
		bc->bc_resize_cb(bc, bc->bc_resize_arg, (size_t)size);
}

int
blockif_register_resize_callback(
    struct blockif_ctxt *bc, blockif_resize_cb *cb, void *cb_arg)
{
	if (bc->bc_resize_cb != NULL || cb == NULL)
		return (EINVAL);
	bc->bc_resize_cb = cb;
	bc->bc_resize_arg = cb_arg;
	bc->bc_resize_event =
	    mevent_add(RESIZE_CHECK_MS, EVF_TIMER, check_size, bc);
	return (bc->bc_resize_event != NULL ? 0 : errno);
}

/* ---- what it is like ---- */

const char *
blockif_path(struct blockif_ctxt *bc)
{
	return (bc->bc_path);
}

off_t
blockif_size(struct blockif_ctxt *bc)
{
	return (atomic_load(&bc->bc_size));
}

/* The geometry rule of the VHD format. */
void
blockif_chs(struct blockif_ctxt *bc, uint16_t *c, uint8_t *h, uint8_t *s)
{
	int64_t cylheads, sectors;
	int heads, secpt;

	sectors = atomic_load(&bc->bc_size) / bc->bc_sectsz;
	if (sectors > 65535L * 16 * 255)
		sectors = 65535L * 16 * 255;
	if (sectors >= 65536L * 16 * 63) {
		secpt = 255;
		heads = 16;
		cylheads = sectors / secpt;
	} else {
		secpt = 17;
		cylheads = sectors / secpt;
		heads = (int)((cylheads + 1023) / 1024);
		if (heads < 4)
			heads = 4;
		if (cylheads >= heads * 1024L || heads > 16) {
			secpt = 31;
			heads = 16;
			cylheads = sectors / secpt;
		}
		if (cylheads >= heads * 1024L) {
			secpt = 63;
			heads = 16;
			cylheads = sectors / secpt;
		}
	}
	*c = (uint16_t)(cylheads / heads);
	*h = (uint8_t)heads;
	*s = (uint8_t)secpt;
}

int
blockif_sectsz(struct blockif_ctxt *bc)
{
	return (bc->bc_sectsz);
}

void
blockif_psectsz(struct blockif_ctxt *bc, int *size, int *off)
{
	*size = bc->bc_psectsz;
	*off = bc->bc_psectoff;
}

int
blockif_unit(struct blockif_ctxt *bc)
{
	return (bc->bc_image->bi_unit != 0 ? bc->bc_image->bi_unit
					   : bc->bc_psectsz);
}

int
blockif_queuesz(struct blockif_ctxt *bc)
{
	return (BLOCKIF_RING_MAX + BLOCKIF_NUMTHR - 1);
}

bool
blockif_is_ro(struct blockif_ctxt *bc)
{
	return (bc->bc_rdonly);
}

bool
blockif_delete_zeroes(struct blockif_ctxt *bc)
{
	return (bc->bc_image->bi_zeroes);
}

bool
blockif_candelete(struct blockif_ctxt *bc)
{
	return (bc->bc_candelete);
}

const char *
blockif_engine(struct blockif_ctxt *bc)
{
	return (bc->bc_uring != NULL ? "io_uring" : "threads");
}

int
blockif_bootindex(struct blockif_ctxt *bc)
{
	return (bc->bc_bootindex);
}
