#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# fetch.sh FOLDER: what booting Debian's kernels needs, into that folder.
#
#   FOLDER/vng             environment with virtme-ng, pinned
#   FOLDER/busybox         what its machines start with
#   FOLDER/systemd         packages of what boots some of them
#   FOLDER/6.1, 6.12       a kernel each and its headers, unpacked and not installed
#
# The emulator is installed, if it is missing. The kernels come from the mirror that this
# machine's apt uses for Debian, by a configuration of apt that lives in FOLDER: the
# machine's own sources stay as they are. Each step looks first whether it is done; remove
# a kernel's folder to get its newest version.
set -euo pipefail
cd "$(dirname "$0")/../.."

folder=$(realpath -m "${1:?usage: fetch.sh FOLDER}")
mkdir -p "$folder"
architecture=$(dpkg --print-architecture)
case $architecture in
amd64) emulator=qemu-system-x86 ;;
arm64) emulator=qemu-system-arm ;;
*) echo "kernels: no emulator known for $architecture" >&2 && exit 1 ;;
esac

# Kernel, and the suite of Debian 12 that has it.
kernels=("6.1 bookworm" "6.12 bookworm-backports")
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

say() { printf 'kernels: %s\n' "$*" >&2; }

make_environment() {
	local wanted
	wanted="$folder $(sha256sum <requirements/kernels.txt)"
	[ "$(cat "$folder/vng/.done" 2>/dev/null)" = "$wanted" ] && return
	say "virtme-ng"
	python3 -m venv --clear "$folder/vng"
	"$folder/vng/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
		--require-hashes -r requirements/kernels.txt </dev/null
	printf '%s' "$wanted" >"$folder/vng/.done"
}

install_emulator() {
	local missing=() package
	for package in "$emulator" kmod; do
		dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null |
			grep -qx installed || missing+=("$package")
	done
	[ "${#missing[@]}" -eq 0 ] && return
	say "installing ${missing[*]}"
	export DEBIAN_FRONTEND=noninteractive
	apt-get -qq update </dev/null
	apt-get -qq install --yes --no-install-recommends "${missing[@]}" </dev/null >/dev/null
}

# Where this machine gets Debian itself from. The kernel's suites are at the same place.
mirror() {
	# shellcheck disable=SC2016 # apt's variables, not the shell's
	apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' 'Identifier: Packages' |
		sed -n 's/^Debian Debian //p' | sort -u | head -n 1
}

configure_apt() {
	local uri entry
	uri=$(mirror)
	[ -n "$uri" ] || {
		say "apt on this machine knows no mirror of Debian (apt-get update makes it known)"
		return 1
	}
	mkdir -p "$folder"/apt/{lists,cache,parts}
	for entry in "${kernels[@]}"; do
		printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$uri" "${entry#* }"
	done >"$folder/apt/sources.list"
	cat >"$folder/apt/apt.conf" <<-CONF
		Dir::Etc::SourceList "$folder/apt/sources.list";
		Dir::Etc::SourceParts "$folder/apt/parts";
		Dir::Etc::PreferencesParts "$folder/apt/parts";
		Dir::State::Lists "$folder/apt/lists";
		Dir::Cache "$folder/apt/cache";
		APT::Sandbox::User "root";
		Acquire::Languages "none";
		Acquire::Retries "3";
	CONF
}

# The kernel's package by which Debian's newest one of a suite is named.
package_of() {
	apt-cache show "linux-image-$architecture" |
		sed -n "s/^Depends: \(linux-image-${1//./\\.}\.[^ ,]*\).*/\1/p" | head -n 1
}

# The headers are for programs that are compiled on the spot, as those of bcc.
fetch_kernel() {
	local name=$1 package release common modules file
	package=$(package_of "$name")
	[ -n "$package" ] || {
		say "the mirror has no kernel $name"
		return 1
	}
	say "$package"
	release=${package#linux-image-}
	common=linux-headers-${release%-"$architecture"}-common
	rm -rf "$folder/$name.new"
	mkdir -p "$folder/$name.new"
	(
		cd "$folder/$name.new"
		apt-get -qq download "$package" "linux-headers-$release" "$common" </dev/null
		for file in *.deb; do
			dpkg-deb -x "$file" .
		done
		rm ./*.deb
		modules=lib/modules/$release
		ln -sfn "$folder/$name/usr/src/linux-headers-$release" "$modules/build"
		ln -sfn "$folder/$name/usr/src/$common" "$modules/source"
		depmod -b . "$release"
	)
	rm -rf "${folder:?}/$name"
	mv -T "$folder/$name.new" "$folder/$name"
}

# For the first moments of the machine. Not installed: it would replace another busybox.
fetch_busybox() {
	say "busybox-static"
	rm -rf "$folder/busybox.new"
	mkdir -p "$folder/busybox.new"
	(
		cd "$folder/busybox.new"
		apt-get -qq download busybox-static </dev/null
		dpkg-deb -x ./*.deb .
		rm ./*.deb
	)
	mv -T "$folder/busybox.new" "$folder/busybox"
}

# One version of all of it, with udev: whatever this machine has of them.
fetch_systemd() {
	say "systemd"
	rm -rf "$folder/systemd.new"
	mkdir -p "$folder/systemd.new"
	(
		cd "$folder/systemd.new"
		apt-get -qq download systemd udev libnss-systemd libsystemd-shared libsystemd0 \
			libudev1 </dev/null
	)
	mv -T "$folder/systemd.new" "$folder/systemd"
}

make_environment
install_emulator
missing=()
for entry in "${kernels[@]}"; do
	[ -d "$folder/${entry% *}/usr/src" ] || missing+=("${entry% *}")
done
[ "${#missing[@]}" -eq 0 ] && [ -d "$folder/busybox" ] && [ -d "$folder/systemd" ] && exit
mirror >/dev/null
configure_apt
export APT_CONFIG=$folder/apt/apt.conf
apt-get -qq update </dev/null
failed=0
[ -d "$folder/busybox" ] || fetch_busybox
[ -d "$folder/systemd" ] || fetch_systemd
for name in "${missing[@]}"; do
	fetch_kernel "$name" || failed=1
done
rm -rf "$folder/apt"
exit "$failed"
