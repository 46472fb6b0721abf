#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# fetch_headers.sh FOLDER: what the tests of `ilax trace` need. Installs bcc for Python, if
# it is missing, and unpacks Debian's newest kernel headers into FOLDER/headers: one whole
# tree, which serves for every kernel. Remove FOLDER/headers to get newer ones.
set -euo pipefail

folder=$(realpath -m "${1:?usage: fetch_headers.sh FOLDER}")
architecture=$(dpkg --print-architecture)
export DEBIAN_FRONTEND=noninteractive

dpkg-query -W -f '${db:Status-Status}' python3-bpfcc 2>/dev/null | grep -qx installed ||
	apt-get -qq install --yes --no-install-recommends python3-bpfcc </dev/null >/dev/null

[ -d "$folder/headers" ] && exit
package=$(apt-cache show "linux-headers-$architecture" |
	sed -n 's/^Depends: \(linux-headers-[^ ,]*\).*/\1/p' | head -n 1)
[ -n "$package" ] || {
	echo "fetch_headers.sh: no linux-headers-$architecture here (apt-get update?)" >&2
	exit 1
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get -qq -o APT::Sandbox::User=root download "$package" \
	"${package%"-$architecture"}-common" </dev/null
for each in ./*.deb; do
	dpkg-deb -x "$each" unpacked
done
mkdir headers
cp -a unpacked/usr/src/linux-headers-*-common/. headers/
cp -a "unpacked/usr/src/$package/." headers/
mkdir -p "$folder"
mv -T headers "$folder/headers"
