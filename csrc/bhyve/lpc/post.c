/*
 * The POST code port: what firmware writes there is of no interest.
 */
#include "inout.h"
#include "pci_lpc.h"

#define POST_PORT 0x84

static int
post_data_handler(
    struct vmctx *ctx, int in, int port, int bytes, uint32_t *eax, void *arg)
{
	return (0); /* all ones, or ignored */
}
INOUT_PORT(post, POST_PORT, IOPORT_F_INOUT, post_data_handler);
SYSRES_IO(POST_PORT, 1);
