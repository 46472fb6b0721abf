// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * A second control program, without Python and without any of our code but the
 * contract's header: it opens the pinned maps of an instance, checks that the
 * contract is the one it was compiled with, and writes rows.
 *
 *   daemon INSTANCE abi
 *   daemon INSTANCE mapping SIR WIRE local|forward
 *   daemon INSTANCE endpoint SIR WIRE DEVICE|- stack|xdp|host [MTU [MAC]]
 *   daemon INSTANCE port DEVICE SIR
 *   daemon INSTANCE device DEVICE
 *
 * Devices are names in this process's network namespace; "-" is none. MAC is
 * that of the container's device, needed for xdp delivery. Exit code 0: done;
 * 1: nothing was written, a line on stderr says why.
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ether.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/membarrier.h>
#include <bpf/bpf.h>

#include "ilax_abi.h"

static const char *instance;

__attribute__((noreturn, format(printf, 1, 2))) static void
die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("daemon: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

/*
 * Keep ilax and others away until this process ends. Maps are opened after this
 * and so are those of an instance that is up. A program that keeps them open
 * compares the id of its ilax_abi with that of the pinned one here.
 *
 * The folder goes with the last instance and comes with the next one: a lock on
 * one that is gone is no lock.
 */
static void take_lock(void)
{
	struct stat held, now;
	int fd;

	for (;;) {
		fd = open(ILAX_PIN_ROOT, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
		if (fd < 0)
			die("cannot open %s: %s", ILAX_PIN_ROOT,
			    strerror(errno));
		if (flock(fd, LOCK_EX) || fstat(fd, &held))
			die("cannot lock %s: %s", ILAX_PIN_ROOT,
			    strerror(errno));
		if (!stat(ILAX_PIN_ROOT, &now) && now.st_dev == held.st_dev &&
		    now.st_ino == held.st_ino)
			return;
		close(fd);
	}
}

/* The kernel knows the sizes of a map; a wrong one would overrun a buffer. */
static int open_map(const char *name, __u32 key_size, __u32 value_size)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s/v%d/maps/%s", ILAX_PIN_ROOT,
		 instance, ILAX_ABI_MAJOR, name);
	fd = bpf_obj_get(path);
	if (fd < 0)
		die("cannot open %s: %s", path, strerror(errno));
	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		die("cannot query %s: %s", path, strerror(errno));
	if (info.key_size != key_size || info.value_size != value_size)
		die("%s has keys of %u and values of %u bytes, not %u and %u",
		    path, info.key_size, info.value_size, key_size, value_size);
	return fd;
}

static void write_row(int fd, const char *name, const void *key,
		      const void *value)
{
	if (bpf_map_update_elem(fd, key, value, BPF_ANY))
		die("cannot write a row of %s: %s", name, strerror(errno));
}

static struct ilax_abi check_abi(void)
{
	int fd = open_map(ILAX_MAP_ABI, sizeof(__u32), sizeof(struct ilax_abi));
	struct ilax_abi abi;
	__u32 zero = 0;
	int minor;

	if (bpf_map_lookup_elem(fd, &zero, &abi))
		die("cannot read %s: %s", ILAX_MAP_ABI, strerror(errno));
	close(fd);
	if (abi.magic != ILAX_ABI_MAGIC)
		die("%s has magic %#x, not %#x", ILAX_MAP_ABI, abi.magic,
		    ILAX_ABI_MAGIC);
	/* A newer minor only appends, so it is fine. */
	minor = abi.minor;
	if (abi.major != ILAX_ABI_MAJOR || minor < ILAX_ABI_MINOR)
		die("instance %s has contract %u.%u, this program needs %d.%d",
		    instance, abi.major, abi.minor, ILAX_ABI_MAJOR,
		    ILAX_ABI_MINOR);
	return abi;
}

static struct ilax_addr parse_addr(const char *text)
{
	struct ilax_addr addr;

	if (inet_pton(AF_INET6, text, &addr) != 1)
		die("%s is no IPv6 address", text);
	return addr;
}

static __u32 parse_device(const char *name)
{
	__u32 ifindex = if_nametoindex(name);

	if (!ifindex)
		die("no device %s: %s", name, strerror(errno));
	return ifindex;
}

static void parse_mac(const char *text, __u8 *mac)
{
	const struct ether_addr *parsed = ether_aton(text);

	if (!parsed)
		die("%s is no MAC address", text);
	memcpy(mac, parsed, ETH_ALEN);
}

static void device_mac(const char *name, __u8 *mac)
{
	struct ifreq request = {};
	int sock = socket(AF_INET6, SOCK_DGRAM, 0);

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	if (sock < 0 || ioctl(sock, SIOCGIFHWADDR, &request))
		die("cannot read the address of %s: %s", name, strerror(errno));
	close(sock);
	memcpy(mac, request.ifr_hwaddr.sa_data, ETH_ALEN);
}

static void print_abi(void)
{
	struct ilax_abi abi = check_abi();

	printf("%u.%u ", abi.major, abi.minor);
	for (size_t i = 0; i < sizeof(abi.layout); i++)
		printf("%02x", abi.layout[i]);
	putchar('\n');
}

/* SIR WIRE local|forward */
static void add_mapping(char **args)
{
	int fd = open_map(ILAX_MAP_MAPPINGS, sizeof(struct ilax_addr),
			  sizeof(struct ilax_mapping));
	struct ilax_addr sir = parse_addr(args[0]);
	struct ilax_mapping before, row = {};

	row.wire = parse_addr(args[1]);
	if (!strcmp(args[2], "local"))
		row.action = ILAX_ACTION_LOCAL;
	else if (!strcmp(args[2], "forward"))
		row.action = ILAX_ACTION_FORWARD;
	else
		die("action %s is neither local nor forward", args[2]);
	row.generation = 1;
	if (!bpf_map_lookup_elem(fd, &sir, &before))
		row.generation += before.generation;
	write_row(fd, ILAX_MAP_MAPPINGS, &sir, &row);
}

/* SIR WIRE DEVICE|- stack|xdp|host [MTU [MAC]] */
static void add_endpoint(char **args, int count)
{
	int fd = open_map(ILAX_MAP_ENDPOINTS, sizeof(struct ilax_addr),
			  sizeof(struct ilax_endpoint));
	struct ilax_endpoint row = {};

	row.sir = parse_addr(args[0]);
	row.wire = parse_addr(args[1]);
	if (!strcmp(args[3], "stack"))
		row.delivery = ILAX_DELIVERY_STACK;
	else if (!strcmp(args[3], "xdp"))
		row.delivery = ILAX_DELIVERY_XDP;
	else if (!strcmp(args[3], "host"))
		row.delivery = ILAX_DELIVERY_HOST;
	else
		die("delivery %s is none of stack, xdp, host", args[3]);
	if (row.delivery == ILAX_DELIVERY_XDP && count < 6)
		die("delivery xdp needs the MTU and the MAC address of the "
		    "container's device");
	if (row.delivery != ILAX_DELIVERY_HOST) {
		row.ifindex = parse_device(args[2]);
		device_mac(args[2], row.host_mac);
	}
	if (count > 4)
		row.mtu = (__u16)strtoul(args[4], NULL, 10);
	if (count > 5)
		parse_mac(args[5], row.mac);
	write_row(fd, ILAX_MAP_ENDPOINTS, &row.wire, &row);
	/*
	 * If there was a row, its room goes to the next one that is written: not
	 * before the programs that have looked it up are done.
	 */
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0))
		warn("the row is written, but membarrier failed (nohz_full?)");
}

/* DEVICE SIR */
static void add_port(char **args)
{
	int fd = open_map(ILAX_MAP_PORTS, sizeof(__u32),
			  sizeof(struct ilax_port));
	__u32 ifindex = parse_device(args[0]);
	struct ilax_port row = {};

	row.sir = parse_addr(args[1]);
	write_row(fd, ILAX_MAP_PORTS, &ifindex, &row);
}

/* DEVICE */
static void add_device(char **args)
{
	int fd = open_map(ILAX_MAP_DEVICES, sizeof(__u32), sizeof(__u32));
	__u32 ifindex = parse_device(args[0]);

	write_row(fd, ILAX_MAP_DEVICES, &ifindex, &ifindex);
}

int main(int argc, char **argv)
{
	const char *command = argc > 2 ? argv[2] : "";
	char **args = argv + 3;
	int count = argc - 3;

	if (argc < 3)
		die("usage: daemon INSTANCE abi|mapping|endpoint|port|device "
		    "ARGUMENTS");
	instance = argv[1];
	/* Reading needs no lock. */
	if (strcmp(command, "abi"))
		take_lock();
	check_abi();
	if (!strcmp(command, "abi") && count == 0)
		print_abi();
	else if (!strcmp(command, "mapping") && count == 3)
		add_mapping(args);
	else if (!strcmp(command, "endpoint") && count >= 4 && count <= 6)
		add_endpoint(args, count);
	else if (!strcmp(command, "port") && count == 2)
		add_port(args);
	else if (!strcmp(command, "device") && count == 1)
		add_device(args);
	else
		die("no command %s with %d arguments", command, count);
	return 0;
}
