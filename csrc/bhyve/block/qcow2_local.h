/*
 * Between the files of the qcow2 format (QEMU's docs/interop/qcow2.txt).
 *
 * Locks, in this order:
 *	q_io		read: transfers; write: what frees clusters
 *	q_flush_mtx	one flush at a time
 *	q_mtx		the maps below it in struct qcow2
 *
 * What reaches the disk, and when, so that the image is whole after kill -9
 * or a power cut at any moment: a flush writes (1) dirty refcount blocks,
 * (2) waits for stable storage, which has the data then too, (3) writes
 * dirty L2 tables, waits, (4) writes dirty L1 entries, waits.  Only then are
 * the clusters freed that nothing refers to any more.  An image that is cut
 * off between has clusters that are counted and not used, at worst.
 */
#ifndef _QCOW2_LOCAL_H_
#define _QCOW2_LOCAL_H_

#include <endian.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "block_image.h"

#define QCOW2_MAGIC 0x514649fbU
#define QCOW2_MAX_L1 (32UL << 20)      /* bytes */
#define QCOW2_MAX_REFTABLE (8UL << 20) /* bytes */
#define QCOW2_MAX_DEPTH 16

/* Incompatible features. */
#define QCOW2_DIRTY (1UL << 0)
#define QCOW2_CORRUPT (1UL << 1)
#define QCOW2_EXTERNAL (1UL << 2)
#define QCOW2_COMPRESSION (1UL << 3)
#define QCOW2_EXTL2 (1UL << 4)

struct qcow2_header {
	uint32_t magic;
	uint32_t version;
	uint64_t backing_file_offset;
	uint32_t backing_file_size;
	uint32_t cluster_bits;
	uint64_t size;
	uint32_t crypt_method;
	uint32_t l1_size;
	uint64_t l1_table_offset;
	uint64_t refcount_table_offset;
	uint32_t refcount_table_clusters;
	uint32_t nb_snapshots;
	uint64_t snapshots_offset;
	/* Version 3. */
	uint64_t incompatible_features;
	uint64_t compatible_features;
	uint64_t autoclear_features;
	uint32_t refcount_order;
	uint32_t header_length;
	uint8_t compression_type;
	uint8_t padding[7];
};
_Static_assert(sizeof(struct qcow2_header) == 112, "qcow2 header");

/* Entries of L1 and L2 tables. */
#define QCOW2_COPIED (1UL << 63)
#define QCOW2_COMPRESSED (1UL << 62)
#define QCOW2_ZERO (1UL << 0) /* version 3 */
#define QCOW2_OFFSET 0x00fffffffffffe00UL

/* A table of one cluster in memory, as it is on disk (big-endian). */
struct qcow2_table {
	TAILQ_ENTRY(qcow2_table) t_lru;
	LIST_ENTRY(qcow2_table) t_hash;
	uint64_t t_offset;
	bool t_dirty;
	bool t_l2;	/* an L2 table, else a refcount block */
	bool t_writing; /* a flush has a copy that is not on disk yet */
	_Alignas(8) uint8_t t_data[];
};
TAILQ_HEAD(qcow2_lru, qcow2_table);
LIST_HEAD(qcow2_bucket, qcow2_table);
#define QCOW2_BUCKETS 256

/* A set of cluster numbers (open addressing). */
struct qcow2_set {
	uint64_t *s_slot;      /* number + 2; 0: never used, 1: removed */
	size_t s_size, s_used; /* s_used counts removed ones */
};

/* A write that has clusters which no table names yet. */
struct qcow2_inflight {
	LIST_ENTRY(qcow2_inflight) f_link;
	uint64_t f_first, f_count; /* guest clusters */
};

struct qcow2 {
	struct blk_image q_image;
	struct blk_image *q_file, *q_backing;
	int q_fd; /* of q_file */
	uint32_t q_version;
	unsigned int q_cluster_bits, q_l2_bits, q_ref_order, q_ref_bits;
	uint64_t q_cluster_size;
	uint64_t q_incompat;
	uint32_t q_nsnapshots;
	uint64_t q_snapshots;
	bool q_bitmaps;	       /* the image has persistent bitmaps */
	_Atomic bool q_broken; /* a table is wrong: no more writes */

	pthread_rwlock_t q_io;
	pthread_mutex_t q_flush_mtx;

	pthread_mutex_t q_mtx;
	pthread_cond_t q_done; /* a qcow2_inflight has gone */
	LIST_HEAD(, qcow2_inflight) q_inflight;
	uint64_t *q_l1;			      /* host byte order */
	uint32_t q_l1_size, q_l1_lo, q_l1_hi; /* dirty: lo <= i < hi */
	uint64_t q_l1_offset;
	uint64_t *q_rt; /* the refcount table, host byte order */
	uint64_t q_rt_size, q_rt_offset;
	struct qcow2_lru q_lru; /* most recent first */
	struct qcow2_bucket q_hash[QCOW2_BUCKETS];
	size_t q_ntables, q_maxtables;
	struct qcow2_set q_meta;  /* clusters that hold tables */
	uint64_t q_hint;	  /* no cluster before it is free */
	_Atomic uint64_t q_fsize; /* of the file */
	uint64_t *q_frees;	  /* clusters to be freed by the next flush */
	size_t q_nfrees, q_maxfrees;

	pthread_mutex_t q_zmtx; /* leaf: the decompressed cluster */
	uint64_t q_zentry;
	void *q_zbuf, *q_zin;
};

static inline struct qcow2 *
to_qcow2(struct blk_image *bi)
{
	return ((struct qcow2 *)bi);
}

/* ---- qcow2.c ---- */
int qcow2_header_write(
    struct qcow2 *q, size_t field, const void *data, size_t len);
int qcow2_close(struct blk_image *bi);
/* A table is wrong: say so, mark the image, refuse writes.  EIO. */
int qcow2_broken(struct qcow2 *q, const char *what);

/* ---- qcow2_cache.c; q_mtx is held ---- */
void qcow2_cache_init(struct qcow2 *q);
void qcow2_cache_free(struct qcow2 *q);
/* Clean tables go while there are too many. */
void qcow2_cache_trim(struct qcow2 *q);
/* The table at an offset, read if it is not there; NULL: *error says why. */
struct qcow2_table *qcow2_table_get(
    struct qcow2 *q, uint64_t offset, bool l2, int *error);
/* The table if it is in memory. */
struct qcow2_table *qcow2_table_peek(struct qcow2 *q, uint64_t offset);
/* A new one, all zeroes and dirty; NULL: no memory. */
struct qcow2_table *qcow2_table_new(struct qcow2 *q, uint64_t offset, bool l2);
bool qcow2_set_add(struct qcow2_set *s, uint64_t val); /* false: no memory */
bool qcow2_set_has(const struct qcow2_set *s, uint64_t val);
void qcow2_set_remove(struct qcow2_set *s, uint64_t val);

/* ---- qcow2_ref.c; q_mtx is held ---- */
uint64_t qcow2_ref_load(struct qcow2 *q, const void *block, uint64_t i);
void qcow2_ref_store(struct qcow2 *q, void *block, uint64_t i, uint64_t val);
/* Up to *count clusters in a row, at least one: the first one's number. */
int qcow2_alloc(struct qcow2 *q, uint64_t *count, uint64_t *first);
/* One reference less, at once. */
int qcow2_ref_drop(struct qcow2 *q, uint64_t cluster);
/* The same with the next flush: tables on disk still refer to it. */
void qcow2_free_later(struct qcow2 *q, uint64_t cluster);
void qcow2_free_entry(struct qcow2 *q, uint64_t entry);
void qcow2_apply_frees(struct qcow2 *q, const uint64_t *list, size_t n);

/* ---- qcow2_map.c; q_mtx is held ---- */
enum qcow2_kind { Q_HOLE, Q_ZERO, Q_DATA, Q_COMPRESSED };

struct qcow2_extent {
	enum qcow2_kind e_kind;
	bool e_copied;	  /* data that may be written in place */
	uint64_t e_host;  /* where the first byte is */
	uint64_t e_entry; /* of the first cluster */
	size_t e_len;
};

enum qcow2_kind qcow2_entry_kind(const struct qcow2 *q, uint64_t entry);
/* What is at offset, up to len bytes of one kind. */
int qcow2_map(
    struct qcow2 *q, uint64_t offset, size_t len, struct qcow2_extent *e);
/* The same; EAGAIN when the table is not in memory. */
int qcow2_map_peek(
    struct qcow2 *q, uint64_t offset, size_t len, struct qcow2_extent *e);
/* The L2 table of an offset for writing, made or copied if need be. */
int qcow2_l2_writable(
    struct qcow2 *q, uint64_t offset, struct qcow2_table **table);
uint64_t qcow2_l2_index(const struct qcow2 *q, uint64_t offset);
uint64_t qcow2_l2_load(const struct qcow2_table *t, uint64_t i);
void qcow2_l2_store(struct qcow2_table *t, uint64_t i, uint64_t entry);

/* ---- qcow2_flush.c ---- */
int qcow2_flush(struct qcow2 *q); /* q_mtx is not held */

/* ---- qcow2_io.c ---- */
extern const struct blk_ops qcow2_ops;

/* ---- qcow2_check.c ---- */
/* Count all references and set the refcounts; 0, or -1 after a line. */
int qcow2_rebuild(struct qcow2 *q);

#endif
