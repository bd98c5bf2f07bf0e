/*
 * Guest memory that stands in /dev/shm because the VM root lies on a disk.
 *
 * Files there are vmm.DEV.INO.ENTRY, of the VM's directory; the symbolic link
 * vmm.DEV.INO.dir says where that is.  When somebody has removed the
 * directory by other means than ours, the link leads nowhere: then the files
 * are of nobody, and go, unless a process still has them open and locked.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm_dir_local.h"

#define ORIGIN "dir"

void
vmm_shm_name(char *buf, size_t size, const struct stat *st, const char *entry)
{
	snprintf(buf, size, "vmm.%lx.%lx.%s", (long)st->st_dev,
	    (long)st->st_ino, entry);
}

/* Whoever uses a segment holds this, as long as its descriptor is open. */
void
vmm_shm_hold(int fd)
{
	(void)flock(fd, LOCK_SH | LOCK_NB);
}

/* Leave word of where the directory is; its failure costs only tidiness. */
void
vmm_shm_origin(int shmfd, int dirfd, const struct stat *st)
{
	char fdpath[32], name[NAME_MAX + 1], path[PATH_MAX];
	ssize_t n;

	snprintf(fdpath, sizeof(fdpath), "/proc/self/fd/%d", dirfd);
	n = readlink(fdpath, path, sizeof(path) - 1);
	if (n <= 0 || path[0] != '/')
		return;
	path[n] = '\0';
	vmm_shm_name(name, sizeof(name), st, ORIGIN);
	(void)unlinkat(shmfd, name, 0);
	(void)!symlinkat(path, shmfd, name);
}

/* The directory is being removed: so is all that has its numbers, linked to
 * from there or not yet. */
void
vmm_shm_forget(int vmfd)
{
	char prefix[NAME_MAX + 1];
	struct dirent *de;
	struct stat st;
	size_t len;
	DIR *d;

	if (fstat(vmfd, &st) != 0 || (d = opendir(VMM_SHM_DIR)) == NULL)
		return;
	vmm_shm_name(prefix, sizeof(prefix), &st, "");
	len = strlen(prefix);
	while ((de = readdir(d)) != NULL)
		if (strncmp(de->d_name, prefix, len) == 0)
			(void)unlinkat(dirfd(d), de->d_name, 0);
	closedir(d);
}

/* ---- what nobody owns any more ---- */

/* Another name of the directory beside its old one. */
static bool
renamed_beside(const char *parent, dev_t dev, ino_t ino)
{
	struct dirent *de;
	struct stat st;
	bool found = false;
	DIR *d;

	d = opendir(parent);
	if (d == NULL)
		return (errno != ENOENT && errno != ENOTDIR);
	while (!found && (de = readdir(d)) != NULL)
		found = fstatat(dirfd(d), de->d_name, &st,
			    AT_SYMLINK_NOFOLLOW) == 0 &&
		    st.st_dev == dev && st.st_ino == ino;
	closedir(d);
	return (found);
}

/*
 * The directory that was at path has been removed.  In doubt it has not: its
 * file system may only be unmounted, or a part of the way be closed to us.
 */
static bool
is_gone(const char *path, dev_t dev, ino_t ino)
{
	char part[PATH_MAX], *slash;
	struct stat st;

	if (stat(path, &st) == 0 && st.st_dev == dev && st.st_ino == ino)
		return (false);
	snprintf(part, sizeof(part), "%s", path);
	slash = strrchr(part, '/');
	if (slash == NULL)
		return (false);
	*slash = '\0';
	if (renamed_beside(part[0] != '\0' ? part : "/", dev, ino))
		return (false);
	/* What is left of the way is on the same file system. */
	while (stat(part[0] != '\0' ? part : "/", &st) != 0) {
		slash = strrchr(part, '/');
		if ((errno != ENOENT && errno != ENOTDIR) || slash == NULL)
			return (false);
		*slash = '\0';
	}
	return (st.st_dev == dev);
}

/* Where the link says that the directory is; false: it says nothing. */
static bool
read_origin(int shmfd, const char *name, char *path)
{
	struct stat st;
	ssize_t n;

	if (fstatat(shmfd, name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
	    !S_ISLNK(st.st_mode) || st.st_uid != geteuid())
		return (false);
	n = readlinkat(shmfd, name, path, PATH_MAX - 1);
	if (n <= 0)
		return (false);
	path[n] = '\0';
	return (true);
}

/*
 * Remove a file, if nobody uses it.  It is taken aside first: a new VM may
 * have got the number of the old directory, and be making its own just now.
 */
static bool
remove_unused(int shmfd, const char *name)
{
	struct stat aside, st;
	char tmp[64];
	bool done = false;
	int fd;

	fd =
	    openat(shmfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return (errno == ENOENT);
	snprintf(tmp, sizeof(tmp), "vmm-gone.%d", getpid());
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
	    st.st_uid == geteuid() && flock(fd, LOCK_EX | LOCK_NB) == 0 &&
	    renameat(shmfd, name, shmfd, tmp) == 0) {
		if (fstatat(shmfd, tmp, &aside, AT_SYMLINK_NOFOLLOW) == 0 &&
		    aside.st_ino == st.st_ino)
			done = unlinkat(shmfd, tmp, 0) == 0;
		else
			(void)renameat2(
			    shmfd, tmp, shmfd, name, RENAME_NOREPLACE);
	}
	close(fd);
	return (done);
}

/* All files of one directory that is no more. */
static void
collect_one(int shmfd, const char *origin, size_t prefix)
{
	struct dirent *de;
	bool all = true;
	DIR *d;
	int fd;

	fd = openat(shmfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || (d = fdopendir(fd)) == NULL) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((de = readdir(d)) != NULL) {
		if (strncmp(de->d_name, origin, prefix) == 0 &&
		    strcmp(de->d_name, origin) != 0)
			all &= remove_unused(shmfd, de->d_name);
	}
	closedir(d);
	if (all)
		(void)unlinkat(shmfd, origin, 0);
}

void
vmm_shm_collect(void)
{
	unsigned long dev, ino;
	char path[PATH_MAX];
	struct dirent *de;
	int n, pid;
	DIR *d;

	d = opendir(VMM_SHM_DIR);
	if (d == NULL)
		return;
	while ((de = readdir(d)) != NULL) {
		/* Taken aside by a process that was killed then. */
		if (sscanf(de->d_name, "vmm-gone.%d", &pid) == 1 && pid > 0 &&
		    kill(pid, 0) != 0 && errno == ESRCH)
			(void)unlinkat(dirfd(d), de->d_name, 0);
		n = 0;
		if (sscanf(de->d_name, "vmm.%lx.%lx.%n", &dev, &ino, &n) == 2 &&
		    n > 0 && strcmp(de->d_name + n, ORIGIN) == 0 &&
		    read_origin(dirfd(d), de->d_name, path) &&
		    is_gone(path, (dev_t)dev, (ino_t)ino))
			collect_one(dirfd(d), de->d_name, (size_t)n);
	}
	closedir(d);
}
