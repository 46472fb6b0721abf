// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The flooded container's own program: reads all UDP packets, and forgets them.
 *
 *     sink PORT SECONDS
 */
#define _GNU_SOURCE
#include "common.h"

#define AT_ONCE 64

int main(int argc, char **argv)
{
	static char buffers[AT_ONCE][2048];
	struct mmsghdr messages[AT_ONCE] = { 0 };
	struct iovec parts[AT_ONCE];
	int fd, i;

	if (argc != 3)
		errx(2, "usage: sink PORT SECONDS");
	end_after((unsigned int)number(argv[2]));
	fd = listening(SOCK_DGRAM, argv[1]);
	for (i = 0; i < AT_ONCE; i++) {
		parts[i].iov_base = buffers[i];
		parts[i].iov_len = sizeof(buffers[i]);
		messages[i].msg_hdr.msg_iov = &parts[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	for (;;)
		recvmmsg(fd, messages, AT_ONCE, MSG_WAITFORONE, NULL);
}
