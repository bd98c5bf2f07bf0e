/*
 * Linker sets: the one registration mechanism.  A file contributes an entry
 * with DATA_SET(set, sym); the owner of the set walks it with SET_FOREACH.
 * The order is the link order (sources are sorted by path).
 */
#ifndef _LINKER_SET_H_
#define _LINKER_SET_H_

#define DATA_SET(set, sym)                               \
	static const void *const __set_##set##_sym_##sym \
	    __attribute__((__section__("set_" #set), __used__)) = &(sym)

#define SET_DECLARE(set, ptype)                                  \
	extern ptype *const __start_set_##set[]                  \
	    __attribute__((__weak__, __visibility__("hidden"))); \
	extern ptype *const __stop_set_##set[]                   \
	    __attribute__((__weak__, __visibility__("hidden")))

#define SET_FOREACH(pvar, set) \
	for ((pvar) = __start_set_##set; (pvar) < __stop_set_##set; (pvar)++)

#define SET_COUNT(set) ((size_t)(__stop_set_##set - __start_set_##set))

#endif
