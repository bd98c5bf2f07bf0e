/*
 * Instead of libFuzzer: play files, and with -r a number of inputs of chance,
 * always the same.  Arguments: [-r COUNT] FILE ...
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LONGEST 4096

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static int played;

/* An input in memory of its own, so that a sanitizer sees its end. */
static void
play(const uint8_t *data, size_t len)
{
	uint8_t *copy = malloc(len + (len == 0));

	memcpy(copy, data, len);
	(void)LLVMFuzzerTestOneInput(copy, len);
	free(copy);
	played++;
}

/* One input, or a pack of them (corpus.py). */
static void
play_file(const char *path)
{
	static uint8_t data[1 << 22];
	size_t at, len, n;
	FILE *fp;

	fp = fopen(path, "rb");
	if (fp == NULL) {
		perror(path);
		exit(1);
	}
	n = fread(data, 1, sizeof(data), fp);
	fclose(fp);
	if (strstr(path, ".pack") == NULL) {
		play(data, n);
		return;
	}
	for (at = 0; at + 2 <= n; at += 2 + len) {
		len = data[at] | (size_t)data[at + 1] << 8;
		if (len > n - at - 2)
			len = n - at - 2;
		play(data + at + 2, len);
	}
}

static void
play_chance(int count)
{
	static uint8_t data[LONGEST];
	uint64_t x = 88172645463325252UL;
	size_t j, len;
	int i;

	for (i = 0; i < count; i++) {
		len = 16 + (size_t)(x >> 20) % (LONGEST - 16);
		for (j = 0; j < len; j++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			data[j] = (uint8_t)(x >> 24);
		}
		play(data, len);
	}
}

int
main(int argc, char **argv)
{
	int i;

	LLVMFuzzerInitialize(&argc, &argv);
	for (i = 1; i < argc; i++) {
		if (strcmp(argv[i], "-r") == 0 && i + 1 < argc)
			play_chance(atoi(argv[++i]));
		else
			play_file(argv[i]);
	}
	printf("played %d\n", played);
	return (0);
}
