/*
 * What a back end is made of, and what its ways out share.
 */
#ifndef _NET_LOCAL_H_
#define _NET_LOCAL_H_

#include <pthread.h>
#include <stdbool.h>

#include "linker_set.h"
#include "net_backends.h"
#include "net_utils.h"

struct net_backend_ops {
	const char *nb_prefix; /* names that start so are of this kind */
	const char *nb_help;
	/* Sets be_fd and the fields below; 0, or an errno after one line. */
	int (*nb_init)(net_backend_t *be, const char *name, nvlist_t *nvl);
	void (*nb_cleanup)(net_backend_t *be);
	/* One whole frame; -1: not sent. */
	ssize_t (*nb_send)(
	    net_backend_t *be, const struct iovec *iov, int iovcnt);
	/* A frame's length; 0: none now; -1: the other side is gone. */
	ssize_t (*nb_recv)(
	    net_backend_t *be, const struct iovec *iov, int iovcnt);
	/* Optional: the guest's choice of be_cap. */
	int (*nb_set_cap)(
	    net_backend_t *be, uint64_t features, size_t vnet_hdr_len);
	/* Optional: as nb_init, one more queue of be->be_first. */
	int (*nb_init_queue)(net_backend_t *be);
	/* With nb_init_queue: the host gives this queue frames, or not. */
	int (*nb_set_active)(net_backend_t *be, bool active);
};
#define NET_BACKEND_SET(x) DATA_SET(net_backend_set, x)

struct net_backend {
	const struct net_backend_ops *be_ops;
	void *be_priv;
	net_backend_t *be_first; /* the one whose further queue this is */
	int be_fd;		 /* -1: never anything to receive */
	uint64_t be_cap;
	size_t be_hdr_len;    /* header of frames on the fd */
	size_t be_fe_hdr_len; /* header of frames at the device */
	bool be_big_tcp;      /* takes TCP frames of any size */
	bool be_trusted_sum;  /* what it sends has valid checksums */

	net_be_rxeof_t be_cb;
	void *be_param;
	struct mevent *be_mevp;
	struct mevent *be_kickp; /* a frame waits in be_rxbuf */
	int be_kick_fd;

	uint64_t be_features; /* what the guest took */
	uint8_t *be_rxbuf;    /* the header's room first */
	size_t be_rx_len;     /* with the device's header; 0: empty */
	uint8_t *be_txbuf;
	uint8_t *be_segbuf;
	_Atomic bool be_dead; /* nb_recv said so */
	bool be_stalled;      /* the socket was full for NET_STALL_MS */
};

/* A full socket is waited for this long, then frames are dropped. */
#define NET_STALL_MS 100
/* sendmsg() of one frame on be_fd with that patience. */
ssize_t net_sock_send(net_backend_t *be, const struct iovec *iov, int iovcnt);
/* recvmsg() of one datagram, without waiting. */
ssize_t net_sock_recv(net_backend_t *be, const struct iovec *iov, int iovcnt);

/*
 * The body of the process beside the VM that runs libslirp: frames on fd (a
 * SOCK_SEQPACKET socket, at whose end it ends).  Its first message is "ok"
 * or the reason why not.  Not hidden: the process finds it by name.
 */
int bhyve_slirp_helper(int fd, int open_net, int mtu, const char *hostfwd)
    __attribute__((__visibility__("default")));

#endif
