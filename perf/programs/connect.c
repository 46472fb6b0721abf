// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Opens TCP connections to `accept` and says how many ended as they should: the
 * server closes first, so it and not the client has the ports that must rest.
 *
 *     connect ADDRESS PORT SECONDS
 *
 * AT_ONCE connections are open at any time, so both cores have something to do.
 */
#include <sys/epoll.h>

#include "common.h"

#define AT_ONCE 32

struct run {
	int epoll;
	struct addrinfo *server;
	uint32_t connections;
};

static void open_one(struct run *run)
{
	struct epoll_event event = { .events = EPOLLIN };
	int fd;

	fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		err(1, "socket");
	if (connect(fd, run->server->ai_addr, run->server->ai_addrlen) &&
	    errno != EINPROGRESS)
		err(1, "connect");
	event.data.fd = fd;
	if (epoll_ctl(run->epoll, EPOLL_CTL_ADD, fd, &event))
		err(1, "epoll_ctl");
}

static void end_one(struct run *run, int fd)
{
	char byte;

	if (read(fd, &byte, 1))
		err(1, "a connection did not end by itself");
	close(fd);
	run->connections++;
}

int main(int argc, char **argv)
{
	struct addrinfo hints = { .ai_family = AF_INET6,
				  .ai_socktype = SOCK_STREAM };
	struct epoll_event events[AT_ONCE];
	uint64_t start, end, now;
	struct run run = { 0 };
	double seconds;
	int i, n;

	if (argc != 4)
		errx(2, "usage: connect ADDRESS PORT SECONDS");
	seconds = number(argv[3]);
	end_after((unsigned int)seconds + 10);
	if (getaddrinfo(argv[1], argv[2], &hints, &run.server))
		errx(1, "no address: %s", argv[1]);
	run.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (run.epoll < 0)
		err(1, "epoll_create1");
	start = now_ns();
	end = start + (uint64_t)(seconds * 1e9);
	for (i = 0; i < AT_ONCE; i++)
		open_one(&run);
	while ((now = now_ns()) < end) {
		n = epoll_wait(run.epoll, events, AT_ONCE, 1000);
		for (i = 0; i < n; i++) {
			end_one(&run, events[i].data.fd);
			open_one(&run);
		}
	}
	if (!run.connections)
		errx(1, "no connection to %s", argv[1]);
	printf("{\"connections\": %u, \"seconds\": %.6f}\n", run.connections,
	       (double)(now - start) / 1e9);
	return 0;
}
