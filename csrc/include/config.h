/*
 * The configuration tree of bhyve_config(5): dotted paths, string leaves.
 * Read and written by the main thread before the machine runs.
 *
 * Setters return 0, or an errno after one line on stderr.  Getters that meet
 * an impossible value print one line and latch config_failed(), which the
 * start-up checks: there is no exit() below Python.
 */
#ifndef _CONFIG_H_
#define _CONFIG_H_

#include <stdbool.h>

/* A node; FreeBSD's name for it. */
typedef struct config_node nvlist_t;

/* Empty the tree and forget the latched failure. */
void init_config(void);
/* The values set before any option is read (acpi_tables, memory.size...). */
void set_defaults(void);
bool config_failed(void);

/* NULL after one line on stderr: a value stands in the way. */
nvlist_t *create_config_node(const char *path);
nvlist_t *create_relative_config_node(nvlist_t *parent, const char *path);
/* NULL: no such node. */
nvlist_t *find_config_node(const char *path);
nvlist_t *find_relative_config_node(nvlist_t *parent, const char *path);

/* Strings live until init_config(); NULL: not set. */
const char *get_raw_config_value(const char *path);
const char *get_config_value(const char *path); /* expanded */
const char *get_config_value_node(const nvlist_t *parent, const char *name);
int set_config_value(const char *path, const char *value);
int set_config_value_node(
    nvlist_t *parent, const char *name, const char *value);
int set_config_value_if_unset(const char *path, const char *value);
int set_config_value_node_if_unset(
    nvlist_t *parent, const char *name, const char *value);

bool get_config_bool(const char *path); /* unset: latches a failure */
bool get_config_bool_default(const char *path, bool def);
bool get_config_bool_node(const nvlist_t *parent, const char *name);
bool get_config_bool_node_default(
    const nvlist_t *parent, const char *name, bool def);
int set_config_bool(const char *path, bool value);
int set_config_bool_node(nvlist_t *parent, const char *name, bool value);
/* strtol base 0; out of [min, max] or no number latches a failure. */
long get_config_int_default(const char *path, long def, long min, long max);
long get_config_int_node_default(
    const nvlist_t *parent, const char *name, long def, long min, long max);

/* The path of a node; "" for the root.  In a caller's buffer. */
const char *config_node_path(const nvlist_t *node, char *buf, int size);

/*
 * Visit a node's children in the order they were set: value is NULL for a
 * node.  A non-zero return of cb ends the walk and is returned.
 */
int walk_config_nodes(const nvlist_t *parent,
    int (*cb)(void *arg, const char *name, nvlist_t *node, const char *value),
    void *arg);

/* "var=value"; 0 or EINVAL after a line on stderr. */
int parse_config_option(const char *option);
/* A -k file; 0 or an errno after a line on stderr. */
int parse_simple_config_file(const char *path);

/* Every leaf as path=value, raw.  To stdout, or as a malloc'ed string. */
void dump_config(void);
char *config_dump_text(void);
void config_free_text(char *text);

#endif
