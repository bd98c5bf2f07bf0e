/*
 * Memory that a guest and devices use at the same time.  That two of them
 * meet there is the guest's affair, no race of ours: the thread sanitizer is
 * told so.
 */
#ifndef _SHARED_H_
#define _SHARED_H_

#ifdef __SANITIZE_THREAD__
void AnnotateBenignRaceSized(const char *file, int line,
    const volatile void *mem, unsigned long size, const char *what);
#define GUEST_MEMORY(mem, size) \
	AnnotateBenignRaceSized(__FILE__, __LINE__, mem, size, "guest memory")
#else
#define GUEST_MEMORY(mem, size) ((void)(mem))
#endif

#endif
