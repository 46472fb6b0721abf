#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Everything that building, testing and the demo need, on Debian 12 or later:
# packages, a Python environment in .venv with pinned versions, the compiled
# objects, an editable install, and bpffs. Each step looks first whether it is
# done, so that every target can depend on this.
#
# PYTHON  the interpreter to make .venv from; default: a python3 that is 3.11 or newer
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(
	# compile programs, and the C tests of the contract
	clang-19 llvm-19 libbpf-dev libbpf1 gcc g++ libc6-dev make
	# the environment
	python3 python3-venv git ca-certificates
	# lint
	clang-format-19 shellcheck
	# tests and demo: network namespaces, traffic, captures
	bpftool ethtool iperf3 iproute2 iputils-ping libcap2-bin procps systemd tcpdump
	traceroute tshark util-linux
	# fuzzers: the sanitizers of clang
	libclang-rt-19-dev
	# benchmarks: some of the peers
	iptables nftables
)

say() { printf 'setup: %s\n' "$*" >&2; }

die() {
	say "$*"
	exit 1
}

missing_packages() {
	comm -23 <(printf '%s\n' "${packages[@]}" | sort -u) \
		<(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "${packages[@]}" 2>/dev/null |
			sed -n 's/ installed$//p' | sort -u)
}

retry() {
	local try
	for try in 1 2 3; do
		"$@" && return
		say "failed ($try of 3): $*"
		sleep $((try * 5))
	done
	return 1
}

install_packages() {
	local missing
	command -v apt-get >/dev/null || {
		say "no apt-get here; these Debian packages, or their like, must be there: ${packages[*]}"
		return
	}
	mapfile -t missing < <(missing_packages)
	[ "${#missing[@]}" -eq 0 ] && return
	[ "$(id -u)" -eq 0 ] || die "run as root, or install first: ${missing[*]}"
	say "installing ${missing[*]}"
	export DEBIAN_FRONTEND=noninteractive
	retry apt-get -qq update </dev/null
	# Errors go to stderr; what dpkg unpacks interests nobody.
	retry apt-get -qq install --yes --no-install-recommends "${missing[@]}" </dev/null >/dev/null
}

# Into a folder of ours, because the installed package would start a server.
unpack_prometheus() {
	local folder=build/prometheus
	[ -x "$folder/promtool" ] && return
	command -v prometheus >/dev/null && command -v promtool >/dev/null && return
	command -v apt-get >/dev/null || {
		say "no apt-get here; prometheus and promtool must be in PATH for the tests"
		return
	}
	say "unpacking prometheus"
	rm -rf "$folder.new"
	mkdir -p "$folder.new"
	if download_prometheus "$folder.new"; then
		rm -rf "$folder"
		mv "$folder.new" "$folder"
	else
		say "cannot get it; the tests of monitoring will fail"
	fi
}

download_prometheus() (
	cd "$1" || exit
	fetch=(apt-get -qq -o APT::Sandbox::User=root download prometheus)
	"${fetch[@]}" </dev/null >/dev/null 2>&1 ||
		{ apt-get -qq update && retry "${fetch[@]}"; } </dev/null >/dev/null || exit
	dpkg-deb --fsys-tarfile ./*.deb |
		tar -x --strip-components=3 ./usr/bin/prometheus ./usr/bin/promtool || exit
	rm ./*.deb
)

# The distribution's own interpreter first: version managers put shims in PATH
# that change under a virtual environment.
find_python() {
	local candidate
	for candidate in ${PYTHON:+"$PYTHON"} /usr/bin/python3 python3; do
		if "$candidate" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' \
			2>/dev/null; then
			printf '%s\n' "$candidate"
			return
		fi
	done
	die "no python3 that is 3.11 or newer and can make environments; set PYTHON"
}

# done_for NAME TEXT: was step NAME carried out for exactly this TEXT?
done_for() { [ -f ".venv/.$1" ] && [ "$(cat ".venv/.$1")" = "$2" ]; }

make_environment() {
	local python wanted
	wanted="$PWD $(sha256sum <requirements/dev.txt)"
	done_for requirements "$wanted" && .venv/bin/python -c '' 2>/dev/null && return
	python=$(find_python)
	say "making .venv with $("$python" --version)"
	"$python" -m venv --clear .venv
	retry .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input \
		--require-hashes -r requirements/dev.txt </dev/null
	printf '%s' "$wanted" >.venv/.requirements
}

install_ilax() {
	local wanted
	wanted="$PWD $(cat pyproject.toml hatch_build.py loader/ilax/__init__.py | sha256sum)"
	done_for ilax "$wanted" && return
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input \
		--no-deps --no-build-isolation --editable . </dev/null
	printf '%s' "$wanted" >.venv/.ilax
}

mount_bpffs() {
	[ "$(stat -f -c %T /sys/fs/bpf 2>/dev/null)" = bpf_fs ] && return
	mount -t bpf bpf /sys/fs/bpf 2>/dev/null ||
		say "cannot mount bpffs at /sys/fs/bpf; what needs pins will fail"
}

install_packages
unpack_prometheus
make_environment
install_ilax
.venv/bin/python tools/build_objects.py
mount_bpffs
