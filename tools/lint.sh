#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# All checks that need no traffic; `make lint` sets up and runs this. Every
# check runs, also after a failure; the exit code tells whether all passed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

bin=.venv/bin
failed=()

check() {
	local name=$1
	shift
	if "$@"; then
		printf 'lint: %-14s ok\n' "$name"
	else
		printf 'lint: %-14s FAILED\n' "$name"
		failed+=("$name")
	fi
}

# Files of the work tree that belong to the project, committed or not yet.
project_files() { git ls-files -z --cached --others --exclude-standard --deduplicate -- "$@"; }

clang_format() { project_files '*.c' '*.h' | xargs -0 clang-format-19 --dry-run -Werror; }

shell() {
	project_files '*.sh' .ci/run packaging/debian/postinst packaging/debian/prerm 'packaging/hooks/*' |
		xargs -0 shellcheck
}

verifier_cost() {
	if [ "$(id -u)" -ne 0 ]; then
		echo 'lint: loading programs needs root: verifier cost not compared'
		return
	fi
	"$bin/python" tools/verifier_cost.py --check
}

check licences "$bin/python" tools/spdx.py
check clang-format clang_format
check ruff "$bin/ruff" check --quiet .
check ruff-format "$bin/ruff" format --quiet --check .
check mypy "$bin/mypy"
check shellcheck shell
check abi.lock "$bin/python" tools/abi_lock.py --check
check verifier-cost verifier_cost

if [ "${#failed[@]}" -ne 0 ]; then
	echo "lint: failed: ${failed[*]}" >&2
	exit 1
fi
