/*
 * A network back end ("wire") whose other side is the test: frames that the
 * guest sends are counted and kept, frames written to wire_fd reach it.
 * "headers" is the same with the virtio-net header that a tap has.
 */
#ifndef _FUZZ_WIRE_H_
#define _FUZZ_WIRE_H_

#include <stddef.h>
#include <stdint.h>

#define WIRE_FRAME 65612

extern int wire_fd; /* SOCK_SEQPACKET, a frame a message */
extern _Atomic unsigned int wire_frames;
extern uint8_t wire_last[WIRE_FRAME];
extern size_t wire_last_len;

#endif
