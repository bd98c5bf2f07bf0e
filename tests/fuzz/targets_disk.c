/*
 * Fuzz target: disk images.  The file is the input's, the operations are those
 * that a guest makes through any disk model.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "fuzz.h"
#include "qcow2_local.h"

#define CLUSTER 512UL
#define CLUSTERS 16 /* of the good image */
#define IMAGE (CLUSTER * CLUSTERS)
#define DISK_SIZE (128UL * CLUSTER) /* two L2 tables */
#define BASE_NAME 200UL
#define MOST_BYTES (256UL << 20)
#define TRANSFER 0x10000UL
#define DELETED (16UL << 20) /* and zeroed, at a time */
#define OVERLAID (1L << 33)
#define OPERATIONS 32

static uint8_t good[IMAGE];

static void
put64(size_t at, uint64_t val)
{
	val = htobe64(val);
	memcpy(good + at, &val, sizeof(val));
}

/* A cluster of text as zlib makes it, without its frame. */
static size_t
compressed_cluster(uint8_t *out, size_t room)
{
	static uint8_t text[CLUSTER];
	z_stream z = { 0 };

	memset(text, 'q', sizeof(text));
	CHECK(deflateInit2(&z, 9, Z_DEFLATED, -12, 8, Z_DEFAULT_STRATEGY) ==
	    Z_OK);
	z.next_in = text;
	z.avail_in = sizeof(text);
	z.next_out = out;
	z.avail_out = (unsigned int)room;
	CHECK(deflate(&z, Z_FINISH) == Z_STREAM_END);
	deflateEnd(&z);
	return (room - z.avail_out);
}

/*
 * Clusters: header, refcount table, refcount block, L1, two L2 tables, data,
 * a compressed one; zeroes and holes over a base that is shorter.
 */
static void
make_good(void)
{
	struct qcow2_header h = {
		.magic = htobe32(QCOW2_MAGIC),
		.version = htobe32(3),
		.backing_file_offset = htobe64(BASE_NAME),
		.backing_file_size = htobe32(4),
		.cluster_bits = htobe32(9),
		.size = htobe64(DISK_SIZE),
		.l1_size = htobe32(2),
		.l1_table_offset = htobe64(3 * CLUSTER),
		.refcount_table_offset = htobe64(1 * CLUSTER),
		.refcount_table_clusters = htobe32(1),
		.refcount_order = htobe32(4),
		.header_length = htobe32(sizeof(h)),
	};
	static const uint32_t format[2] = { 0xe2792acaU, 3 };
	uint32_t word;
	size_t n;

	memcpy(good, &h, sizeof(h));
	for (int i = 0; i < 2; i++) {
		word = htobe32(format[i]);
		memcpy(good + sizeof(h) + (size_t)i * 4, &word, 4);
	}
	memcpy(good + sizeof(h) + 8, "raw", 3);
	memcpy(good + BASE_NAME, "base", 4);
	put64(1 * CLUSTER, 2 * CLUSTER);
	for (size_t i = 0; i < 9; i++)
		good[2 * CLUSTER + i * 2 + 1] = 1;
	put64(3 * CLUSTER, 4 * CLUSTER | QCOW2_COPIED);
	put64(3 * CLUSTER + 8, 5 * CLUSTER | QCOW2_COPIED);
	put64(4 * CLUSTER, 6 * CLUSTER | QCOW2_COPIED);
	put64(4 * CLUSTER + 8, QCOW2_ZERO);
	put64(4 * CLUSTER + 16, 7 * CLUSTER | QCOW2_COPIED | QCOW2_ZERO);
	n = compressed_cluster(good + 8 * CLUSTER, CLUSTER);
	CHECK(n <= CLUSTER);
	put64(5 * CLUSTER, QCOW2_COMPRESSED | 8 * CLUSTER);
	memset(good + 6 * CLUSTER, 'd', CLUSTER);
}

static void
write_file(const char *name, const void *data, size_t len)
{
	int fd;

	fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
	CHECK(fd >= 0);
	CHECK(write(fd, data, len) == (ssize_t)len);
	close(fd);
}

static void
qcow2_init(void)
{
	struct blk_open how = { .path = "good", .backing = true };
	struct blk_image *bi;

	CHECK(chdir(machine_file(".")) == 0);
	make_good();
	write_file("base", good, IMAGE - 100);
	write_file("good", good, IMAGE);
	bi = blk_qcow2_open(&how);
	CHECK(bi != NULL);
	CHECK(bi->bi_ops->bo_close(bi) == 0);
}

/* The input's image: a whole one, or what to change in the good one. */
static void
make_image(struct input *in, uint8_t sel)
{
	uint8_t image[IMAGE];
	size_t at, n, len = IMAGE;

	if ((sel & 7) == 7) {
		len = in8(in) * 16UL;
		in_bytes(in, image, len < IMAGE ? len : IMAGE);
	} else {
		memcpy(image, good, IMAGE);
		for (int i = sel & 7; i > 0; i--) {
			/* The header and the tables are the first six. */
			at = in16(in) % (6 * CLUSTER);
			if ((sel & 8) != 0)
				at &= ~7UL;
			n = in8(in) % 9;
			in_bytes(in, image + at, n);
		}
		if ((sel & 0x30) == 0x30)
			len = in16(in) % (IMAGE + 1);
	}
	write_file("image", image, len < IMAGE ? len : IMAGE);
}

static void
one_op(struct blk_image *bi, struct input *in)
{
	static uint8_t buf[TRANSFER];
	struct iovec iov[3];
	uint8_t sel = in8(in);
	uint64_t offset, len, much, size = (uint64_t)bi->bi_size;
	int n = 0;

	offset = (sel & 0x40) != 0 ? in64(in) : in8(in) * CLUSTER;
	len = (sel & 0x20) != 0 ? in16(in) * 4UL : in8(in) * 16UL;
	if ((sel & 0x10) != 0)
		offset = size - in16(in);
	if (size == 0 || len == 0)
		return;
	offset %= size;
	if (len > size - offset)
		len = size - offset;
	if (len > TRANSFER)
		len = TRANSFER;
	much = (sel & 8) == 0	      ? len
	    : size - offset < DELETED ? size - offset
				      : DELETED;
	for (uint64_t at = 0, part; at < len; at += part) {
		part = n == 2 || len < 8 ? len - at : len / 3;
		iov[n].iov_base = buf + at;
		iov[n++].iov_len = part;
	}
	if (!bi->bi_rdonly)
		memset(buf, sel, len);
	switch (sel & 7) {
	case 0:
	case 1:
		(void)bi->bi_ops->bo_read(bi, iov, n, (int64_t)offset, len);
		break;
	case 2:
		(void)bi->bi_ops->bo_tryread(bi, iov, n, (int64_t)offset, len);
		break;
	case 3:
	case 4:
		if (!bi->bi_rdonly)
			(void)bi->bi_ops->bo_write(
			    bi, iov, n, (int64_t)offset, len);
		break;
	case 5:
		if (!bi->bi_rdonly)
			(void)bi->bi_ops->bo_flush(bi);
		break;
	case 6:
		if (bi->bi_candelete)
			(void)bi->bi_ops->bo_delete(bi, (int64_t)offset, much);
		break;
	default:
		if (!bi->bi_rdonly)
			(void)bi->bi_ops->bo_zero(
			    bi, (int64_t)offset, much, (sel & 0x80) != 0);
		break;
	}
}

static void
qcow2_whole(const uint8_t *data, size_t len)
{
	struct input in = { data, data + len };
	struct blk_open how = { .path = "image" };
	struct blk_image *bi;
	struct stat sb;
	uint8_t sel = in8(&in);
	int64_t start = worked_us();
	bool overlay;

	make_image(&in, in8(&in));
	overlay = (sel & 0x30) == 0;
	how.ro = (sel & 3) == 0 || overlay;
	how.backing = (sel & 4) == 0;
	bi = blk_qcow2_open(&how);
	if (bi != NULL && overlay && bi->bi_size <= OVERLAID)
		bi = blk_overlay_open(bi);
	if (bi != NULL) {
		for (int i = 0; i < OPERATIONS && in.at < in.end; i++)
			one_op(bi, &in);
		(void)bi->bi_ops->bo_close(bi);
	}
	CHECK(stat("image", &sb) == 0);
	/* What was written is small, whatever the tables say. */
	CHECK((uint64_t)sb.st_blocks * 512 <= MOST_BYTES);
	CHECK(worked_us() - start < 10000000);
}

static const struct fuzz_target qcow2 = {
	.name = "qcow2",
	.init = qcow2_init,
	.whole = qcow2_whole,
};
FUZZ_TARGET(qcow2);
