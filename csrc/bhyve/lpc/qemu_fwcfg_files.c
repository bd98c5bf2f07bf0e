/*
 * What the fw_cfg device has to offer: the files by name, the user's own
 * among them, and the boot order.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config.h"
#include "debug.h"
#include "pci_emul.h"
#include "qemu_fwcfg.h"
#include "qemu_fwcfg_local.h"

#define MAX_USER_FILE (64UL * 1024 * 1024)
#define MAX_BOOT_DEVICES 64
#define MAX_BOOT_PATH 64

struct fwcfg_file {
	char name[QEMU_FWCFG_MAX_NAME];
	struct fwcfg_item item;
	bool user;
};

/* The directory's entries, big endian. */
struct dir_entry {
	uint32_t size;
	uint16_t key, reserved;
	char name[QEMU_FWCFG_MAX_NAME];
} __attribute__((__packed__));
_Static_assert(sizeof(struct dir_entry) == 64, "fw_cfg directory");

static struct fwcfg_file files[FWCFG_MAX_FILES];
static int nfiles;

static struct {
	int index;
	char path[MAX_BOOT_PATH];
	bool func0;
	char suffix[MAX_BOOT_PATH];
} boot_devices[MAX_BOOT_DEVICES];
static int nboot;

struct fwcfg_item fwcfg_items[FWCFG_MAX_ITEMS];

static int
item_set(struct fwcfg_item *item, const void *data, size_t size)
{
	uint8_t *copy;

	copy = malloc(size != 0 ? size : 1);
	if (copy == NULL)
		return (ENOMEM);
	memcpy(copy, data, size);
	free(item->data);
	item->data = copy;
	item->size = (uint32_t)size;
	return (0);
}

int
fwcfg_set_item(unsigned int key, const void *data, size_t size)
{
	if (key >= FWCFG_FILE_FIRST)
		return (EINVAL);
	return (item_set(&fwcfg_items[key], data, size));
}

/* ---- files ---- */

static struct fwcfg_file *
find_file(const char *name)
{
	int i;

	for (i = 0; i < nfiles; i++) {
		if (strcmp(files[i].name, name) == 0)
			return (&files[i]);
	}
	return (NULL);
}

static int
add_file(const char *name, const void *data, size_t size, bool user)
{
	struct fwcfg_file *f;
	int error;

	if (name[0] == '\0' || size > INT32_MAX)
		return (EINVAL);
	if (strlen(name) >= QEMU_FWCFG_MAX_NAME)
		return (ENAMETOOLONG);
	f = find_file(name);
	if (f != NULL)
		return (f->user && !user ? 0 : EEXIST);
	if (nfiles == FWCFG_MAX_FILES)
		return (ENOSPC);
	f = &files[nfiles];
	memset(f, 0, sizeof(*f));
	error = item_set(&f->item, data, size);
	if (error != 0)
		return (error);
	strcpy(f->name, name);
	f->user = user;
	nfiles++;
	return (0);
}

int
qemu_fwcfg_add_file(const char *name, const void *data, size_t size)
{
	return (add_file(name, data, size, false));
}

/* ---- the user's files ---- */

static int
add_from_file(const char *name, const char *path)
{
	struct stat st;
	size_t done;
	ssize_t n;
	char *buf;
	int error, fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) != 0) {
		error = errno;
		if (fd >= 0)
			close(fd);
		return (error);
	}
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > MAX_USER_FILE) {
		close(fd);
		return (S_ISREG(st.st_mode) ? EFBIG : EINVAL);
	}
	buf = malloc((size_t)st.st_size + 1);
	error = buf == NULL ? ENOMEM : 0;
	for (done = 0; error == 0 && done < (size_t)st.st_size;
	     done += (size_t)n) {
		n = read(fd, buf + done, (size_t)st.st_size - done);
		if (n < 0 && errno == EINTR)
			n = 0;
		else if (n <= 0)
			error = n < 0 ? errno : EIO; /* it got shorter */
	}
	close(fd);
	if (error == 0)
		error = add_file(name, buf, (size_t)st.st_size, true);
	free(buf);
	return (error);
}

/* fwcfg.N: name, and string or file. */
static int
add_user_file(void *arg, const char *number, nvlist_t *node, const char *value)
{
	const char *file, *name, *string;
	int error;

	name = node != NULL ? get_config_value_node(node, "name") : NULL;
	string = node != NULL ? get_config_value_node(node, "string") : NULL;
	file = node != NULL ? get_config_value_node(node, "file") : NULL;
	if (name == NULL || (string == NULL) == (file == NULL)) {
		EPRINTLN(
		    "fwcfg.%s: want .name and either .string or .file", number);
		return (EINVAL);
	}
	if (file != NULL)
		error = add_from_file(name, file);
	else
		error = add_file(name, string, strlen(string) + 1, true);
	if (error != 0)
		EPRINTLN("fwcfg.%s: %s: %s", number,
		    file != NULL && error != EEXIST && error != ENAMETOOLONG
			? file
			: name,
		    strerror(error));
	return (error);
}

int
fwcfg_add_user_files(void)
{
	nvlist_t *nvl;

	nvl = find_config_node("fwcfg");
	return (nvl != NULL ? walk_config_nodes(nvl, add_user_file, NULL) : 0);
}

int
fwcfg_count_files(void)
{
	return (nfiles);
}

/* ---- the boot order ---- */

int
qemu_fwcfg_add_boot_device(
    struct pci_devinst *pi, int bootindex, const char *path)
{
	int error, i, n;

	if (bootindex < 0)
		return (0);
	error = nboot == MAX_BOOT_DEVICES   ? ENOSPC
	    : strlen(path) >= MAX_BOOT_PATH ? ENAMETOOLONG
					    : 0;
	for (i = 0; i < nboot; i++) {
		if (boot_devices[i].index == bootindex)
			error = EEXIST;
	}
	if (error != 0) {
		EPRINTLN("%s: bootindex %d: %s", pi->pi_name, bootindex,
		    error == EEXIST ? "another device has it"
				    : strerror(error));
		return (error);
	}
	for (i = nboot++; i > 0 && boot_devices[i - 1].index > bootindex; i--)
		boot_devices[i] = boot_devices[i - 1];
	n = 0;
	if (pi->pi_bus != 0)
		n = snprintf(boot_devices[i].path, MAX_BOOT_PATH,
		    "/pci-root@%x", pi->pi_bus);
	snprintf(boot_devices[i].path + n, (size_t)(MAX_BOOT_PATH - n),
	    "/pci@i0cf8/pci@%x", pi->pi_slot);
	n = (int)strlen(boot_devices[i].path);
	boot_devices[i].func0 = pi->pi_func == 0;
	if (!boot_devices[i].func0)
		snprintf(boot_devices[i].path + n, (size_t)(MAX_BOOT_PATH - n),
		    ",%x", pi->pi_func);
	boot_devices[i].index = bootindex;
	strcpy(boot_devices[i].suffix, path);
	return (0);
}

/*
 * One line a device.  SeaBIOS knows function 0 without its number only, and
 * bhyve writes it with it: such a device has a line of each kind.
 */
int
fwcfg_add_bootorder(void)
{
	char *text;
	size_t len, room;
	int error, i;

	if (nboot == 0)
		return (0);
	room = (size_t)nboot * 4 * MAX_BOOT_PATH;
	text = malloc(room);
	if (text == NULL)
		return (ENOMEM);
	len = 0;
	for (i = 0; i < nboot; i++) {
		if (boot_devices[i].func0)
			len +=
			    (size_t)snprintf(text + len, room - len, "%s,0%s\n",
				boot_devices[i].path, boot_devices[i].suffix);
		len += (size_t)snprintf(text + len, room - len, "%s%s\n",
		    boot_devices[i].path, boot_devices[i].suffix);
	}
	error = qemu_fwcfg_add_file("bootorder", text, len + 1);
	free(text);
	return (error);
}

/* ---- the directory ---- */

static int
compare_files(const void *a, const void *b)
{
	return (strcmp(((const struct fwcfg_file *)a)->name,
	    ((const struct fwcfg_file *)b)->name));
}

int
fwcfg_build_directory(void)
{
	struct dir_entry *entry;
	uint32_t count;
	uint8_t *dir;
	size_t size;
	int error, i;

	qsort(files, (size_t)nfiles, sizeof(files[0]), compare_files);
	size = sizeof(count) + (size_t)nfiles * sizeof(*entry);
	dir = calloc(1, size);
	if (dir == NULL)
		return (ENOMEM);
	count = __builtin_bswap32((uint32_t)nfiles);
	memcpy(dir, &count, sizeof(count));
	entry = (struct dir_entry *)(void *)(dir + sizeof(count));
	for (i = 0; i < nfiles; i++) {
		entry[i].size = __builtin_bswap32(files[i].item.size);
		entry[i].key =
		    __builtin_bswap16((uint16_t)(FWCFG_FILE_FIRST + i));
		strcpy(entry[i].name, files[i].name);
		fwcfg_items[FWCFG_FILE_FIRST + i] = files[i].item;
		memset(&files[i].item, 0, sizeof(files[i].item));
	}
	error = fwcfg_set_item(FWCFG_FILE_DIR, dir, size);
	free(dir);
	return (error);
}

void
fwcfg_free_files(void)
{
	int i;

	for (i = 0; i < nfiles; i++)
		free(files[i].item.data);
	for (i = 0; i < FWCFG_MAX_ITEMS; i++)
		free(fwcfg_items[i].data);
	memset(fwcfg_items, 0, sizeof(fwcfg_items));
	memset(files, 0, sizeof(files));
	nfiles = nboot = 0;
}
