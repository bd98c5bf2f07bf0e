/*
 * The VM's directory, between vmm_dir.c and vmm_dirmem.c.
 */
#ifndef _VMM_DIR_LOCAL_H_
#define _VMM_DIR_LOCAL_H_

#include <pthread.h>
#include <stdbool.h>

#include "vmm_regs.h"

struct vmm_dir {
	char name[VM_MAX_NAMELEN + 1];
	int rootfd;
	int fd;
	int lockfd;
	int dead_owner;
	bool removed;
	pthread_mutex_t mtx; /* removal */
};

/* vmm_dirmem.c */
bool vmm_dir_is_ram(const char *path);
/* Unlinks an entry, and what it links to under /dev/shm. */
void vmm_dir_unlink_segment(int dirfd, const char *entry);

#endif
