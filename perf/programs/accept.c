// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Accepts TCP connections and closes them at once.
 *
 *     accept PORT SECONDS
 */
#include "common.h"

#define BACKLOG 1024

int main(int argc, char **argv)
{
	int fd, peer;

	if (argc != 3)
		errx(2, "usage: accept PORT SECONDS");
	end_after((unsigned int)number(argv[2]));
	fd = listening(SOCK_STREAM, argv[1]);
	if (listen(fd, BACKLOG))
		err(1, "listen");
	for (;;) {
		peer = accept(fd, NULL, NULL);
		if (peer >= 0)
			close(peer);
	}
}
