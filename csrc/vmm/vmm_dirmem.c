/*
 * The segments of a VM as files: in its directory where that is RAM, else in
 * /dev/shm with a link in the directory.  Memory is given out as guests touch
 * it, so room is asked for before it is promised: a full file system would
 * otherwise be a SIGBUS in the middle of the guest's work.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "vmm_dev.h"
#include "vmm_dir_local.h"
#include "vmm_local.h"

#define FS_TMPFS 0x01021994UL
#define FS_RAMFS 0x858458f6UL
#define FS_HUGETLBFS 0x958458f6UL
#define MIB (1UL << 20)

static bool
is_ram(const struct statfs *sf)
{
	unsigned long type = (unsigned long)sf->f_type & 0xffffffffUL;

	return (type == FS_TMPFS || type == FS_RAMFS || type == FS_HUGETLBFS);
}

bool
vmm_dir_is_ram(const char *path)
{
	struct statfs sf;

	return (statfs(path, &sf) == 0 && is_ram(&sf));
}

/* Promised to files of a directory, but not given out yet. */
static size_t
promised_in(int dirfd, const char *prefix)
{
	struct dirent *de;
	struct stat st;
	size_t total = 0;
	DIR *d;
	int fd;

	fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || (d = fdopendir(fd)) == NULL) {
		if (fd >= 0)
			close(fd);
		return (0);
	}
	while ((de = readdir(d)) != NULL) {
		if (strncmp(de->d_name, prefix, strlen(prefix)) != 0 ||
		    fstatat(dirfd, de->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
			continue;
		if (S_ISREG(st.st_mode) &&
		    (size_t)st.st_size > (size_t)st.st_blocks * 512)
			total +=
			    (size_t)st.st_size - (size_t)st.st_blocks * 512;
	}
	closedir(d);
	return (total);
}

/* By all VMs under the root. */
static size_t
promised_vms(int rootfd)
{
	struct dirent *de;
	size_t total = 0;
	DIR *d;
	int fd, vmfd;

	fd = openat(rootfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || (d = fdopendir(fd)) == NULL) {
		if (fd >= 0)
			close(fd);
		return (0);
	}
	while ((de = readdir(d)) != NULL) {
		if (strcmp(de->d_name, ".") == 0 ||
		    strcmp(de->d_name, "..") == 0)
			continue;
		vmfd = openat(rootfd, de->d_name,
		    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (vmfd < 0)
			continue;
		total += promised_in(vmfd, "mem.");
		close(vmfd);
	}
	closedir(d);
	return (total);
}

/* MemAvailable and SwapFree, in bytes; SIZE_MAX when nobody tells. */
static size_t
host_memory(void)
{
	size_t total = 0, kb;
	bool found = false;
	char line[128];
	FILE *fp;

	fp = fopen("/proc/meminfo", "re");
	if (fp == NULL)
		return (SIZE_MAX);
	while (fgets(line, sizeof(line), fp) != NULL) {
		if (sscanf(line, "MemAvailable: %zu", &kb) == 1)
			found = true;
		else if (sscanf(line, "SwapFree: %zu", &kb) != 1)
			continue;
		total += kb * 1024;
	}
	fclose(fp);
	return (found ? total : SIZE_MAX);
}

static int
check_room(int fsfd, const char *where, size_t promised, size_t len)
{
	struct statvfs sv;
	size_t room;

	if (fstatvfs(fsfd, &sv) == 0 && sv.f_blocks != 0) {
		room = (size_t)sv.f_bavail * sv.f_frsize;
		room = room > promised ? room - promised : 0;
		if (len > room) {
			vmm_set_error("%zu MiB of guest memory do not fit: "
				      "%s has room for %zu MiB",
			    len / MIB, where, room / MIB);
			return (ENOMEM);
		}
	}
	room = host_memory();
	if (len > room) {
		vmm_set_error("%zu MiB of guest memory do not fit: the host "
			      "has %zu MiB to spare",
		    len / MIB, room / MIB);
		return (ENOMEM);
	}
	return (0);
}

/* Creates the file and gives it its size; the name is gone on failure. */
static int
create_file(int dirfd, const char *name, size_t len)
{
	int error, fd;

	fd = openat(dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return (-1);
	if (ftruncate(fd, (off_t)len) == 0)
		return (fd);
	error = errno == EFBIG ? ENOMEM : errno;
	close(fd);
	unlinkat(dirfd, name, 0);
	errno = error;
	return (-1);
}

/* The directory lies on a disk: RAM is in /dev/shm. */
static int
create_linked(struct vmm_dir *dir, const char *entry, size_t len)
{
	char name[NAME_MAX + 1], path[PATH_MAX];
	int error, fd, shmfd;
	struct stat st;

	if (!vmm_dir_is_ram(VMM_SHM_DIR)) {
		vmm_set_error("guest memory needs a RAM file system: neither "
			      "the VM root nor " VMM_SHM_DIR " is one");
		errno = ENOTSUP;
		return (-1);
	}
	shmfd = open(VMM_SHM_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (shmfd < 0)
		return (-1);
	fd = -1;
	vmm_shm_collect();
	error = check_room(shmfd, VMM_SHM_DIR, promised_in(shmfd, "vmm."), len);
	/* Unique while the VM's directory is there; what else has the name
	 * was left by one that is not. */
	if (fstat(dir->fd, &st) != 0)
		memset(&st, 0, sizeof(st));
	vmm_shm_name(name, sizeof(name), &st, entry);
	vmm_shm_origin(shmfd, dir->fd, &st);
	(void)unlinkat(shmfd, name, 0);
	if (error == 0 && (fd = create_file(shmfd, name, len)) < 0)
		error = errno;
	else if (error == 0)
		vmm_shm_hold(fd);
	if (error == 0) {
		snprintf(path, sizeof(path), VMM_SHM_DIR "/%s", name);
		if (symlinkat(path, dir->fd, entry) != 0) {
			error = errno;
			close(fd);
			fd = -1;
			unlinkat(shmfd, name, 0);
		}
	}
	close(shmfd);
	errno = error;
	return (fd);
}

int
vmm_dir_segment_create(struct vmm_dir *dir, const char *name, size_t len)
{
	struct statfs sf;
	char entry[64];
	int error, fd;

	snprintf(entry, sizeof(entry), "mem.%s", name);
	/* Left behind by an owner that died before it saved. */
	vmm_dir_unlink_segment(dir->fd, entry);
	if (fstatfs(dir->fd, &sf) != 0)
		return (-1);
	if (!is_ram(&sf))
		return (create_linked(dir, entry, len));
	error =
	    check_room(dir->fd, "the VM root", promised_vms(dir->rootfd), len);
	if (error != 0) {
		errno = error;
		return (-1);
	}
	fd = create_file(dir->fd, entry, len);
	if (fd < 0)
		vmm_set_error("guest memory: %s", strerror(errno));
	return (fd);
}

int
vmm_dir_segment_open(struct vmm_dir *dir, const char *name, size_t len)
{
	struct stat st;
	char entry[64];
	int fd;

	snprintf(entry, sizeof(entry), "mem.%s", name);
	fd = openat(dir->fd, entry, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return (-1);
	/* A shorter file would be a SIGBUS later. */
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) ||
	    (size_t)st.st_size != len) {
		close(fd);
		errno = EBADMSG;
		return (-1);
	}
	vmm_shm_hold(fd);
	return (fd);
}

void
vmm_dir_unlink_segment(int dirfd, const char *entry)
{
	char target[PATH_MAX];
	ssize_t n;

	n = readlinkat(dirfd, entry, target, sizeof(target) - 1);
	if (n > 0) {
		target[n] = '\0';
		if (strncmp(target, VMM_SHM_DIR "/vmm.", 13) == 0)
			unlink(target);
	}
	unlinkat(dirfd, entry, 0);
}

void
vmm_dir_segment_remove(struct vmm_dir *dir, const char *name)
{
	char entry[64];

	snprintf(entry, sizeof(entry), "mem.%s", name);
	vmm_dir_unlink_segment(dir->fd, entry);
}
