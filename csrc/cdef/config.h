/*
 * The configuration tree of config.h.  Nodes stay C's business: Python uses
 * dotted paths, and reads the whole tree as text.
 */
void init_config(void);
void set_defaults(void);
bool config_failed(void);
const char *get_raw_config_value(const char *path);
const char *get_config_value(const char *path);
int set_config_value(const char *path, const char *value);
int set_config_value_if_unset(const char *path, const char *value);
bool get_config_bool_default(const char *path, bool def);
int set_config_bool(const char *path, bool value);
int parse_config_option(const char *option);
int parse_simple_config_file(const char *path);
char *config_dump_text(void);
void config_free_text(char *text);
