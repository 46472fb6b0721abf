// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The victim's client: sends requests, and says how long the answers took.
 *
 *     ask udp|tcp ADDRESS PORT SECONDS RATE look|sleep
 *
 * When it has been answered once it says "connected" and waits for a line: so
 * nothing has to be set up any more when the flood begins.
 *
 * At the rate 0 the next request follows the answer (closed loop). At another,
 * requests leave at fixed times whether or not earlier ones were answered (open
 * loop), and each time counts from when its request should have left: so a
 * stall counts for all requests that it delays, not only for one.
 *
 * By "look" it waits by looking, so its own wake-up is not in the times. By
 * "sleep" it leaves the core to others, and it is.
 * A request without an answer counts as GIVE_UP.
 */
#define _GNU_SOURCE /* ppoll */
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>

#include "common.h"

#define GIVE_UP 200000000ULL /* ns */
#define MOST 4000000	     /* requests of one run */

struct run {
	int fd;
	int kind;
	bool sleeps;
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

/* Take answers until a time at the latest, or until there were some. */
static void wait_for_answers(struct run *run, uint64_t end)
{
	struct pollfd socket = { .fd = run->fd, .events = POLLIN };
	uint64_t now = now_ns(), left = end > now ? end - now : 0;
	struct timespec wait = { .tv_sec = (time_t)(left / 1000000000),
				 .tv_nsec = (long)(left % 1000000000) };

	if (run->sleeps && ppoll(&socket, 1, &wait, NULL) <= 0)
		return;
	receive(run);
}

static void closed_loop(struct run *run, uint64_t end)
{
	uint32_t last;
	uint64_t now;

	while ((now = now_ns()) < end && run->sent < MOST) {
		last = run->sent;
		send_request(run, now);
		while (!run->took[last] && now_ns() - now < GIVE_UP)
			wait_for_answers(run, now + GIVE_UP);
	}
}

static void open_loop(struct run *run, uint64_t end, double rate)
{
	uint64_t interval = (uint64_t)(1e9 / rate), due = now_ns();

	while (due < end && run->sent < MOST) {
		wait_for_answers(run, due);
		if (now_ns() < due)
			continue;
		send_request(run, due);
		due += interval;
	}
	end = now_ns() + GIVE_UP;
	while (run->answered < run->sent && now_ns() < end)
		wait_for_answers(run, end);
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* The time that so many of 1000 requests kept (nearest rank): of few, the worst. */
static double microseconds(const struct run *run, uint64_t permille)
{
	uint64_t rank = (permille * run->sent + 999) / 1000;

	return run->took[rank - 1] / 1e3;
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
	       run->sent, run->answered, seconds, microseconds(run, 500),
	       microseconds(run, 990), microseconds(run, 999),
	       microseconds(run, 1000));
}

static void greet(const struct run *run)
{
	struct pollfd socket = { .fd = run->fd, .events = POLLIN };
	char message[MESSAGE];
	int tries = 0;

	/* No request has this number, so a late answer is none. */
	memset(message, 0xff, sizeof(message));
	do {
		if ((!tries || run->kind == SOCK_DGRAM) &&
		    send(run->fd, message, MESSAGE, MSG_NOSIGNAL) != MESSAGE)
			err(1, "send");
		if (++tries > 50)
			errx(1, "nobody answers");
	} while (poll(&socket, 1, 100) <= 0);
	if (recv(run->fd, message, MESSAGE, MSG_WAITALL) != MESSAGE)
		err(1, "the first answer");
}

static void wait_for_start(void)
{
	char line[8];

	printf("connected\n");
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		errx(1, "nobody said when to start");
}

static bool sleeps(const char *how)
{
	if (!strcmp(how, "sleep"))
		return true;
	if (!strcmp(how, "look"))
		return false;
	errx(2, "neither look nor sleep: %s", how);
}

int main(int argc, char **argv)
{
	struct run run = { .kind = 0 };
	double seconds, rate;
	uint64_t start;

	if (argc != 7)
		errx(2,
		     "usage: ask udp|tcp ADDRESS PORT SECONDS RATE look|sleep");
	seconds = number(argv[4]);
	rate = number(argv[5]);
	end_after((unsigned int)seconds + 10);
	run.kind = kind_of(argv[1]);
	run.sleeps = sleeps(argv[6]);
	run.took = calloc(MOST, sizeof(*run.took));
	run.due = calloc(MOST, sizeof(*run.due));
	if (!run.took || !run.due)
		errx(1, "no memory");
	run.fd = connected(run.kind, argv[2], argv[3]);
	greet(&run);
	wait_for_start();
	start = now_ns();
	if (rate > 0)
		open_loop(&run, start + (uint64_t)(seconds * 1e9), rate);
	else
		closed_loop(&run, start + (uint64_t)(seconds * 1e9));
	report(&run, (double)(now_ns() - start) / 1e9);
	return 0;
}
