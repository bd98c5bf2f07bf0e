/*
 * The process title.  argv belongs to the interpreter, so its memory is
 * found through /proc/self/stat (fields 48 to 51) and overwritten there.
 *
 * Linux shows the text up to the first NUL when the last byte of the
 * argument area is not NUL, and goes on into the environment area then: a
 * title of any length up to both areas can be shown exactly.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "bhyverun.h"

struct areas {
	unsigned long arg_start, arg_end, env_start, env_end;
};

static int
find_areas(struct areas *ar)
{
	unsigned long val;
	char buf[2048], *cp, *tok, *save;
	size_t n;
	FILE *fp;
	int field;

	fp = fopen("/proc/self/stat", "re");
	if (fp == NULL)
		return (errno);
	n = fread(buf, 1, sizeof(buf) - 1, fp);
	fclose(fp);
	buf[n] = '\0';
	/* The name in field 2 may hold blanks and brackets. */
	cp = strrchr(buf, ')');
	if (cp == NULL)
		return (EINVAL);
	field = 3;
	for (tok = strtok_r(cp + 1, " ", &save); tok != NULL;
	     tok = strtok_r(NULL, " ", &save), field++) {
		val = strtoul(tok, NULL, 10);
		if (field == 48)
			ar->arg_start = val;
		else if (field == 49)
			ar->arg_end = val;
		else if (field == 50)
			ar->env_start = val;
		else if (field == 51)
			ar->env_end = val;
	}
	if (ar->arg_start == 0 || ar->arg_end <= ar->arg_start)
		return (ENOTSUP);
	return (0);
}

/* Copy the strings of environ that the title is going to cover. */
static int
move_environ(const struct areas *ar)
{
	char **envp, *copy;

	for (envp = environ; envp != NULL && *envp != NULL; envp++) {
		if ((unsigned long)*envp < ar->env_start ||
		    (unsigned long)*envp >= ar->env_end)
			continue;
		copy = strdup(*envp);
		if (copy == NULL)
			return (ENOMEM);
		*envp = copy;
	}
	return (0);
}

/* glibc's own messages name the program by a pointer into argv. */
static int
move_progname(const struct areas *ar)
{
	char *copy, *slash;

	if ((unsigned long)program_invocation_name < ar->arg_start ||
	    (unsigned long)program_invocation_name >= ar->arg_end)
		return (0);
	copy = strdup(program_invocation_name);
	if (copy == NULL)
		return (ENOMEM);
	program_invocation_name = copy;
	slash = strrchr(copy, '/');
	program_invocation_short_name = slash != NULL ? slash + 1 : copy;
	return (0);
}

int
bhyve_setproctitle(const char *name)
{
	char title[512], *area;
	struct areas ar = { 0 };
	size_t argroom, len, room;
	int error;

	snprintf(title, sizeof(title), "bhyve: %s", name);
	len = strlen(title) + 1;
	error = find_areas(&ar);
	if (error == 0)
		error = move_progname(&ar);
	if (error != 0)
		return (error);
	area = (char *)ar.arg_start;
	argroom = ar.arg_end - ar.arg_start;
	room = argroom;
	if (len >= argroom && ar.env_start == ar.arg_end) {
		error = move_environ(&ar);
		if (error != 0)
			return (error);
		room = ar.env_end - ar.arg_start;
	}
	if (len > room) {
		len = room;
		title[len - 1] = '\0';
	}
	memset(area, 0, room);
	memcpy(area, title, len);
	/* Not NUL: the kernel then looks for the end of the text itself. */
	if (len < argroom)
		area[argroom - 1] = ' ';
	prctl(PR_SET_NAME, "bhyve", 0, 0, 0);
	return (0);
}
