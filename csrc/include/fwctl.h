/*
 * bhyve's own firmware interface (lpc.fwcfg=bhyve): requests and answers in
 * 32-bit words through port 0x510.
 */
#ifndef _FWCTL_H_
#define _FWCTL_H_

/* Claim the ports.  0, or an errno after one line. */
int fwctl_init(void);

#endif
