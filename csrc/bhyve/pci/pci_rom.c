/*
 * Expansion ROMs (PCI Local Bus 3.0, 6.3): a file's bytes behind the BAR at
 * 0x30 of any function.  Firmware copies and runs them.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "debug.h"
#include "pci_local.h"

#define ROM_SIZE_MIN 2048UL /* the BAR's address begins at bit 11 */
#define ROM_SIZE_MAX (16UL << 20)
#define ROM_TOTAL_MAX (256UL << 20)

/* The header, and the PCI data structure that it points to. */
#define ROM_ENTRY 0x03
#define ROM_PCIR 0x18
#define JMP_REL8 0xeb
#define JMP_REL16 0xe9
#define PCIR_LEN 0x18
#define PCIR_IDS 0x04 /* vendor and device */

static uint64_t rom_total;

static uint16_t
rom16(const uint8_t *rom, size_t off)
{
	return ((uint16_t)(rom[off] | rom[off + 1] << 8));
}

static uint8_t
id_sum(const uint8_t *ids)
{
	return ((uint8_t)(ids[0] + ids[1] + ids[2] + ids[3]));
}

/*
 * A driver of several devices names one of them in its header, and firmware
 * compares that with the function: what the user has put here is taken to
 * be for this one.  The sum of the image's bytes stays zero by the byte
 * behind the entry's jump, which nobody uses.
 */
static void
adopt(const struct pci_devinst *pi, uint8_t *rom, size_t len)
{
	uint8_t before, *ids;
	size_t pcir;

	if (len < ROM_PCIR + 2 ||
	    (rom[ROM_ENTRY] != JMP_REL8 && rom[ROM_ENTRY] != JMP_REL16))
		return;
	pcir = rom16(rom, ROM_PCIR);
	if (pcir + PCIR_LEN > len || memcmp(rom + pcir, "PCIR", 4) != 0)
		return;
	ids = rom + pcir + PCIR_IDS;
	before = id_sum(ids);
	memcpy(ids, pi->pi_cfgdata + PCIR_VENDOR, 4);
	rom[ROM_ENTRY + 3] += (uint8_t)(before - id_sum(ids));
}

static int
read_rom(int fd, uint8_t *rom, size_t len)
{
	size_t done;
	ssize_t n;

	for (done = 0; done < len; done += (size_t)n) {
		n = read(fd, rom + done, len - done);
		if (n < 0)
			return (errno);
		if (n == 0)
			return (EIO); /* shorter than it was */
	}
	return (0);
}

static int
load_rom(struct pci_devinst *pi, int fd, const char **why)
{
	struct stat st;
	uint64_t len, size;
	int error;

	if (fstat(fd, &st) != 0)
		return (errno);
	len = (uint64_t)st.st_size;
	*why = "not a file of 3 bytes to 16 MB";
	if (!S_ISREG(st.st_mode) || st.st_size < 3 || len > ROM_SIZE_MAX)
		return (EINVAL);
	for (size = ROM_SIZE_MIN; size < len; size *= 2)
		;
	*why = "more than 256 MB of ROMs";
	if (size > ROM_TOTAL_MAX - rom_total)
		return (ENOMEM);
	*why = NULL;
	pi->pi_rom = malloc(size);
	if (pi->pi_rom == NULL)
		return (ENOMEM);
	memset(pi->pi_rom, 0xff, size);
	rom_total += size;
	pci_bar_add_rom(pi, size);
	error = read_rom(fd, pi->pi_rom, len);
	if (error == 0 && (pi->pi_rom[0] != 0x55 || pi->pi_rom[1] != 0xaa)) {
		*why = "no expansion ROM: it does not begin with 55 AA";
		error = EINVAL;
	}
	if (error == 0)
		adopt(pi, pi->pi_rom, len);
	return (error);
}

int
pci_emul_add_rom(struct pci_devinst *pi, const char *path)
{
	const char *why;
	int error, fd;

	why = NULL;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	error = fd < 0 ? errno : load_rom(pi, fd, &why);
	if (fd >= 0)
		close(fd);
	if (error != 0)
		EPRINTLN("%s: romfile \"%s\": %s", pi->pi_name, path,
		    why != NULL ? why : strerror(error));
	return (error);
}

void
pci_rom_cleanup(struct pci_devinst *pi)
{
	if (pi->pi_rom == NULL)
		return;
	rom_total -= pi->pi_bar[PCI_ROM_IDX].size;
	free(pi->pi_rom);
	pi->pi_rom = NULL;
}

uint64_t
pci_rom_read(struct pci_devinst *pi, uint64_t offset, int size)
{
	uint64_t val;

	val = 0;
	memcpy(&val, pi->pi_rom + offset, (size_t)size);
	return (val);
}
