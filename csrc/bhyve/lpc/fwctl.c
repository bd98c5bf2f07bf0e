/*
 * fwctl: a firmware first finds the signature, then sends requests and
 * fetches answers, word by word.  A request is {size, operation, id, data},
 * an answer {size, operation, id, error, data}; sizes are in bytes.
 */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>

#include "bhyverun.h"
#include "debug.h"
#include "fwctl.h"
#include "inout.h"
#include "pci_lpc.h"

#define FWCTL_OUT 0x510 /* selector; words of both directions */
#define FWCTL_IN 0x511	/* the signature's bytes */
#define REQ_HEADER 12
#define RESP_HEADER 16
#define DATA_MAX 80

enum fwctl_op { OP_NULL = 1, OP_ECHO, OP_GET, OP_GET_LEN, OP_SET };

enum fwctl_state { IDENT_WAIT, IDENT_SEND, REQUEST, RESPONSE };

/* The guest's side of the conversation; fwctl_mtx. */
static struct {
	enum fwctl_state state;
	unsigned int nident; /* bytes of the signature given */
	unsigned int nwords; /* words of the message so far, at most 4 */
	uint32_t left;	     /* bytes of data to come or to give */
	uint32_t op, id, error;
	uint8_t data[DATA_MAX]; /* request, then answer */
	uint32_t len, off;
} fw;
static pthread_mutex_t fwctl_mtx = PTHREAD_MUTEX_INITIALIZER;

static const uint8_t signature[4] = { 'B', 'H', 'Y', 'V' };

/* ---- operations ---- */

static void
answer(uint32_t error, const void *data, uint32_t len)
{
	fw.error = error;
	fw.len = len;
	memcpy(fw.data, data, len);
}

/* GET and GET_LEN of a variable; the name may or may not end in a NUL. */
static void
op_get(bool value)
{
	static const char ncpu_name[] = "hw.ncpu";
	uint64_t size;
	int32_t ncpu;
	size_t len;

	len = strnlen((const char *)fw.data, fw.len);
	if (len != sizeof(ncpu_name) - 1 ||
	    memcmp(fw.data, ncpu_name, len) != 0) {
		answer(ENOENT, "", 0);
	} else if (value) {
		ncpu = guest_ncpus();
		answer(0, &ncpu, sizeof(ncpu));
	} else {
		size = sizeof(ncpu);
		answer(0, &size, sizeof(size));
	}
}

static void
run_request(void)
{
	bool toolong = fw.off > DATA_MAX; /* off counts what was sent */

	fw.len = toolong ? DATA_MAX : fw.off;
	if (fw.op != OP_NULL && toolong)
		answer(E2BIG, "", 0);
	else if (fw.op == OP_NULL)
		answer(0, "", 0);
	else if (fw.op == OP_ECHO)
		fw.error = 0; /* the data stands there already */
	else if (fw.op == OP_GET || fw.op == OP_GET_LEN)
		op_get(fw.op == OP_GET);
	else
		answer(ENOENT, "", 0);
	fw.state = RESPONSE;
	fw.nwords = 0;
	fw.off = 0;
}

/* ---- words ---- */

static void
put_data(uint32_t word)
{
	uint32_t n;

	n = fw.left < 4 ? fw.left : 4;
	if (fw.off <= DATA_MAX - n)
		memcpy(fw.data + fw.off, &word, n);
	/* Saturates: one byte too many is as bad as a billion. */
	fw.off = fw.off > DATA_MAX - n ? DATA_MAX + 1 : fw.off + n;
	fw.left -= n;
}

static void
request_word(uint32_t word)
{
	switch (fw.nwords) {
	case 0:
		if (word < REQ_HEADER) {
			GUEST_LOG(
			    "fwctl: a message of %u bytes is dropped", word);
			return;
		}
		fw.left = word - REQ_HEADER;
		fw.off = 0;
		break;
	case 1:
		fw.op = word;
		break;
	case 2:
		fw.id = word;
		break;
	default:
		put_data(word);
		break;
	}
	if (fw.nwords < 3)
		fw.nwords++;
	if (fw.nwords == 3 && fw.left == 0)
		run_request();
}

static uint32_t
response_word(void)
{
	uint32_t n, padded, word;

	padded = (fw.len + 3) & ~3u;
	word = 0;
	switch (fw.nwords) {
	case 0:
		word = RESP_HEADER + padded;
		break;
	case 1:
		word = fw.op;
		break;
	case 2:
		word = fw.id;
		break;
	case 3:
		word = fw.error;
		break;
	default:
		n = fw.len - fw.off < 4 ? fw.len - fw.off : 4;
		memcpy(&word, fw.data + fw.off, n);
		fw.off += n;
		break;
	}
	if (fw.nwords < 4)
		fw.nwords++;
	if (fw.nwords == 4 && fw.off == fw.len) {
		fw.state = REQUEST;
		fw.nwords = 0;
	}
	return (word);
}

/* ---- the ports ---- */

static void
fwctl_out(int bytes, uint32_t val)
{
	if (bytes == 2 && fw.state == IDENT_WAIT && val == 0) {
		fw.state = IDENT_SEND;
		fw.nident = 0;
	} else if (bytes == 4 && fw.state == REQUEST) {
		request_word(val);
	}
}

static void
fwctl_in(int bytes, uint32_t *val)
{
	if (bytes == 1 && fw.state == IDENT_SEND) {
		*val = signature[fw.nident++];
		if (fw.nident == sizeof(signature)) {
			fw.state = REQUEST;
			fw.nwords = 0;
		}
	} else if (bytes == 4 && fw.state == RESPONSE) {
		*val = response_word();
	}
}

static int
fwctl_handler(
    struct vmctx *ctx, int in, int port, int bytes, uint32_t *eax, void *arg)
{
	pthread_mutex_lock(&fwctl_mtx);
	if (in)
		fwctl_in(bytes, eax);
	else if (port == FWCTL_OUT)
		fwctl_out(bytes, *eax);
	pthread_mutex_unlock(&fwctl_mtx);
	return (0);
}

int
fwctl_init(void)
{
	struct inout_port iop = {
		.name = "fwctl",
		.port = FWCTL_OUT,
		.size = FWCTL_IN - FWCTL_OUT + 1,
		.flags = IOPORT_F_INOUT,
		.handler = fwctl_handler,
	};
	int error;

	memset(&fw, 0, sizeof(fw));
	fw.state = IDENT_WAIT;
	error = register_inout(&iop);
	if (error != 0)
		EPRINTLN("fwctl: %s", strerror(error));
	return (error);
}
