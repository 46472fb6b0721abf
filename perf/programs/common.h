/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the programs of this folder share. Each one ends by itself: when its time
 * is over, and when the process that started it is gone.
 */
#ifndef ILAX_PERF_COMMON_H
#define ILAX_PERF_COMMON_H

#include <err.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* Bytes of a request and of its answer. */
#define MESSAGE 64

static inline uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* The kernel ends us with our parent, and the clock ends us in any case. */
static inline void end_after(unsigned int seconds)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(seconds);
}

/* SOCK_DGRAM for "udp", SOCK_STREAM for "tcp". */
static inline int kind_of(const char *name)
{
	if (!strcmp(name, "udp"))
		return SOCK_DGRAM;
	if (!strcmp(name, "tcp"))
		return SOCK_STREAM;
	errx(2, "neither udp nor tcp: %s", name);
}

static inline double number(const char *text)
{
	char *end;
	double value = strtod(text, &end);

	if (end == text || *end || value < 0)
		errx(2, "not a number: %s", text);
	return value;
}

static inline int listening(int kind, const char *port)
{
	struct sockaddr_in6 any = { .sin6_family = AF_INET6 };
	int fd = socket(AF_INET6, kind | SOCK_CLOEXEC, 0);
	int on = 1;

	any.sin6_port = htons((uint16_t)number(port));
	if (fd < 0)
		err(1, "socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&any, sizeof(any)))
		err(1, "bind to port %s", port);
	return fd;
}

#endif /* ILAX_PERF_COMMON_H */
