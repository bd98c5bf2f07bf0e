/*
 * What a disk's backing file or device is: opening it, its options, size and
 * geometry.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

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
	error = path == NULL ? ENOMEM :
			       set_config_value_node(nvl, "path", path);
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
	if (bc->bc_isblk && ss < bc->bc_sectsz) {
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

/* ---- what is behind the path ---- */

static bool
device_can_discard(const struct stat *sb)
{
	char path[96];
	unsigned long long max;
	bool found;
	FILE *fp;
	int i;

	/* A partition's queue is that of the disk above it. */
	for (i = 0; i < 2; i++) {
		snprintf(path, sizeof(path),
		    "/sys/dev/block/%u:%u/%squeue/discard_max_bytes",
		    major(sb->st_rdev), minor(sb->st_rdev),
		    i == 0 ? "" : "../");
		fp = fopen(path, "re");
		if (fp == NULL)
			continue;
		found = fscanf(fp, "%llu", &max) == 1 && max > 0;
		fclose(fp);
		return (found);
	}
	return (false);
}

static int
probe_device(struct blockif_ctxt *bc, const struct stat *sb)
{
	unsigned int psectsz;
	uint64_t size;
	int alignoff, sectsz;

	if (ioctl(bc->bc_fd, BLKGETSIZE64, &size) != 0 ||
	    ioctl(bc->bc_fd, BLKSSZGET, &sectsz) != 0)
		return (errno);
	if (ioctl(bc->bc_fd, BLKPBSZGET, &psectsz) != 0)
		psectsz = (unsigned int)sectsz;
	if (ioctl(bc->bc_fd, BLKALIGNOFF, &alignoff) != 0 || alignoff < 0)
		alignoff = 0;
	bc->bc_isblk = true;
	atomic_store(&bc->bc_size, (int64_t)size);
	bc->bc_sectsz = sectsz;
	bc->bc_psectsz = (int)psectsz;
	bc->bc_psectoff = alignoff;
	bc->bc_direct_align = sectsz;
	bc->bc_candelete = !bc->bc_rdonly && device_can_discard(sb);
	return (0);
}

static void
probe_file(struct blockif_ctxt *bc, const struct stat *sb)
{
	atomic_store(&bc->bc_size, (int64_t)sb->st_size);
	bc->bc_sectsz = DEV_BSIZE;
	bc->bc_psectsz = (int)sb->st_blksize;
	if (bc->bc_psectsz < DEV_BSIZE ||
	    (bc->bc_psectsz & (bc->bc_psectsz - 1)) != 0)
		bc->bc_psectsz = DEV_BSIZE;
	bc->bc_direct_align = bc->bc_psectsz;
	/* Behind the end there is nothing to lose: only an inquiry. */
	bc->bc_candelete = !bc->bc_rdonly &&
	    fallocate(bc->bc_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		sb->st_size, DEV_BSIZE) == 0;
}

static int
open_failed(const char *path, int error)
{
	ewarnx("Could not open backing file: %s: %s", path, strerror(error));
	return (error);
}

static int
open_backing(struct blockif_ctxt *bc, bool nocache, bool ro)
{
	const char *path = bc->bc_path;
	struct stat sb;
	int error, extra;

	extra = O_CLOEXEC | (bc->bc_sync ? O_SYNC : 0);
	bc->bc_fd = open(path, (ro ? O_RDONLY : O_RDWR) | extra);
	if (bc->bc_fd < 0 && !ro) {
		bc->bc_fd = open(path, O_RDONLY | extra);
		ro = true;
	}
	if (bc->bc_fd < 0)
		return (open_failed(path, errno));
	bc->bc_rdonly = ro;
	if (fstat(bc->bc_fd, &sb) != 0) {
		error = errno;
		ewarnx("Could not stat backing file: %s: %s", path,
		    strerror(error));
		return (error);
	}
	if (S_ISBLK(sb.st_mode)) {
		error = probe_device(bc, &sb);
		if (error != 0)
			return (open_failed(path, error));
	} else if (S_ISREG(sb.st_mode)) {
		probe_file(bc, &sb);
	} else {
		return (open_failed(
		    path, S_ISDIR(sb.st_mode) ? EISDIR : ENOTBLK));
	}
	if (nocache) {
		bc->bc_direct_fd =
		    open(path, (ro ? O_RDONLY : O_RDWR) | extra | O_DIRECT);
		if (bc->bc_direct_fd < 0)
			return (open_failed(path, errno));
	}
	return (0);
}

static void
blockif_free(struct blockif_ctxt *bc)
{
	if (bc->bc_fd >= 0)
		close(bc->bc_fd);
	if (bc->bc_direct_fd >= 0)
		close(bc->bc_direct_fd);
	free(bc->bc_path);
	free(bc);
}

struct blockif_ctxt *
blockif_open(nvlist_t *nvl, const char *ident)
{
	const char *path, *sectorsize;
	struct blockif_ctxt *bc;
	bool nocache, ro;
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
	bc->bc_fd = bc->bc_direct_fd = -1;
	nocache = get_config_bool_node_default(nvl, "nocache", false);
	bc->bc_sync = get_config_bool_node_default(nvl, "sync", false) ||
	    get_config_bool_node_default(nvl, "direct", false);
	ro = get_config_bool_node_default(nvl, "ro", false);
	bc->bc_bootindex =
	    (int)get_config_int_node_default(nvl, "bootindex", -1, -1, 255);
	if (config_failed() || open_backing(bc, nocache, ro) != 0)
		goto fail;
	sectorsize = get_config_value_node(nvl, "sectorsize");
	if (sectorsize != NULL && set_sectorsize(bc, sectorsize) != 0)
		goto fail;
	if (get_config_bool_node_default(nvl, "nodelete", false))
		bc->bc_candelete = false;
	error = blockif_start_workers(bc);
	if (error != 0) {
		EPRINTLN("block_if: cannot start threads: %s",
		    strerror(error));
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
	error = 0;
	if (!bc->bc_rdonly && fdatasync(bc->bc_fd) != 0) {
		error = errno;
		EPRINTLN("%s: cannot write to stable storage: %s", bc->bc_path,
		    strerror(error));
	}
	blockif_free(bc);
	return (error);
}

/* ---- a size that changes ---- */

static void
check_size(int fd, enum ev_type type, void *param)
{
	struct blockif_ctxt *bc = param;
	struct stat sb;
	int64_t size;
	uint64_t devsize;

	if (bc->bc_isblk) {
		if (ioctl(bc->bc_fd, BLKGETSIZE64, &devsize) != 0)
			return;
		size = (int64_t)devsize;
	} else {
		if (fstat(bc->bc_fd, &sb) != 0)
			return;
		size = sb.st_size;
	}
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
blockif_queuesz(struct blockif_ctxt *bc)
{
	return (BLOCKIF_MAXREQ - 1);
}

bool
blockif_is_ro(struct blockif_ctxt *bc)
{
	return (bc->bc_rdonly);
}

bool
blockif_candelete(struct blockif_ctxt *bc)
{
	return (bc->bc_candelete);
}

int
blockif_bootindex(struct blockif_ctxt *bc)
{
	return (bc->bc_bootindex);
}
