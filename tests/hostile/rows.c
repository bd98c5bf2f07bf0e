/*
 * Play all rows, or those named after the folder for scratch files, and say
 * for each "ID ok" or how it ended.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rows.h"

#define ROW_SECONDS 60

SET_DECLARE(row_set, const struct row);

void
one_device(const char *slot3)
{
	char setting[128];
	const char *settings[] = { "-s 0,hostbridge", setting, NULL };

	machine_disk("disk", DISK_BYTES);
	CHECK(chdir(machine_file(".")) == 0);
	snprintf(setting, sizeof(setting), "-s 3,%s", slot3);
	machine_up(settings);
	lapic_on();
}

void
firmware_up(const char *kind)
{
	static uint8_t rom[ROM_BYTES];
	const char *const settings[] = { "-s 0,hostbridge", "-s 31,lpc",
		"bootrom=rom", kind, NULL };
	int fd;

	memset(rom, 0xf4, sizeof(rom));
	fd = open(machine_file("rom"), O_RDWR | O_CREAT | O_TRUNC, 0600);
	CHECK(fd >= 0 && write(fd, rom, sizeof(rom)) == sizeof(rom));
	close(fd);
	CHECK(chdir(machine_file(".")) == 0);
	machine_up(settings);
}

uint32_t
reg_read(int bar, uint64_t off)
{
	return ((uint32_t)mem_read(bar_addr(3, bar) + off, 4));
}

void
reg_write(int bar, uint64_t off, uint32_t val)
{
	mem_write(bar_addr(3, bar) + off, 4, val);
}

static void
play(const struct row *row, const char *folder)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", folder, row->id);
	machine_scratch(path);
	setenv("BHYVE_BACKEND", "soft", 1);
	alarm(ROW_SECONDS);
	row->play();
	exit(0);
}

int
main(int argc, char **argv)
{
	const struct row *const *row;
	int i, status;
	pid_t pid;
	bool wanted;

	CHECK(argc >= 2);
	SET_FOREACH(row, row_set)
	{
		wanted = argc == 2;
		for (i = 2; i < argc; i++)
			wanted |= strcmp(argv[i], (*row)->id) == 0;
		if (!wanted)
			continue;
		fflush(NULL);
		pid = fork();
		CHECK(pid >= 0);
		if (pid == 0)
			play(*row, argv[1]);
		CHECK(waitpid(pid, &status, 0) == pid);
		if (status == 0)
			printf("%s ok\n", (*row)->id);
		else
			printf("%s ends with status %d, signal %d\n",
			    (*row)->id, WEXITSTATUS(status), WTERMSIG(status));
	}
	return (0);
}
