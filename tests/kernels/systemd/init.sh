#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# First process of a machine that systemd is to boot; becomes systemd.
#
#   init.sh FOLDER      FOLDER/root: what lies over the machine's root, see root.py
#
# The root is the host's file system, read-only. A root that can be written is laid over
# it, in memory. FOLDER stays the host's own, for results.
set -eu
folder=$1
release=$(uname -r)

mount -t proc proc /proc
mount -t tmpfs -o mode=0755 tmpfs /run
mkdir /run/folder /run/upper /run/work /run/root
mount -t 9p -o version=9p2000.L,trans=virtio,access=any,msize=524288 \
	virtme.initmount0 /run/folder
mount -t overlay -o "lowerdir=/run/folder/root:/,upperdir=/run/upper,workdir=/run/work" \
	overlay /run/root
cd /run/root

# Which units are enabled is said by FOLDER alone, and not by the host; nor is this one of
# the containers by whose marks systemd would know the host.
rm -rf etc/systemd/system .dockerenv run/.containerenv
cp -a /run/folder/root/etc/systemd/system etc/systemd/
mkdir -p "usr/lib/modules" ".$folder"
ln -sfn "/$(cat /run/folder/root/modules)/$release" "usr/lib/modules/$release"
mount --move /run/folder ".$folder"
umount /proc
mount --move . /
exec chroot . /lib/systemd/systemd
