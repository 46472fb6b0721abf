// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Runs the program of bpf/flood.bpf.c on live frames until the time is over.
 *
 *     flood PROGRAM_FD DEVICE BYTES BATCH SECONDS
 *
 * The kernel looks for signals between two batches of frames, so a timer ends it.
 */
#include <linux/bpf.h>
#include <net/if.h>
#include <sys/syscall.h>

#include "common.h"

static void wake(int number)
{
	(void)number;
}

static void wake_after(double seconds)
{
	/* Without SA_RESTART; again and again, should the first come early. */
	struct sigaction action = { .sa_handler = wake };
	struct itimerval timer = { .it_interval.tv_usec = 10000 };

	timer.it_value.tv_sec = (time_t)seconds;
	timer.it_value.tv_usec =
		(suseconds_t)((seconds - (time_t)seconds) * 1e6);
	sigaction(SIGALRM, &action, NULL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (setitimer(ITIMER_REAL, &timer, NULL))
		err(1, "setitimer");
}

int main(int argc, char **argv)
{
	static unsigned char frame[4096];
	union bpf_attr attr;
	struct xdp_md context = { 0 };
	double seconds;

	if (argc != 6)
		errx(2, "usage: flood PROGRAM_FD DEVICE BYTES BATCH SECONDS");
	context.data_end = (__u32)number(argv[3]);
	context.ingress_ifindex = if_nametoindex(argv[2]);
	if (!context.ingress_ifindex || context.data_end > sizeof(frame))
		errx(2, "no such device, or too many bytes");
	seconds = number(argv[5]);
	if (seconds <= 0)
		errx(2, "SECONDS has to be more than 0: nothing else ends it");

	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = (__u32)number(argv[1]);
	attr.test.data_in = (uint64_t)(uintptr_t)frame;
	attr.test.data_size_in = context.data_end;
	attr.test.ctx_in = (uint64_t)(uintptr_t)&context;
	attr.test.ctx_size_in = sizeof(context);
	attr.test.repeat = 0x7fffffff;
	attr.test.flags = BPF_F_TEST_XDP_LIVE_FRAMES;
	attr.test.batch_size = (__u32)number(argv[4]);
	wake_after(seconds);
	if (!syscall(__NR_bpf, BPF_PROG_TEST_RUN, &attr, sizeof(attr)))
		errx(1, "it ended by itself, before its time");
	if (errno != EINTR)
		err(1, "run the program");
	return 0;
}
