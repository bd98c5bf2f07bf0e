/*
 * The VM's directory, between vmm_dir.c, vmm_dirmem.c and vmm_shm.c.
 */
#ifndef _VMM_DIR_LOCAL_H_
#define _VMM_DIR_LOCAL_H_

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "vmm_regs.h"

struct vmm_dir {
	char name[VM_MAX_NAMELEN + 1];
	int rootfd;
	int fd;
	int lockfd;
	int dead_owner;
	bool once; /* it goes with its owner */
	bool removed;
	pthread_mutex_t mtx; /* removal */
};

/* vmm_dirmem.c */
bool vmm_dir_is_ram(const char *path);
/* Unlinks an entry, and what it links to under /dev/shm. */
void vmm_dir_unlink_segment(int dirfd, const char *entry);

/* vmm_shm.c */
#define VMM_SHM_DIR "/dev/shm"
void vmm_shm_name(
    char *buf, size_t size, const struct stat *st, const char *entry);
void vmm_shm_hold(int fd);
void vmm_shm_origin(int shmfd, int dirfd, const struct stat *st);
void vmm_shm_forget(int vmfd);
/* Remove what VMs left whose directories were removed by hand. */
void vmm_shm_collect(void);

#endif
