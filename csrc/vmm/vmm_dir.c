/*
 * A VM is a directory NAME under the VM root: lock (flock'ed by the owner,
 * holding its pid while a sudden death would matter), mem.* (a segment
 * each), state, and ctl while the owner serves.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "vmm_dev.h"
#include "vmm_dir_local.h"
#include "vmm_local.h"

#define STATE_MAGIC "BHYVEVM1"
#define STATE_VERSION 1
#define STATE_MAX (64UL << 20)
#define OPEN_WAIT_MS 2000

struct state_header {
	char magic[8];
	uint32_t version;
	uint32_t pad;
	uint64_t len; /* of what follows */
	uint64_t sum; /* FNV-1a of what follows */
};

/* ---- where and what name ---- */

static int
make_root(const char *path, mode_t mode)
{
	char part[PATH_MAX];
	char *p;

	if (snprintf(part, sizeof(part), "%s", path) >= (int)sizeof(part)) {
		vmm_set_error("the VM root's path is too long");
		return (ENAMETOOLONG);
	}
	for (p = part + 1; *p != '\0'; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		(void)mkdir(part, 0755);
		*p = '/';
	}
	if (mkdir(part, mode) != 0 && errno != EEXIST) {
		vmm_set_error("%s: %s", part, strerror(errno));
		return (errno);
	}
	return (0);
}

int
vmm_dir_root(char *buf, size_t size)
{
	const char *env = getenv("VMM_DIR");
	mode_t mode = 0755;
	int n;

	if (env != NULL && env[0] != '\0') {
		n = snprintf(buf, size, "%s", env);
		mode = 0700;
	} else if (geteuid() == 0) {
		n = snprintf(buf, size, "%s",
		    vmm_dir_is_ram("/dev") && access("/dev", W_OK) == 0
			? "/dev/vmm"
			: "/run/vmm");
	} else {
		env = getenv("XDG_RUNTIME_DIR");
		if (env == NULL || env[0] == '\0') {
			vmm_set_error("no place for VMs: set VMM_DIR (or "
				      "XDG_RUNTIME_DIR)");
			return (ENOENT);
		}
		n = snprintf(buf, size, "%s/vmm", env);
		mode = 0700;
	}
	if (n < 0 || (size_t)n >= size) {
		vmm_set_error("the VM root's path is too long");
		return (ENAMETOOLONG);
	}
	return (make_root(buf, mode));
}

int
vmm_dir_check_name(const char *name)
{
	size_t len = strlen(name);

	if (len > VM_MAX_NAMELEN) {
		vmm_set_error(
		    "a VM's name has at most %d bytes", VM_MAX_NAMELEN);
		return (ENAMETOOLONG);
	}
	if (len == 0 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
		vmm_set_error("\"%s\" is no name for a VM", name);
		return (EINVAL);
	}
	for (size_t i = 0; i < len; i++) {
		if (name[i] != '/' && (unsigned char)name[i] >= 0x20 &&
		    name[i] != 0x7f)
			continue;
		vmm_set_error("a VM's name has no slash and no control "
			      "character");
		return (EINVAL);
	}
	return (0);
}

static int
open_root(int *rootfd, char *path, size_t size)
{
	int error;

	if ((error = vmm_dir_root(path, size)) != 0)
		return (error);
	*rootfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*rootfd < 0) {
		vmm_set_error("%s: %s", path, strerror(errno));
		return (errno);
	}
	return (0);
}

/* ---- state ---- */

static uint64_t
fnv1a(const uint8_t *p, size_t len)
{
	uint64_t sum = 0xcbf29ce484222325UL;

	while (len-- > 0)
		sum = (sum ^ *p++) * 0x100000001b3UL;
	return (sum);
}

static int
write_all(int fd, const void *buf, size_t len)
{
	const uint8_t *p = buf;
	ssize_t n;

	while (len > 0) {
		n = write(fd, p, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return (errno);
		p += n;
		len -= (size_t)n;
	}
	return (0);
}

/* Replaces the file at once, or not at all. */
static int
write_state(int dirfd, const uint8_t *buf, size_t len)
{
	struct state_header hdr = {
		.version = STATE_VERSION, .len = len, .sum = fnv1a(buf, len)
	};
	int error, fd;

	memcpy(hdr.magic, STATE_MAGIC, sizeof(hdr.magic));
	fd = openat(
	    dirfd, "state.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return (errno);
	error = write_all(fd, &hdr, sizeof(hdr));
	if (error == 0)
		error = write_all(fd, buf, len);
	if (close(fd) != 0 && error == 0)
		error = errno;
	if (error == 0 && renameat(dirfd, "state.new", dirfd, "state") != 0)
		error = errno;
	if (error != 0)
		unlinkat(dirfd, "state.new", 0);
	return (error);
}

static int
read_state(int dirfd, uint8_t **retbuf, size_t *retlen)
{
	struct state_header hdr;
	uint8_t *buf = NULL;
	struct stat st;
	int error = EBADMSG, fd;
	size_t off = 0;
	ssize_t n;

	fd = openat(dirfd, "state", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return (errno);
	if (fstat(fd, &st) != 0 || read(fd, &hdr, sizeof(hdr)) != sizeof(hdr) ||
	    memcmp(hdr.magic, STATE_MAGIC, sizeof(hdr.magic)) != 0 ||
	    hdr.version != STATE_VERSION || hdr.len > STATE_MAX ||
	    (uint64_t)st.st_size != hdr.len + sizeof(hdr))
		goto out;
	buf = malloc(hdr.len + 1);
	if (buf == NULL) {
		error = ENOMEM;
		goto out;
	}
	while (off < hdr.len && (n = read(fd, buf + off, hdr.len - off)) > 0)
		off += (size_t)n;
	if (off == hdr.len && fnv1a(buf, off) == hdr.sum)
		error = 0;
out:
	close(fd);
	if (error != 0) {
		free(buf);
		return (error);
	}
	*retbuf = buf;
	*retlen = hdr.len;
	return (0);
}

/* An empty state means: as made. */
int
vmm_dir_load(struct vmm_dir *dir, struct vm *vm)
{
	uint8_t *buf = NULL;
	size_t len = 0;
	int error;

	error = read_state(dir->fd, &buf, &len);
	if (error == 0) {
		error = vmm_state_load(vm, buf, len);
		free(buf);
	}
	return (error);
}

int
vmm_dir_save(struct vmm_dir *dir, struct vm *vm)
{
	struct vmm_sbuf sb = { 0 };
	int error;

	if (dir->removed)
		return (0);
	pthread_rwlock_wrlock(&vm->rwlock);
	error = vcpu_lock_all(vm);
	if (error == 0) {
		error = vmm_state_save(vm, &sb);
		vcpu_unlock_all(vm);
	}
	pthread_rwlock_unlock(&vm->rwlock);
	if (error == 0)
		error = write_state(dir->fd, sb.buf, sb.len);
	vmm_sbuf_free(&sb);
	return (error);
}

/* ---- removing ---- */

/* Removes everything in a directory and the directory. */
static void
remove_tree(int rootfd, const char *name)
{
	struct dirent *de;
	DIR *d;
	int fd;

	fd = openat(
	    rootfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return;
	d = fdopendir(fd);
	if (d == NULL) {
		close(fd);
		return;
	}
	while ((de = readdir(d)) != NULL) {
		if (strcmp(de->d_name, ".") == 0 ||
		    strcmp(de->d_name, "..") == 0)
			continue;
		vmm_dir_unlink_segment(fd, de->d_name);
	}
	vmm_shm_forget(fd);
	closedir(d);
	unlinkat(rootfd, name, AT_REMOVEDIR);
}

/* Was it left behind by a process that was killed while it made or removed a
 * VM?  Whoever is at it holds the lock. */
static bool
is_left_aside(int rootfd, const char *name)
{
	char path[NAME_MAX + 8];
	bool left;
	int fd, pid;

	if ((sscanf(name, "..new.%d.", &pid) != 1 &&
		sscanf(name, "..old.%d.", &pid) != 1) ||
	    pid <= 0 || kill(pid, 0) == 0 || errno != ESRCH)
		return (false);
	snprintf(path, sizeof(path), "%s/lock", name);
	fd = openat(rootfd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return (errno == ENOENT);
	left = flock(fd, LOCK_EX | LOCK_NB) == 0;
	close(fd);
	return (left);
}

static void
collect_aside(int rootfd)
{
	struct dirent *de;
	DIR *d;
	int fd;

	fd = openat(rootfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || (d = fdopendir(fd)) == NULL) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((de = readdir(d)) != NULL)
		if (is_left_aside(rootfd, de->d_name))
			remove_tree(rootfd, de->d_name);
	closedir(d);
}

int
vmm_dir_remove(struct vmm_dir *dir)
{
	char aside[64];

	pthread_mutex_lock(&dir->mtx);
	if (!dir->removed) {
		dir->removed = true;
		snprintf(
		    aside, sizeof(aside), "..old.%d.%d", getpid(), dir->fd);
		/* The name is free from one moment to the next. */
		if (renameat(dir->rootfd, dir->name, dir->rootfd, aside) == 0)
			remove_tree(dir->rootfd, aside);
		else
			remove_tree(dir->rootfd, dir->name);
		collect_aside(dir->rootfd);
	}
	pthread_mutex_unlock(&dir->mtx);
	vmm_shm_collect();
	return (0);
}

bool
vmm_dir_removed(struct vmm_dir *dir)
{
	return (dir->removed);
}

int
vmm_dir_fd(struct vmm_dir *dir)
{
	return (dir->fd);
}

/* ---- opening ---- */

/*
 * What the lock file says: "PID run\n", "PID serve\n", or nothing; and a third
 * word, "once", for a VM that is to end with its owner.
 */
static int
read_mark(int lockfd, bool *serving, bool *once)
{
	char buf[40], word[8], last[8] = "";
	ssize_t n;
	int pid;

	*serving = *once = false;
	n = pread(lockfd, buf, sizeof(buf) - 1, 0);
	if (n <= 0)
		return (0);
	buf[n] = '\0';
	buf[strcspn(buf, "\n")] = '\0';
	if (sscanf(buf, "%d %7s %7s", &pid, word, last) < 2 || pid <= 0)
		return (0);
	*serving = strcmp(word, "serve") == 0;
	*once = strcmp(last, "once") == 0;
	return (pid);
}

int
vmm_dir_mark(struct vmm_dir *dir, bool serving)
{
	char buf[40];
	int n;

	n = snprintf(buf, sizeof(buf), "%d %s%s\n", getpid(),
	    serving ? "serve" : "run", dir->once ? " once" : "");
	/* There is never no mark: a reader takes the first line only. */
	if (pwrite(dir->lockfd, buf, (size_t)n, 0) != n ||
	    ftruncate(dir->lockfd, n) != 0)
		return (errno);
	return (0);
}

void
vmm_dir_once(struct vmm_dir *dir, bool once)
{
	dir->once = once;
}

int
vmm_dir_unmark(struct vmm_dir *dir)
{
	return (ftruncate(dir->lockfd, 0) != 0 ? errno : 0);
}

int
vmm_dir_dead_owner(struct vmm_dir *dir)
{
	return (dir->dead_owner);
}

static int
connect_owner(int dirfd, int type)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int error, fd;

	/* The name itself may be longer than a socket's address. */
	snprintf(
	    sun.sun_path, sizeof(sun.sun_path), "/proc/self/fd/%d/ctl", dirfd);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | type, 0);
	if (fd < 0)
		return (-1);
	if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0)
		return (fd);
	error = errno;
	close(fd);
	errno = error;
	return (-1);
}

static int64_t
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ((int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000);
}

/* A mark may be older than the lock: vmm_dir_peek() locks as well. */
static bool
may_live(int pid)
{
	return (kill(pid, 0) == 0 || errno != ESRCH);
}

/* Own it, or reach its owner.  ENOENT: it has gone, or has just been removed.
 */
static int
acquire(struct vmm_dir *dir, bool must_own, int wait_ms, int *peer)
{
	const struct timespec nap = { 0, 2000000 };
	int64_t deadline = now_ms() + wait_ms;
	struct stat st;
	bool once, serving;
	int pid;

	for (;;) {
		if (flock(dir->lockfd, LOCK_EX | LOCK_NB) == 0) {
			/* It may have been destroyed while we waited. */
			if (fstat(dir->lockfd, &st) != 0 || st.st_nlink == 0)
				return (ENOENT);
			dir->dead_owner =
			    read_mark(dir->lockfd, &serving, &once);
			if (!once)
				return (0);
			(void)vmm_dir_remove(dir);
			return (ENOENT);
		}
		if (errno != EWOULDBLOCK)
			return (errno);
		pid = read_mark(dir->lockfd, &serving, &once);
		if (serving && must_own && may_live(pid)) {
			vmm_set_error("process %d runs this VM", pid);
			return (EBUSY);
		}
		if (serving && (*peer = connect_owner(dir->fd, 0)) >= 0)
			return (0);
		if (now_ms() > deadline) {
			vmm_set_error(pid != 0 ? "process %d holds this VM"
					       : "another process holds "
						 "this VM",
			    pid);
			return (EBUSY);
		}
		nanosleep(&nap, NULL);
	}
}

/* The directory and its lock's descriptor; nothing is locked. */
static int
open_dir(const char *name, struct vmm_dir **retdir)
{
	char root[PATH_MAX];
	struct vmm_dir *dir;
	int error;

	if ((error = vmm_dir_check_name(name)) != 0)
		return (error);
	dir = calloc(1, sizeof(*dir));
	if (dir == NULL)
		return (ENOMEM);
	dir->rootfd = dir->fd = dir->lockfd = -1;
	pthread_mutex_init(&dir->mtx, NULL);
	strcpy(dir->name, name);
	error = open_root(&dir->rootfd, root, sizeof(root));
	if (error == 0) {
		dir->fd = openat(dir->rootfd, name,
		    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (dir->fd >= 0)
			dir->lockfd = openat(
			    dir->fd, "lock", O_RDWR | O_NOFOLLOW | O_CLOEXEC);
		if (dir->lockfd < 0) {
			error = errno;
			vmm_set_error("%s/%s: %s", root, name, strerror(error));
		}
	}
	if (error != 0) {
		vmm_dir_close(dir);
		return (error);
	}
	*retdir = dir;
	return (0);
}

int
vmm_dir_peek(const char *name, int *pid, int *peer)
{
	char root[PATH_MAX], path[VM_MAX_NAMELEN + sizeof("/lock")];
	int error, rootfd = -1, dirfd = -1, lockfd = -1;
	bool serving, once;

	*pid = 0;
	*peer = -1;
	if ((error = vmm_dir_check_name(name)) != 0 ||
	    (error = open_root(&rootfd, root, sizeof(root))) != 0)
		return (error);
	snprintf(path, sizeof(path), "%s/lock", name);
	lockfd = openat(rootfd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (lockfd < 0) {
		error = errno;
	} else if (flock(lockfd, LOCK_SH | LOCK_NB) == 0) {
		error = EAGAIN;
	} else if (errno != EWOULDBLOCK) {
		error = errno;
	} else {
		error = EBUSY;
		*pid = read_mark(lockfd, &serving, &once);
		if (serving)
			dirfd = openat(rootfd, name,
			    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (dirfd >= 0 &&
		    (*peer = connect_owner(dirfd, SOCK_NONBLOCK)) >= 0)
			error = 0;
	}
	if (lockfd >= 0)
		close(lockfd);
	if (dirfd >= 0)
		close(dirfd);
	close(rootfd);
	return (error);
}

int
vmm_dir_open(
    const char *name, bool must_own, struct vmm_dir **retdir, int *peer)
{
	struct vmm_dir *dir;
	int error;

	*peer = -1;
	if ((error = open_dir(name, &dir)) != 0)
		return (error);
	error = acquire(dir, must_own, OPEN_WAIT_MS, peer);
	if (error == 0)
		*retdir = dir;
	else
		vmm_dir_close(dir);
	return (error);
}

/* Removes a VM that should have ended with its owner; false: it is none. */
static bool
collect_once(const char *name)
{
	struct vmm_dir *dir;
	bool once, serving;
	int peer = -1, pid;

	if (open_dir(name, &dir) != 0)
		return (false);
	pid = read_mark(dir->lockfd, &serving, &once);
	if (once)
		(void)acquire(
		    dir, true, may_live(pid) ? 0 : OPEN_WAIT_MS, &peer);
	vmm_dir_close(dir);
	return (once);
}

/* ---- making ---- */

static int
create_dir(const char *name)
{
	char root[PATH_MAX], tmp[64];
	int dirfd, error, fd, rootfd;

	if ((error = vmm_dir_check_name(name)) != 0 ||
	    (error = open_root(&rootfd, root, sizeof(root))) != 0)
		return (error);
	/* It is made aside and appears complete, or not at all. */
	snprintf(tmp, sizeof(tmp), "..new.%d.%lx", getpid(),
	    (unsigned long)pthread_self());
	if (faccessat(rootfd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		error = EEXIST;
	else if (mkdirat(rootfd, tmp, 0700) != 0)
		error = errno;
	if (error != 0)
		goto out;
	dirfd = openat(rootfd, tmp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fd = dirfd < 0 ? -1
		       : openat(dirfd, "lock",
			     O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		error = errno;
	else
		error = flock(fd, LOCK_EX | LOCK_NB) != 0
		    ? errno
		    : write_state(dirfd, NULL, 0);
	if (dirfd >= 0)
		close(dirfd);
	if (error == 0 &&
	    renameat2(rootfd, tmp, rootfd, name, RENAME_NOREPLACE) != 0)
		error = errno;
	if (error != 0)
		remove_tree(rootfd, tmp);
	if (fd >= 0)
		close(fd);
	collect_aside(rootfd);
out:
	if (error == EEXIST)
		vmm_set_error("there is a VM of this name");
	else if (error != 0)
		vmm_set_error("%s/%s: %s", root, name, strerror(error));
	close(rootfd);
	return (error);
}

int
vmm_dir_create(const char *name)
{
	int error = create_dir(name);

	if (error == EEXIST && collect_once(name))
		error = create_dir(name);
	return (error);
}

/* Lets the lock go. */
void
vmm_dir_close(struct vmm_dir *dir)
{
	if (dir->lockfd >= 0)
		close(dir->lockfd);
	if (dir->fd >= 0)
		close(dir->fd);
	if (dir->rootfd >= 0)
		close(dir->rootfd);
	pthread_mutex_destroy(&dir->mtx);
	free(dir);
}

int
vmm_attach_dir(struct vm *vm, struct vmm_dir *dir)
{
	if (vm->dir != NULL)
		return (EBUSY);
	vm->dir = dir;
	return (0);
}
