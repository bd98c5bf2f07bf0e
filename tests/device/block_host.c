/*
 * block_if without a guest, for tests of image formats.
 * Arguments: "PATH[,option...]" command ...; prints what the command says.
 *
 *	info			size, read-only, may be deleted, zeroes, engine
 *	dump FILE		the whole disk, through the workers
 *	script FILE		lines "w|r|d|z|u|f|t sector count seed"
 *	stress OPS SEED		random requests at a time, each one checked
 *	steps COUNT SEED	batches of writes, a flush after each, told
 *	cancel COUNT SEED	requests that are taken back, or have ended
 *	speed OPS SECTORS r|w	requests a second, microseconds of processor
 *
 * A sector that was written holds its number and a seed, 32 times.  With
 * BLOCK_LOG in the environment, what is done to files is written there, in
 * order, so that a test can cut the power at any point.  What a ring has done
 * is read from the file when it says so.  BLOCK_MISCHIEF is a number: as many
 * of 100 transfers of the ring do a part and say so, or EINTR or EAGAIN;
 * BLOCK_REFUSE is the errno with which the host refuses a ring.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "block_if.h"
#include "block_ring.h"
#include "config.h"
#include "debug.h"
#include "mevent.h"
#include "pci_emul.h"

#define SECTOR 512
#define DEPTH 24
#define MAXSECT 300

struct job {
	struct blockif_req req;
	bool busy;
	char op;
	int64_t sector, count;
	uint64_t seed;
	uint8_t *buf;
};

static struct blockif_ctxt *bc;
static struct job jobs[DEPTH];
static pthread_mutex_t mtx = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int running, failed;
static char image_path[4096];
static uint64_t *model; /* the seed of each sector; 0: zeroes */
static uint64_t rng;

/* ---- what block_if needs of the machine ---- */

int
pci_parse_legacy_config(nvlist_t *nvl, const char *opts)
{
	char copy[4096], *opt, *rest, *value;

	snprintf(copy, sizeof(copy), "%s", opts);
	for (opt = strtok_r(copy, ",", &rest); opt != NULL;
	     opt = strtok_r(NULL, ",", &rest)) {
		value = strchr(opt, '=');
		if (value != NULL)
			*value++ = '\0';
		set_config_value_node(nvl, opt, value == NULL ? "true" : value);
	}
	return (0);
}

struct mevent *
mevent_add(int fd, enum ev_type type, mevent_func_t func, void *param)
{
	return (NULL);
}

int
mevent_delete(struct mevent *evp)
{
	return (0);
}

/* ---- a log of what reaches files ---- */

static int logfd = -1;
static pthread_mutex_t log_mtx = PTHREAD_MUTEX_INITIALIZER;

ssize_t __real_pwrite(int, const void *, size_t, off_t);
ssize_t __real_pwritev(int, const struct iovec *, int, off_t);
int __real_fdatasync(int);
int __real_ftruncate(int, off_t);
int __real_fallocate(int, int, off_t, off_t);
ssize_t __wrap_pwrite(int, const void *, size_t, off_t);
ssize_t __wrap_pwritev(int, const struct iovec *, int, off_t);
int __wrap_fdatasync(int);
int __wrap_ftruncate(int, off_t);
int __wrap_fallocate(int, int, off_t, off_t);

static void
log_op(char op, int64_t offset, int64_t len, const void *data)
{
	struct {
		int64_t op, offset, len;
	} head = { op, offset, len };

	if (logfd < 0)
		return;
	if (write(logfd, &head, sizeof(head)) != sizeof(head) ||
	    (data != NULL && write(logfd, data, (size_t)len) != len))
		abort();
}

ssize_t
__wrap_pwrite(int fd, const void *buf, size_t len, off_t offset)
{
	ssize_t n;

	pthread_mutex_lock(&log_mtx);
	n = __real_pwrite(fd, buf, len, offset);
	if (n > 0)
		log_op('w', offset, n, buf);
	pthread_mutex_unlock(&log_mtx);
	return (n);
}

ssize_t
__wrap_pwritev(int fd, const struct iovec *iov, int niov, off_t offset)
{
	ssize_t left, n;
	int i;

	pthread_mutex_lock(&log_mtx);
	n = __real_pwritev(fd, iov, niov, offset);
	left = n;
	for (i = 0; i < niov && left > 0; i++) {
		ssize_t k = (ssize_t)iov[i].iov_len;

		k = k < left ? k : left;
		log_op('w', offset, k, iov[i].iov_base);
		offset += k;
		left -= k;
	}
	pthread_mutex_unlock(&log_mtx);
	return (n);
}

int
__wrap_fdatasync(int fd)
{
	int error;

	/* What is written from here on may be on the disk or not. */
	pthread_mutex_lock(&log_mtx);
	error = logfd >= 0 ? 0 : __real_fdatasync(fd);
	log_op('s', 0, 0, NULL);
	pthread_mutex_unlock(&log_mtx);
	return (error);
}

int
__wrap_ftruncate(int fd, off_t size)
{
	int error;

	pthread_mutex_lock(&log_mtx);
	error = __real_ftruncate(fd, size);
	log_op('t', size, 0, NULL);
	pthread_mutex_unlock(&log_mtx);
	return (error);
}

int
__wrap_fallocate(int fd, int mode, off_t offset, off_t len)
{
	int error;

	pthread_mutex_lock(&log_mtx);
	error = __real_fallocate(fd, mode, offset, len);
	if (error == 0)
		log_op('p', offset, len, NULL);
	pthread_mutex_unlock(&log_mtx);
	return (error);
}

/* ---- a ring that does not do all at once, or is not to be had ---- */

static int imagefd = -1;
static int mischief;
static _Atomic long ring_ends, ring_spoilt;

static struct {
	struct iovec iov;
	int res; /* 0: as it is */
} spoilt[BLOCKIF_RING_MAX];

int __real_blk_ring_create(unsigned int, struct blk_ring **);
void __real_blk_ring_queue(
    struct blk_ring *, uint64_t, bool, int, const struct iovec *, int, int64_t);
int __real_blk_ring_wait(struct blk_ring *, struct blk_ring_result *, int);
int __wrap_blk_ring_create(unsigned int, struct blk_ring **);
void __wrap_blk_ring_queue(
    struct blk_ring *, uint64_t, bool, int, const struct iovec *, int, int64_t);
int __wrap_blk_ring_wait(struct blk_ring *, struct blk_ring_result *, int);

int
__wrap_blk_ring_create(unsigned int entries, struct blk_ring **ring)
{
	if (getenv("BLOCK_REFUSE") != NULL)
		return (atoi(getenv("BLOCK_REFUSE")));
	return (__real_blk_ring_create(entries, ring));
}

/* Half of the first piece is all that some transfers do. */
void
__wrap_blk_ring_queue(struct blk_ring *ring, uint64_t tag, bool write, int fd,
    const struct iovec *iov, int niov, int64_t offset)
{
	static const int results[] = { 0, -EINTR, -EAGAIN };
	static unsigned int turn;
	size_t half;

	if (tag < BLOCKIF_RING_MAX) {
		ring_ends++;
		spoilt[tag].res = 0;
		turn = turn * 1103515245 + 12345;
		half = iov->iov_len / 2 / SECTOR * SECTOR;
		if ((int)((turn >> 16) % 100) < mischief && half > 0) {
			spoilt[tag].iov.iov_base = iov->iov_base;
			spoilt[tag].iov.iov_len = half;
			spoilt[tag].res = results[(turn >> 8) % 3];
			iov = &spoilt[tag].iov;
			niov = 1;
			ring_spoilt++;
		}
	}
	__real_blk_ring_queue(ring, tag, write, fd, iov, niov, offset);
}

int
__wrap_blk_ring_wait(
    struct blk_ring *ring, struct blk_ring_result *out, int max)
{
	int i, n;

	n = __real_blk_ring_wait(ring, out, max);
	for (i = 0; i < n; i++)
		if (out[i].tag < BLOCKIF_RING_MAX &&
		    spoilt[out[i].tag].res != 0)
			out[i].res = spoilt[out[i].tag].res;
	return (n);
}

/* What the file has where the ring says that it has written. */
static void
log_written(int64_t offset, int64_t len)
{
	static uint8_t buf[MAXSECT * SECTOR];

	pthread_mutex_lock(&log_mtx);
	if (pread(imagefd, buf, (size_t)len, offset) != len)
		abort();
	log_op('w', offset, len, buf);
	pthread_mutex_unlock(&log_mtx);
}

/* ---- requests ---- */

static uint64_t
rnd(uint64_t below)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return ((rng >> 11) % below);
}

static void
pattern(uint8_t *buf, int64_t sector, int64_t count, uint64_t seed)
{
	uint64_t word[2];
	int i;

	for (; count > 0; count--, sector++) {
		word[0] = seed == 0 ? 0 : (uint64_t)sector;
		word[1] = seed;
		for (i = 0; i < SECTOR / 16; i++, buf += 16)
			memcpy(buf, word, 16);
	}
}

static void
done(struct blockif_req *req, int err)
{
	struct job *j = req->br_param;
	uint8_t want[SECTOR];
	int64_t i;

	if (err == 0 && j->op == 'w' && imagefd >= 0)
		log_written(j->sector * SECTOR, j->count * SECTOR);
	if (err != 0) {
		fprintf(stderr, "%c %jd+%jd: %s\n", j->op, (intmax_t)j->sector,
		    (intmax_t)j->count, strerror(err));
		failed++;
	}
	for (i = 0; err == 0 && j->op == 'r' && model != NULL && i < j->count;
	     i++) {
		pattern(want, j->sector + i, 1, model[j->sector + i]);
		if (memcmp(want, j->buf + i * SECTOR, SECTOR) != 0) {
			fprintf(stderr, "sector %jd is wrong\n",
			    (intmax_t)(j->sector + i));
			failed++;
			break;
		}
	}
	for (i = 0; err == 0 && strchr("wdzu", j->op) != NULL &&
	     model != NULL && i < j->count;
	     i++)
		model[j->sector + i] = j->op == 'w' ? j->seed : 0;
	pthread_mutex_lock(&mtx);
	j->busy = false;
	running--;
	pthread_cond_broadcast(&cond);
	pthread_mutex_unlock(&mtx);
}

/* A job that is free; waits for one. */
static struct job *
get_job(void)
{
	struct job *j;
	int i;

	pthread_mutex_lock(&mtx);
	for (;;) {
		for (i = 0; i < DEPTH && jobs[i].busy; i++)
			;
		if (i < DEPTH)
			break;
		pthread_cond_wait(&cond, &mtx);
	}
	j = &jobs[i];
	j->busy = true;
	running++;
	pthread_mutex_unlock(&mtx);
	if (j->buf == NULL &&
	    posix_memalign((void **)&j->buf, 4096, MAXSECT * SECTOR) != 0)
		abort();
	return (j);
}

static void
wait_all(void)
{
	pthread_mutex_lock(&mtx);
	while (running > 0)
		pthread_cond_wait(&cond, &mtx);
	pthread_mutex_unlock(&mtx);
}

static void
start(struct job *j, char op, int64_t sector, int64_t count, uint64_t seed)
{
	struct blockif_req *r = &j->req;
	int error;

	j->op = op;
	j->sector = sector;
	j->count = count;
	j->seed = seed;
	r->br_callback = done;
	r->br_param = j;
	r->br_offset = sector * SECTOR;
	r->br_resid = count * SECTOR;
	r->br_unmap = op == 'u';
	/* Three pieces, of which none is aligned to more than a sector. */
	r->br_iovcnt = 0;
	for (int64_t at = 0, n; at < count; at += n) {
		n = r->br_iovcnt == 2 ? count - at : (count + 2) / 3;
		n = n < count - at ? n : count - at;
		r->br_iov[r->br_iovcnt].iov_base = j->buf + at * SECTOR;
		r->br_iov[r->br_iovcnt++].iov_len = (size_t)n * SECTOR;
	}
	if (op == 'w')
		pattern(j->buf, sector, count, seed);
	error = op == 'w' ? blockif_write(bc, r)
	    : op == 'r'	  ? blockif_read(bc, r)
	    : op == 'd'	  ? blockif_delete(bc, r)
	    : op == 'f'	  ? blockif_flush(bc, r)
			  : blockif_zero(bc, r);
	if (error != 0)
		abort();
}

/* ---- commands ---- */

static int
info(void)
{
	printf("%jd %s %s %s %s\n", (intmax_t)blockif_size(bc),
	    blockif_is_ro(bc) ? "ro" : "rw",
	    blockif_candelete(bc) ? "delete" : "keep",
	    blockif_delete_zeroes(bc) ? "zeroes" : "any", blockif_engine(bc));
	return (0);
}

static int
dump(const char *path)
{
	int64_t at, n, total;
	struct job *j;
	FILE *fp;

	fp = fopen(path, "w");
	total = blockif_size(bc) / SECTOR;
	for (at = 0; fp != NULL && at < total && failed == 0; at += n) {
		n = total - at < MAXSECT ? total - at : MAXSECT;
		j = get_job();
		start(j, 'r', at, n, 0);
		wait_all();
		if (fwrite(j->buf, SECTOR, (size_t)n, fp) != (size_t)n)
			failed++;
	}
	return (fp == NULL || fclose(fp) != 0 || failed != 0);
}

static int
script(const char *path)
{
	intmax_t count, seed, sector;
	FILE *fp;
	char op;

	fp = fopen(path, "r");
	while (fp != NULL &&
	    fscanf(fp, " %c %jd %jd %jd", &op, &sector, &count, &seed) == 4) {
		if (op == 't') { /* by another program, as it were */
			if (truncate(image_path, sector * SECTOR) != 0)
				abort();
			continue;
		}
		start(get_job(), op, sector, count, (uint64_t)seed);
		wait_all();
	}
	if (fp != NULL)
		fclose(fp);
	return (fp == NULL || failed != 0);
}

static bool
overlaps(int64_t sector, int64_t count)
{
	int i;

	for (i = 0; i < DEPTH; i++) {
		if (jobs[i].busy && jobs[i].op != 'f' &&
		    sector < jobs[i].sector + jobs[i].count &&
		    jobs[i].sector < sector + count)
			return (true);
	}
	return (false);
}

static int
stress(long ops)
{
	int64_t count, sector, total;
	struct job *j;
	long i, tries;
	char op;

	total = blockif_size(bc) / SECTOR;
	model = calloc((size_t)total, sizeof(*model));
	for (i = 0; i < ops && failed == 0; i++) {
		j = get_job();
		op = "wwwwrrrrfdzu"[rnd(12)];
		if (!blockif_delete_zeroes(bc) && op == 'd')
			op = 'w';
		pthread_mutex_lock(&mtx);
		j->op = 'f';
		tries = 0;
		do {
			count = 1 + (int64_t)rnd(rnd(3) != 0 ? 16 : MAXSECT);
			count = count < total ? count : total;
			sector = (int64_t)rnd((uint64_t)(total - count + 1));
		} while (overlaps(sector, count) && ++tries < 1000);
		j->sector = sector;
		j->count = count;
		j->op = op;
		pthread_mutex_unlock(&mtx);
		if (tries == 1000)
			op = 'f';
		start(j, op, sector, op == 'f' ? 0 : count, (uint64_t)i + 1);
	}
	wait_all();
	for (sector = 0; sector < total && failed == 0; sector += count) {
		count = total - sector < MAXSECT ? total - sector : MAXSECT;
		start(get_job(), 'r', sector, count, 0);
	}
	wait_all();
	printf("stressed %ld, ring %ld, spoilt %ld\n", i, (long)ring_ends,
	    (long)ring_spoilt);
	return (failed != 0);
}

/* Batch b writes DEPTH - 1 disjoint ranges; the test knows which. */
static int
steps(long count)
{
	int64_t part, total;
	char line[64];
	long b;
	int i;

	total = blockif_size(bc) / SECTOR;
	part = total / (DEPTH - 1);
	for (b = 1; b <= count && failed == 0; b++) {
		for (i = 0; i < DEPTH - 1; i++) {
			int64_t n = 1 + (int64_t)rnd(24);
			int64_t at = (int64_t)rnd((uint64_t)(part - n));

			start(get_job(), 'w', i * part + at, n, (uint64_t)b);
		}
		wait_all();
		start(get_job(), 'f', 0, 0, 0);
		wait_all();
		pthread_mutex_lock(&log_mtx);
		log_op('F', b, 0, NULL);
		pthread_mutex_unlock(&log_mtx);
		i = snprintf(line, sizeof(line), "flushed %ld\n", b);
		if (write(1, line, (size_t)i) != i)
			break;
	}
	return (failed != 0);
}

/* A request that was taken back calls nobody; one that was not, once. */
static int
cancel(long count)
{
	long back, i, late;
	struct job *j;
	int64_t total;
	int n;

	total = blockif_size(bc) / SECTOR;
	back = late = 0;
	for (i = 0; i < count && failed == 0; i++) {
		for (n = (int)rnd(DEPTH - 1); n >= 0; n--)
			start(get_job(), "rw"[rnd(2)],
			    (int64_t)rnd((uint64_t)total - 8), 8, 1);
		j = &jobs[rnd(DEPTH)];
		switch (blockif_cancel(bc, &j->req)) {
		case 0:
			pthread_mutex_lock(&mtx);
			failed += !j->busy;
			j->busy = false;
			running--;
			pthread_mutex_unlock(&mtx);
			back++;
			break;
		case EBUSY:
			failed += j->busy; /* its callback has returned */
			late++;
			break;
		default:
			failed += j->busy;
			break;
		}
		wait_all();
	}
	printf("taken back %ld, too late %ld\n", back, late);
	return (failed != 0);
}

/* Transfers of several parts, each begun by the end of the one before. */
static bool stopped; /* mtx */
static _Atomic long ends;
#define PART 8
#define CHAINS 8

static void
next_part(struct job *j)
{
	int64_t total = blockif_size(bc) / SECTOR;

	j->req.br_offset = (off_t)rnd((uint64_t)(total - PART)) * SECTOR;
	j->req.br_resid = PART * SECTOR;
	if (blockif_read(bc, &j->req) != 0)
		abort();
}

/* As devices do it: under their lock, which the stopper has had. */
static void
part_done(struct blockif_req *req, int err)
{
	ends++;
	pthread_mutex_lock(&mtx);
	failed += err != 0;
	if (!stopped)
		next_part(req->br_param);
	pthread_mutex_unlock(&mtx);
}

/* What was stopped neither ends nor writes any more. */
static int
parts(long count)
{
	struct job *j;
	long before, i;
	int n;

	for (i = 0; i < count && failed == 0; i++) {
		pthread_mutex_lock(&mtx);
		stopped = false;
		for (n = 0; n < CHAINS; n++) {
			j = &jobs[n];
			if (j->buf == NULL &&
			    posix_memalign(
				(void **)&j->buf, 4096, PART * SECTOR) != 0)
				abort();
			j->req.br_iov[0].iov_base = j->buf;
			j->req.br_iov[0].iov_len = PART * SECTOR;
			j->req.br_iovcnt = 1;
			j->req.br_callback = part_done;
			j->req.br_param = j;
			next_part(j);
		}
		pthread_mutex_unlock(&mtx);
		usleep((useconds_t)(i % 200));
		pthread_mutex_lock(&mtx);
		stopped = true;
		pthread_mutex_unlock(&mtx);
		for (n = 0; n < CHAINS; n++) {
			(void)blockif_cancel(bc, &jobs[n].req);
			memset(jobs[n].buf, 0x5a, PART * SECTOR);
		}
		before = ends;
		usleep(100);
		failed += ends != before;
		for (n = 0; n < CHAINS; n++)
			failed += memcmp(jobs[n].buf, jobs[n].buf + 1,
				      PART * SECTOR - 1) != 0 ||
			    jobs[n].buf[0] != 0x5a;
	}
	printf("stopped %ld, ends %ld\n", i, (long)ends);
	return (failed != 0);
}

static double
seconds(const struct timeval *tv)
{
	return ((double)tv->tv_sec + (double)tv->tv_usec / 1e6);
}

static double
processor_time(void)
{
	struct rusage ru;

	getrusage(RUSAGE_SELF, &ru);
	return (seconds(&ru.ru_utime) + seconds(&ru.ru_stime));
}

static struct timespec began;
static long left;
static char speed_op;

/* The next one is started by the end of the one before, as devices do. */
static void
next_of_speed(struct blockif_req *req, int err)
{
	struct job *j = req->br_param;
	bool more;

	pthread_mutex_lock(&mtx);
	failed += err != 0;
	more = left > 0;
	left -= more;
	if (more)
		req->br_offset = (off_t)rnd((uint64_t)(blockif_size(bc) /
				     SECTOR / j->count)) *
		    j->count * SECTOR;
	running -= !more;
	pthread_cond_broadcast(&cond);
	pthread_mutex_unlock(&mtx);
	if (!more)
		return;
	req->br_resid = j->count * SECTOR;
	if ((speed_op == 'w' ? blockif_write(bc, req)
			     : blockif_read(bc, req)) != 0)
		abort();
}

static int
speed(long ops, int64_t count, char op)
{
	double processor, took;
	struct timespec now;
	struct job *j;
	int i;

	speed_op = op;
	left = ops;
	processor = processor_time();
	clock_gettime(CLOCK_MONOTONIC, &began);
	for (i = 0; i < DEPTH; i++) {
		j = get_job();
		j->count = count < MAXSECT ? count : MAXSECT / 8 * 8;
		j->req.br_callback = next_of_speed;
		j->req.br_param = j;
		j->req.br_iovcnt = 1;
		j->req.br_iov[0].iov_base = j->buf;
		j->req.br_iov[0].iov_len = (size_t)j->count * SECTOR;
		next_of_speed(&j->req, 0);
	}
	wait_all();
	clock_gettime(CLOCK_MONOTONIC, &now);
	took = (double)(now.tv_sec - began.tv_sec) +
	    (double)(now.tv_nsec - began.tv_nsec) / 1e9;
	processor = processor_time() - processor;
	printf("%s: %.0f a second, %.2f us each\n", blockif_engine(bc),
	    (double)ops / took, processor * 1e6 / (double)ops);
	return (failed != 0);
}

static void
read_environment(const char *disk)
{
	const char *log = getenv("BLOCK_LOG"), *m = getenv("BLOCK_MISCHIEF");

	snprintf(image_path, sizeof(image_path), "%.*s",
	    (int)strcspn(disk, ","), disk);
	if (log != NULL)
		logfd = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	mischief = m != NULL ? atoi(m) : 0;
	if (logfd < 0 || strcmp(blockif_engine(bc), "io_uring") != 0)
		return;
	imagefd = open(image_path, O_RDONLY);
}

int
main(int argc, char **argv)
{
	nvlist_t *nvl;
	int error;

	init_config();
	nvl = create_config_node("disk");
	if (blockif_legacy_config(nvl, argv[1]) != 0 ||
	    (bc = blockif_open(nvl, "0:0")) == NULL)
		return (4);
	read_environment(argv[1]);
	if (argc > 4)
		rng = strtoull(argv[argc - 1], NULL, 0) * 2654435761UL + 1;
	error = strcmp(argv[2], "info") == 0 ? info()
	    : strcmp(argv[2], "dump") == 0   ? dump(argv[3])
	    : strcmp(argv[2], "script") == 0 ? script(argv[3])
	    : strcmp(argv[2], "stress") == 0 ? stress(atol(argv[3]))
	    : strcmp(argv[2], "steps") == 0  ? steps(atol(argv[3]))
	    : strcmp(argv[2], "cancel") == 0 ? cancel(atol(argv[3]))
	    : strcmp(argv[2], "parts") == 0  ? parts(atol(argv[3]))
	    : strcmp(argv[2], "speed") == 0
	    ? speed(atol(argv[3]), atol(argv[4]), argv[5][0])
	    : 2;
	if (blockif_close(bc) != 0)
		error = 1;
	for (int i = 0; i < DEPTH; i++)
		free(jobs[i].buf);
	free(model);
	return (error);
}
