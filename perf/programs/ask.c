// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The victim's client: sends requests, and says how long the answers took.
 *
 *     ask udp|tcp ADDRESS PORT SECONDS [RATE]
 *
 * Without a rate the next request follows the answer (closed loop). With one,
 * requests leave at fixed times whether or not earlier ones were answered (open
 * loop), and each time counts from when its request should have left: so a
 * stall counts for all requests that it delays, not only for one.
 *
 * It waits by looking, not by sleeping, so its own wake-up is not in the times.
 * A request without an answer counts as GIVE_UP.
 */
#include <netinet/in.h>

#include "common.h"

#define GIVE_UP 200000000ULL /* ns */
#define MOST 4000000	     /* requests of one run */

struct run {
	int fd;
	int kind;
	uint32_t *took; /* ns by number of the request; 0 = no answer yet */
	uint64_t *due;	/* when it left, or should have */
	uint32_t sent;
	uint32_t answered;
	/* TCP: of the answer that arrives in pieces */
	char partial[MESSAGE];
	size_t have;
};

static int connected(int kind, const char *address, const char *port)
{
	struct addrinfo hints = { .ai_family = AF_INET6, .ai_socktype = kind };
	struct addrinfo *found;
	int on = 1, fd;

	if (getaddrinfo(address, port, &hints, &found))
		errx(1, "no address: %s", address);
	fd = socket(AF_INET6, kind | SOCK_CLOEXEC, 0);
	if (fd < 0)
		err(1, "socket");
	if (connect(fd, found->ai_addr, found->ai_addrlen))
		err(1, "connect to %s", address);
	freeaddrinfo(found);
	if (kind == SOCK_STREAM)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return fd;
}

static void send_request(struct run *run, uint64_t due)
{
	char message[MESSAGE] = { 0 };
	ssize_t n;

	run->due[run->sent] = due;
	memcpy(message, &run->sent, sizeof(run->sent));
	run->sent++;
	n = send(run->fd, message, sizeof(message), MSG_NOSIGNAL);
	if (n != MESSAGE && run->kind == SOCK_STREAM)
		err(1, "send");
}

static void note(struct run *run, const char *message)
{
	uint64_t took;
	uint32_t id;

	memcpy(&id, message, sizeof(id));
	if (id >= run->sent || run->took[id])
		return;
	took = now_ns() - run->due[id];
	if (took >= GIVE_UP)
		return;
	run->took[id] = took ? (uint32_t)took : 1;
	run->answered++;
}

/* Take all answers that are there. */
static void receive(struct run *run)
{
	char message[MESSAGE];
	ssize_t n;

	for (;;) {
		if (run->kind == SOCK_DGRAM) {
			n = recv(run->fd, message, MESSAGE, MSG_DONTWAIT);
			if (n < 0)
				return;
			if (n == MESSAGE)
				note(run, message);
			continue;
		}
		n = recv(run->fd, run->partial + run->have, MESSAGE - run->have,
			 MSG_DONTWAIT);
		if (!n)
			errx(1, "the connection was closed");
		if (n < 0)
			return;
		run->have += (size_t)n;
		if (run->have == MESSAGE) {
			note(run, run->partial);
			run->have = 0;
		}
	}
}

static void closed_loop(struct run *run, uint64_t end)
{
	uint32_t last;
	uint64_t now;

	while ((now = now_ns()) < end && run->sent < MOST) {
		last = run->sent;
		send_request(run, now);
		while (!run->took[last] && now_ns() - now < GIVE_UP)
			receive(run);
	}
}

static void open_loop(struct run *run, uint64_t end, double rate)
{
	uint64_t interval = (uint64_t)(1e9 / rate), due = now_ns();

	while (due < end && run->sent < MOST) {
		receive(run);
		if (now_ns() < due)
			continue;
		send_request(run, due);
		due += interval;
	}
	end = now_ns() + GIVE_UP;
	while (run->answered < run->sent && now_ns() < end)
		receive(run);
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static double microseconds(const struct run *run, double share)
{
	return run->took[(uint32_t)(share * (run->sent - 1))] / 1e3;
}

static void report(struct run *run, double seconds)
{
	uint32_t i;

	if (!run->sent)
		errx(1, "nothing was sent");
	for (i = 0; i < run->sent; i++)
		if (!run->took[i])
			run->took[i] = (uint32_t)GIVE_UP;
	qsort(run->took, run->sent, sizeof(*run->took), compare);
	printf("{\"sent\": %u, \"answered\": %u, \"seconds\": %.6f, "
	       "\"p50\": %.2f, \"p99\": %.2f, \"p999\": %.2f, \"max\": %.2f}\n",
	       run->sent, run->answered, seconds, microseconds(run, 0.5),
	       microseconds(run, 0.99), microseconds(run, 0.999),
	       microseconds(run, 1));
}

int main(int argc, char **argv)
{
	struct run run = { .kind = 0 };
	uint64_t start;
	double seconds;

	if (argc != 5 && argc != 6)
		errx(2, "usage: ask udp|tcp ADDRESS PORT SECONDS [RATE]");
	seconds = number(argv[4]);
	end_after((unsigned int)seconds + 10);
	run.kind = kind_of(argv[1]);
	run.took = calloc(MOST, sizeof(*run.took));
	run.due = calloc(MOST, sizeof(*run.due));
	if (!run.took || !run.due)
		errx(1, "no memory");
	run.fd = connected(run.kind, argv[2], argv[3]);
	start = now_ns();
	if (argc == 6)
		open_loop(&run, start + (uint64_t)(seconds * 1e9),
			  number(argv[5]));
	else
		closed_loop(&run, start + (uint64_t)(seconds * 1e9));
	report(&run, (double)(now_ns() - start) / 1e9);
	return 0;
}
