/* Server sockets for uart_backend.c. */
#ifndef _UART_LOCAL_H_
#define _UART_LOCAL_H_

#include <stdbool.h>

/* "IP:port" or "[v6]:port".  A listening socket, or -1 after a line. */
int uart_listen_tcp(const char *spec);
/* "PATH[,wait]"; *path is the caller's to free and unlink. */
int uart_listen_unix(const char *spec, char **path, bool *wait);

#endif
