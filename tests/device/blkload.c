/*
 * Load on a block device of the guest, for tests and benchmarks; static, for
 * an initrd.  All I/O is O_DIRECT and asynchronous (io_submit).
 *
 *	blkload iops DEVICE MILLISECONDS DEPTH	4 KiB random reads
 *	blkload seq DEVICE MILLISECONDS	DEPTH	1 MiB sequential reads
 *	blkload wseq DEVICE MILLISECONDS DEPTH	1 MiB sequential writes
 *	blkload verify DEVICE MILLISECONDS JOBS	mixed requests, each checked
 *	blkload zero DEVICE OFFSET LENGTH	BLKZEROOUT
 *
 * verify prints the CRC-32 that each job's part of the device has to have.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SECTOR 512
#define MAXDEPTH 64
#define MAXSECT 512

static uint64_t rng = 88172645463325252UL;

static uint64_t
rnd(uint64_t below)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return ((rng >> 11) % below);
}

static double
now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ((double)ts.tv_sec + (double)ts.tv_nsec / 1e9);
}

static void
die(const char *what)
{
	printf("blkload: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t
open_device(const char *path, int *fd)
{
	uint64_t size;

	*fd = open(path, O_RDWR | O_DIRECT);
	if (*fd < 0 || ioctl(*fd, BLKGETSIZE64, &size) != 0)
		die(path);
	return (size);
}

/* ---- throughput ---- */

static void
speed(
    const char *dev, double seconds, int depth, size_t len, int op, int random)
{
	struct io_event ev[MAXDEPTH];
	struct iocb cb[MAXDEPTH], *list[MAXDEPTH];
	double began, took;
	uint64_t at, n, size;
	aio_context_t ctx;
	int fd, got, i;
	void *buf;

	size = open_device(dev, &fd) / len;
	ctx = 0;
	if (syscall(SYS_io_setup, MAXDEPTH, &ctx) != 0)
		die("io_setup");
	if (posix_memalign(&buf, 4096, len * (size_t)depth) != 0)
		die("memory");
	memset(buf, 0x5a, len * (size_t)depth);
	memset(cb, 0, sizeof(cb));
	at = n = 0;
	began = now();
	for (i = 0; i < depth; i++) {
		cb[i].aio_fildes = (uint32_t)fd;
		cb[i].aio_lio_opcode = (uint16_t)op;
		cb[i].aio_buf = (uint64_t)(uintptr_t)buf + (uint64_t)i * len;
		cb[i].aio_nbytes = len;
		cb[i].aio_data = (uint64_t)i;
		cb[i].aio_offset =
		    (int64_t)((random ? rnd(size) : at++ % size) * len);
		list[i] = &cb[i];
	}
	got = depth;
	do {
		if (syscall(SYS_io_submit, ctx, got, list) != got)
			die("io_submit");
		got = (int)syscall(SYS_io_getevents, ctx, 1, depth, ev, NULL);
		if (got < 0)
			die("io_getevents");
		for (i = 0; i < got; i++) {
			if (ev[i].res != (int64_t)len)
				die("short transfer");
			list[i] = &cb[ev[i].data];
			list[i]->aio_offset =
			    (int64_t)((random ? rnd(size) : at++ % size) * len);
		}
		n += (uint64_t)got;
		took = now() - began;
	} while (took < seconds);
	printf("RESULT %.1f\n",
	    random ? (double)n / took : (double)n * (double)len / took / 1e6);
}

/* ---- verification ---- */

static void
content(uint64_t *p, uint64_t sector, uint64_t count, const uint32_t *gen)
{
	uint64_t w;
	int i;

	for (; count > 0; count--, sector++, gen++) {
		w = (sector << 20 ^ *gen) * 0x9e3779b97f4a7c15UL;
		for (i = 0; i < SECTOR / 8; i++)
			*p++ = *gen == 0 ? 0 : (w += 0xd1342543de82ef95UL);
	}
}

static uint32_t
crc32(uint32_t crc, const uint8_t *p, size_t len)
{
	static uint32_t table[256];
	uint32_t c;
	int i, k;

	for (i = 0; table[255] == 0 && i < 256; i++) {
		for (c = (uint32_t)i, k = 0; k < 8; k++)
			c = c & 1 ? c >> 1 ^ 0xedb88320U : c >> 1;
		table[i] = c;
	}
	for (crc = ~crc; len > 0; len--)
		crc = table[(crc ^ *p++) & 0xff] ^ crc >> 8;
	return (~crc);
}

static void
job(const char *dev, double seconds, uint64_t first, uint64_t count, int id)
{
	static uint64_t buf[MAXSECT * SECTOR / 8]
	    __attribute__((__aligned__(4096)));
	static uint64_t want[MAXSECT * SECTOR / 8];
	uint64_t at, n, range[2], ops;
	uint32_t crc, *gen;
	double end;
	int fd, op;

	open_device(dev, &fd);
	gen = calloc(count, sizeof(*gen));
	rng += (uint64_t)id * 7919;
	end = now() + seconds;
	for (ops = 0; now() < end; ops++) {
		n = 1 + rnd(rnd(2) ? 16 : MAXSECT - 1);
		if (rnd(2)) /* pages, as file systems write */
			n = (n + 7) & ~7UL;
		at = rnd(count - n + 1);
		if (n % 8 == 0)
			at &= ~7UL;
		op = (int)rnd(20);
		content(want, first + at, n, gen + at);
		if (op < 9) {
			if (pread(fd, buf, n * SECTOR,
				(off_t)((first + at) * SECTOR)) !=
			    (ssize_t)(n * SECTOR))
				die("read");
			if (memcmp(buf, want, n * SECTOR) != 0) {
				printf("blkload: job %d: sector %ju+%ju "
				       "is wrong\n",
				    id, (uintmax_t)(first + at), (uintmax_t)n);
				exit(1);
			}
		} else if (op < 18) {
			for (uint64_t i = 0; i < n; i++)
				gen[at + i] = (uint32_t)ops + 1;
			content(buf, first + at, n, gen + at);
			if (pwrite(fd, buf, n * SECTOR,
				(off_t)((first + at) * SECTOR)) !=
			    (ssize_t)(n * SECTOR))
				die("write");
		} else if (op == 18) {
			if (fdatasync(fd) != 0)
				die("fdatasync");
		} else {
			range[0] = (first + at) * SECTOR;
			range[1] = n * SECTOR;
			if (ioctl(fd, BLKZEROOUT, range) != 0)
				die("BLKZEROOUT");
			memset(gen + at, 0, n * sizeof(*gen));
		}
	}
	if (fsync(fd) != 0)
		die("fsync");
	crc = 0;
	for (at = 0; at < count; at += n) {
		n = count - at < MAXSECT ? count - at : MAXSECT;
		content(want, first + at, n, gen + at);
		crc = crc32(crc, (uint8_t *)want, n * SECTOR);
	}
	printf("JOB %d %08x %ju\n", id, crc, (uintmax_t)ops);
	exit(0);
}

static int
verify(const char *dev, double seconds, int jobs)
{
	uint64_t each;
	int bad, fd, i, status;

	each = open_device(dev, &fd) / SECTOR / (uint64_t)jobs;
	each &= ~7UL;
	fflush(stdout);
	for (i = 0; i < jobs; i++) {
		if (fork() == 0)
			job(dev, seconds, (uint64_t)i * each, each, i);
	}
	for (bad = 0; wait(&status) > 0;)
		bad |= status;
	printf("VERIFIED %s\n", bad ? "no" : "yes");
	return (bad != 0);
}

int
main(int argc, char **argv)
{
	uint64_t range[2];
	double seconds;
	int fd, n;

	if (argc != 5)
		return (2);
	seconds = atof(argv[3]) / 1000;
	n = atoi(argv[4]);
	if (strcmp(argv[1], "iops") == 0) {
		speed(argv[2], seconds, n, 4096, IOCB_CMD_PREAD, 1);
	} else if (strcmp(argv[1], "seq") == 0) {
		speed(argv[2], seconds, n, 1 << 20, IOCB_CMD_PREAD, 0);
	} else if (strcmp(argv[1], "wseq") == 0) {
		speed(argv[2], seconds, n, 1 << 20, IOCB_CMD_PWRITE, 0);
	} else if (strcmp(argv[1], "verify") == 0) {
		return (verify(argv[2], seconds, n));
	} else {
		open_device(argv[2], &fd);
		range[0] = strtoull(argv[3], NULL, 0);
		range[1] = strtoull(argv[4], NULL, 0);
		if (ioctl(fd, BLKZEROOUT, range) != 0)
			die("BLKZEROOUT");
	}
	return (0);
}
