// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The victim's server: sends every message back.
 *
 *     echo udp|tcp PORT SECONDS
 *
 * One peer at a time, which is all that is measured.
 */
#include "common.h"

static void echo_udp(int fd)
{
	struct sockaddr_in6 from;
	char message[2048];
	socklen_t size;
	ssize_t n;

	for (;;) {
		size = sizeof(from);
		n = recvfrom(fd, message, sizeof(message), 0,
			     (struct sockaddr *)&from, &size);
		if (n >= 0)
			sendto(fd, message, (size_t)n, 0,
			       (struct sockaddr *)&from, size);
	}
}

static void echo_tcp(int fd)
{
	char message[2048];
	int peer, on = 1;
	ssize_t n;

	if (listen(fd, 8))
		err(1, "listen");
	for (;;) {
		peer = accept(fd, NULL, NULL);
		if (peer < 0)
			continue;
		setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		while ((n = read(peer, message, sizeof(message))) > 0)
			if (write(peer, message, (size_t)n) != n)
				break;
		close(peer);
	}
}

int main(int argc, char **argv)
{
	int kind, fd;

	if (argc != 4)
		errx(2, "usage: echo udp|tcp PORT SECONDS");
	end_after((unsigned int)number(argv[3]));
	signal(SIGPIPE, SIG_IGN);
	kind = kind_of(argv[1]);
	fd = listening(kind, argv[2]);
	if (kind == SOCK_DGRAM)
		echo_udp(fd);
	else
		echo_tcp(fd);
	return 0;
}
