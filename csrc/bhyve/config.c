/*
 * The configuration tree: dotted paths with string leaves, kept in the order
 * of insertion.  Only the main thread uses it.
 */
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/types.h>

#include "config.h"
#include "debug.h"

#define MAX_EXPANSION_DEPTH 15
#define MAX_VALUE_LEN 65536
#define MAX_PATH_LEN 512

/* A leaf has a value; a node has children. */
struct config_node {
	char *name;
	char *value;
	char *expanded; /* what get_config_value() last returned */
	struct config_node *parent;
	struct config_node *first, *last; /* children */
	struct config_node *next;
};

/* Replaced strings stay until init_config(): callers may hold them. */
struct retired {
	struct retired *next;
	char *str;
};

static struct config_node root;
static struct retired *retired_list;
static bool failed;

static const struct {
	const char *old;
	const char *new;
} config_aliases[] = {
	{ "lpc.bootrom", "bootrom" },
	{ "lpc.bootvars", "bootvars" },
	{ "virtio_msix", "virtio.msix" },
	{ "monitor", "monitor.enabled" },
};

/*
 * Say what is wrong and remember that something is: the first line tells, and
 * those that would follow from it, or repeat it, are kept back.
 */
static void __attribute__((__format__(printf, 1, 2))) fail(const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	if (!failed) {
		va_start(ap, fmt);
		vsnprintf(text, sizeof(text), fmt, ap);
		va_end(ap);
		ewarnx("%s", text);
	}
	failed = true;
}

static void *
xalloc(void *p)
{
	if (p == NULL)
		fail("config: out of memory");
	return (p);
}

static void
retire(char *str)
{
	struct retired *r;

	if (str == NULL)
		return;
	r = malloc(sizeof(*r));
	if (r == NULL)
		return; /* a leak is better than a dangling pointer */
	r->str = str;
	r->next = retired_list;
	retired_list = r;
}

static void
free_children(struct config_node *node)
{
	struct config_node *c, *next;

	for (c = node->first; c != NULL; c = next) {
		next = c->next;
		free_children(c);
		free(c->name);
		free(c->value);
		free(c->expanded);
		free(c);
	}
	node->first = node->last = NULL;
}

void
init_config(void)
{
	struct retired *r;

	free_children(&root);
	while ((r = retired_list) != NULL) {
		retired_list = r->next;
		free(r->str);
		free(r);
	}
	failed = false;
}

void
set_defaults(void)
{
	set_config_bool("acpi_tables", true);
	set_config_bool("acpi_tables_in_memory", true);
	set_config_value("memory.size", "256M");
	set_config_bool("x86.strictmsr", true);
	set_config_bool("x86.verbosemsr", false);
	set_config_value("lpc.fwcfg", "bhyve");
	set_config_value("rundir", "/var/run/bhyve/");
}

bool
config_failed(void)
{
	return (failed);
}

static struct config_node *
find_child(const struct config_node *parent, const char *name, size_t len)
{
	struct config_node *c;

	for (c = parent->first; c != NULL; c = c->next) {
		if (strncmp(c->name, name, len) == 0 && c->name[len] == '\0')
			return (c);
	}
	return (NULL);
}

static struct config_node *
add_child(struct config_node *parent, const char *name, size_t len)
{
	struct config_node *c;

	c = xalloc(calloc(1, sizeof(*c)));
	if (c == NULL)
		return (NULL);
	c->name = xalloc(strndup(name, len));
	if (c->name == NULL) {
		free(c);
		return (NULL);
	}
	c->parent = parent;
	if (parent->last != NULL)
		parent->last->next = c;
	else
		parent->first = c;
	parent->last = c;
	return (c);
}

/* The node at a path below parent, made where create says so. */
static struct config_node *
walk_path(struct config_node *parent, const char *path, bool create)
{
	struct config_node *c;
	const char *start;
	size_t len;

	start = path;
	for (; *path != '\0'; path += len + (path[len] == '.')) {
		len = strcspn(path, ".");
		if (len == 0) {
			if (create)
				fail("Invalid config node name \"%s\"", start);
			return (NULL);
		}
		c = find_child(parent, path, len);
		if (c == NULL && create)
			c = add_child(parent, path, len);
		if (c == NULL)
			return (NULL);
		if (c->value != NULL) {
			if (create)
				fail("Failed to add configuration node %s: "
				     "%.*s is a value",
				    start, (int)(path + len - start), start);
			return (NULL);
		}
		parent = c;
	}
	return (parent);
}

nvlist_t *
create_config_node(const char *path)
{
	return (walk_path(&root, path, true));
}

nvlist_t *
create_relative_config_node(nvlist_t *parent, const char *path)
{
	return (walk_path(parent, path, true));
}

nvlist_t *
find_config_node(const char *path)
{
	return (walk_path(&root, path, false));
}

nvlist_t *
find_relative_config_node(nvlist_t *parent, const char *path)
{
	return (walk_path(parent, path, false));
}

const char *
config_node_path(const nvlist_t *node, char *buf, int size)
{
	const nvlist_t *chain[MAX_PATH_LEN / 2];
	int depth, used;

	depth = 0;
	for (; node != NULL && node != &root; node = node->parent) {
		if (depth < (int)(sizeof(chain) / sizeof(chain[0])))
			chain[depth++] = node;
	}
	buf[0] = '\0';
	used = 0;
	while (depth > 0 && used < size) {
		depth--;
		used += snprintf(buf + used, (size_t)(size - used), "%s%s",
		    used != 0 ? "." : "", chain[depth]->name);
	}
	return (buf);
}

static const char *
apply_alias(const char *path)
{
	size_t i;

	for (i = 0; i < sizeof(config_aliases) / sizeof(config_aliases[0]);
	     i++) {
		if (strcmp(path, config_aliases[i].old) == 0) {
			ewarnx("deprecated variable \"%s\", use \"%s\"", path,
			    config_aliases[i].new);
			return (config_aliases[i].new);
		}
	}
	return (path);
}

/* Splits "a.b.c" into the node of "a.b" and "c". */
static struct config_node *
parent_of(const char *path, const char **leaf, bool create)
{
	struct config_node *node;
	const char *dot;
	char *dir;

	dot = strrchr(path, '.');
	if (dot == NULL) {
		*leaf = path;
		return (&root);
	}
	*leaf = dot + 1;
	dir = xalloc(strndup(path, (size_t)(dot - path)));
	if (dir == NULL)
		return (NULL);
	node = walk_path(&root, dir, create);
	free(dir);
	return (node);
}

int
set_config_value_node(nvlist_t *parent, const char *name, const char *value)
{
	struct config_node *leaf;
	char *copy;

	if (name[0] == '\0' || strchr(name, '.') != NULL) {
		fail("Invalid config node name \"%s\"", name);
		return (EINVAL);
	}
	leaf = find_child(parent, name, strlen(name));
	if (leaf != NULL && leaf->value == NULL) {
		fail("Attempting to add value %s to existing node %s", value,
		    name);
		return (EINVAL);
	}
	copy = xalloc(strdup(value));
	if (copy == NULL)
		return (ENOMEM);
	if (leaf == NULL)
		leaf = add_child(parent, name, strlen(name));
	if (leaf == NULL) {
		free(copy);
		return (ENOMEM);
	}
	retire(leaf->value);
	leaf->value = copy;
	return (0);
}

int
set_config_value(const char *path, const char *value)
{
	struct config_node *node;
	const char *leaf;

	path = apply_alias(path);
	if (path[0] == '\0' || path[0] == '.' ||
	    path[strlen(path) - 1] == '.' || strstr(path, "..") != NULL) {
		fail("Invalid config node name \"%s\"", path);
		return (EINVAL);
	}
	node = parent_of(path, &leaf, true);
	if (node == NULL)
		return (EINVAL);
	return (set_config_value_node(node, leaf, value));
}

int
set_config_value_if_unset(const char *path, const char *value)
{
	if (get_raw_config_value(path) != NULL)
		return (0);
	return (set_config_value(path, value));
}

int
set_config_value_node_if_unset(
    nvlist_t *parent, const char *name, const char *value)
{
	if (find_child(parent, name, strlen(name)) != NULL)
		return (0);
	return (set_config_value_node(parent, name, value));
}

static struct config_node *
find_leaf(const char *path)
{
	struct config_node *node;
	const char *leaf;

	node = parent_of(path, &leaf, false);
	if (node == NULL)
		return (NULL);
	node = find_child(node, leaf, strlen(leaf));
	return (node != NULL && node->value != NULL ? node : NULL);
}

const char *
get_raw_config_value(const char *path)
{
	struct config_node *leaf;

	leaf = find_leaf(path);
	return (leaf != NULL ? leaf->value : NULL);
}

struct strbuf {
	char *data;
	size_t len, room;
};

static int
strbuf_add(struct strbuf *sb, const char *s, size_t len)
{
	size_t room;
	char *p;

	if (sb->len + len > MAX_VALUE_LEN) {
		fail("Expanded configuration value is too long");
		return (EINVAL);
	}
	if (sb->len + len + 1 > sb->room) {
		room = (sb->len + len + 1) * 2;
		p = xalloc(realloc(sb->data, room));
		if (p == NULL)
			return (ENOMEM);
		sb->data = p;
		sb->room = room;
	}
	memcpy(sb->data + sb->len, s, len);
	sb->len += len;
	sb->data[sb->len] = '\0';
	return (0);
}

/*
 * Append the expansion of value: %(name) is the value of name, %% is a
 * percent sign, and a backslash takes the next character as it is.
 */
static int
expand(struct strbuf *sb, const char *value, int depth)
{
	const char *end, *ref;
	size_t plain;
	char *name;
	int error;

	error = strbuf_add(sb, "", 0);
	while (error == 0 && *value != '\0') {
		plain = strcspn(value, "%\\");
		error = strbuf_add(sb, value, plain);
		value += plain;
		if (error != 0 || *value == '\0')
			break;
		if (*value == '\\') {
			value++;
			if (*value == '\0')
				break;
			error = strbuf_add(sb, value++, 1);
		} else if (value[1] == '%') {
			error = strbuf_add(sb, "%", 1);
			value += 2;
		} else if (value[1] == '(' &&
		    (end = strchr(value + 2, ')')) != NULL) {
			if (depth >= MAX_EXPANSION_DEPTH)
				return (ELOOP);
			name = xalloc(
			    strndup(value + 2, (size_t)(end - value - 2)));
			if (name == NULL)
				return (ENOMEM);
			ref = get_raw_config_value(name);
			free(name);
			if (ref != NULL)
				error = expand(sb, ref, depth + 1);
			value = end + 1;
		} else {
			error = strbuf_add(sb, value++, 1);
		}
	}
	return (error);
}

static const char *
expanded_value(struct config_node *leaf)
{
	struct strbuf sb = { 0 };
	int error;

	if (strpbrk(leaf->value, "%\\") == NULL)
		return (leaf->value);
	if ((error = expand(&sb, leaf->value, 0)) != 0) {
		fail("Failed to expand configuration value \"%s\" of %s: %s",
		    leaf->value, leaf->name,
		    error == ELOOP ? "too many recursive references"
				   : strerror(error));
		free(sb.data);
		return (leaf->value);
	}
	if (leaf->expanded != NULL && strcmp(leaf->expanded, sb.data) == 0) {
		free(sb.data);
	} else {
		retire(leaf->expanded);
		leaf->expanded = sb.data;
	}
	return (leaf->expanded);
}

const char *
get_config_value(const char *path)
{
	struct config_node *leaf;

	leaf = find_leaf(path);
	return (leaf != NULL ? expanded_value(leaf) : NULL);
}

const char *
get_config_value_node(const nvlist_t *parent, const char *name)
{
	struct config_node *leaf;

	if (parent == NULL)
		return (NULL);
	leaf = find_child(parent, name, strlen(name));
	if (leaf == NULL || leaf->value == NULL)
		return (NULL);
	return (expanded_value(leaf));
}

static bool
parse_bool(const char *name, const char *value, bool def)
{
	if (strcasecmp(value, "true") == 0 || strcasecmp(value, "on") == 0 ||
	    strcasecmp(value, "yes") == 0 || strcmp(value, "1") == 0)
		return (true);
	if (strcasecmp(value, "false") == 0 || strcasecmp(value, "off") == 0 ||
	    strcasecmp(value, "no") == 0 || strcmp(value, "0") == 0)
		return (false);
	fail("Invalid value %s for boolean variable %s", value, name);
	return (def);
}

bool
get_config_bool_default(const char *path, bool def)
{
	const char *value;

	value = get_config_value(path);
	return (value != NULL ? parse_bool(path, value, def) : def);
}

bool
get_config_bool(const char *path)
{
	if (get_raw_config_value(path) == NULL) {
		fail("Failed to fetch boolean variable %s", path);
		return (false);
	}
	return (get_config_bool_default(path, false));
}

bool
get_config_bool_node_default(const nvlist_t *parent, const char *name, bool def)
{
	const char *value;

	value = get_config_value_node(parent, name);
	return (value != NULL ? parse_bool(name, value, def) : def);
}

bool
get_config_bool_node(const nvlist_t *parent, const char *name)
{
	if (get_config_value_node(parent, name) == NULL) {
		fail("Failed to fetch boolean variable %s", name);
		return (false);
	}
	return (get_config_bool_node_default(parent, name, false));
}

int
set_config_bool(const char *path, bool value)
{
	return (set_config_value(path, value ? "true" : "false"));
}

int
set_config_bool_node(nvlist_t *parent, const char *name, bool value)
{
	return (set_config_value_node(parent, name, value ? "true" : "false"));
}

static long
parse_int(const char *name, const char *value, long def, long min, long max)
{
	char *end;
	long num;

	errno = 0;
	num = strtol(value, &end, 0);
	if (end == value || *end != '\0' || errno != 0 || num < min ||
	    num > max) {
		fail("Invalid value for %s: '%s'", name, value);
		return (def);
	}
	return (num);
}

long
get_config_int_default(const char *path, long def, long min, long max)
{
	const char *value;

	value = get_config_value(path);
	return (value != NULL ? parse_int(path, value, def, min, max) : def);
}

long
get_config_int_node_default(
    const nvlist_t *parent, const char *name, long def, long min, long max)
{
	const char *value;

	value = get_config_value_node(parent, name);
	return (value != NULL ? parse_int(name, value, def, min, max) : def);
}

int
walk_config_nodes(const nvlist_t *parent,
    int (*cb)(void *arg, const char *name, nvlist_t *node, const char *value),
    void *arg)
{
	struct config_node *c, *next;
	int rc;

	for (c = parent->first; c != NULL; c = next) {
		next = c->next;
		rc = cb(arg, c->name, c->value != NULL ? NULL : c, c->value);
		if (rc != 0)
			return (rc);
	}
	return (0);
}

int
parse_config_option(const char *option)
{
	const char *value;
	char *path;
	int error;

	value = strchr(option, '=');
	if (value == NULL || value == option || value[1] == '\0') {
		ewarnx("invalid configuration option '%s'", option);
		return (EINVAL);
	}
	path = xalloc(strndup(option, (size_t)(value - option)));
	if (path == NULL)
		return (ENOMEM);
	error = set_config_value(path, value + 1);
	free(path);
	return (error);
}

int
parse_simple_config_file(const char *path)
{
	char *line, *cp;
	unsigned int lineno;
	ssize_t len;
	size_t room;
	FILE *fp;
	int error;

	fp = fopen(path, "re");
	if (fp == NULL) {
		error = errno;
		ewarnx("Failed to open configuration file %s: %s", path,
		    strerror(error));
		return (error);
	}
	line = NULL;
	room = 0;
	error = 0;
	for (lineno = 1; error == 0 && (len = getline(&line, &room, fp)) > 0;
	     lineno++) {
		for (cp = line; *cp == ' ' || *cp == '\t'; cp++)
			;
		if (strlen(line) != (size_t)len) {
			ewarnx("%s line %u: a NUL byte", path, lineno);
			error = EINVAL;
			continue;
		}
		cp[strcspn(cp, "\r\n")] = '\0';
		if (*cp == '\0' || *cp == '#')
			continue;
		if (strchr(cp, '=') == NULL || *cp == '=' ||
		    strchr(cp, '=')[1] == '\0') {
			ewarnx("%s line %u: invalid config option '%s'", path,
			    lineno, cp);
			error = EINVAL;
		} else {
			error = parse_config_option(cp);
		}
	}
	if (error == 0 && ferror(fp)) {
		error = errno != 0 ? errno : EIO;
		ewarnx("Failed to read configuration file %s: %s", path,
		    strerror(error));
	}
	free(line);
	fclose(fp);
	return (error);
}

static void
dump_tree(FILE *fp, const nvlist_t *node)
{
	const struct config_node *c;
	char path[MAX_PATH_LEN];

	for (c = node->first; c != NULL; c = c->next) {
		if (c->value == NULL) {
			dump_tree(fp, c);
			continue;
		}
		config_node_path(c, path, sizeof(path));
		fprintf(fp, "%s=%s\n", path, c->value);
	}
}

char *
config_dump_text(void)
{
	char *text;
	size_t len;
	FILE *fp;

	text = NULL;
	fp = open_memstream(&text, &len);
	if (fp == NULL)
		return (NULL);
	dump_tree(fp, &root);
	if (fclose(fp) != 0) {
		free(text);
		return (NULL);
	}
	return (text);
}

void
config_free_text(char *text)
{
	free(text);
}

void
dump_config(void)
{
	dump_tree(stdout, &root);
	fflush(stdout);
}
