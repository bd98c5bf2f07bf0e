/*
 * block_if without a guest, for tests of image formats.
 * Arguments: "PATH[,option...]" command ...; prints what the command says.
 *
 *	info			size, read-only, may be deleted, zeroes
 *	dump FILE		the whole disk, through the workers
 *	script FILE		lines "w|r|d|z|u|f sector count seed"
 *	stress OPS SEED		random requests at a time, each one checked
 *	steps COUNT SEED	batches of writes, a flush after each, told
 *
 * A sector that was written holds its number and a seed, 32 times.  With
 * BLOCK_LOG in the environment, what is done to files is written there, in
 * order, so that a test can cut the power at any point.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "block_if.h"
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
	printf("%jd %s %s %s\n", (intmax_t)blockif_size(bc),
	    blockif_is_ro(bc) ? "ro" : "rw",
	    blockif_candelete(bc) ? "delete" : "keep",
	    blockif_delete_zeroes(bc) ? "zeroes" : "any");
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
	printf("stressed %ld\n", i);
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
	if (getenv("BLOCK_LOG") != NULL)
		logfd = open(
		    getenv("BLOCK_LOG"), O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (argc > 4 || (argc > 3 && argv[2][0] == 's'))
		rng = strtoull(argv[argc - 1], NULL, 0) * 2654435761UL + 1;
	error = strcmp(argv[2], "info") == 0 ? info()
	    : strcmp(argv[2], "dump") == 0   ? dump(argv[3])
	    : strcmp(argv[2], "script") == 0 ? script(argv[3])
	    : strcmp(argv[2], "stress") == 0 ? stress(atol(argv[3]))
	    : strcmp(argv[2], "steps") == 0  ? steps(atol(argv[3]))
					     : 2;
	if (blockif_close(bc) != 0)
		error = 1;
	for (int i = 0; i < DEPTH; i++)
		free(jobs[i].buf);
	free(model);
	return (error);
}
