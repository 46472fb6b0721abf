#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Pin each requirements/*.in with hashes, into a .txt file beside it.
# Run it on the oldest supported Python, or a dependency of that version alone is missed.
#
# The caller's pip settings decide where packages come from and must not leak
# into the result: additional places would add hashes that nobody else can
# verify, and index addresses may not be committed.
set -euo pipefail
cd "$(dirname "$0")/.."

environment=build/lock
python=${PYTHON:-python3}

[ -x "$environment/bin/pip-compile" ] || {
	"$python" -m venv "$environment"
	if [ -s requirements/lock.txt ]; then
		"$environment/bin/pip" install --quiet --require-hashes -r requirements/lock.txt
	else
		"$environment/bin/pip" install --quiet -r requirements/lock.in
	fi
}

for name in dev kernels lock; do
	output=requirements/$name.txt
	env -u PIP_FIND_LINKS -u PIP_EXTRA_INDEX_URL PIP_CONFIG_FILE=/dev/null \
		CUSTOM_COMPILE_COMMAND="make lock" \
		"$environment/bin/pip-compile" --quiet --generate-hashes --allow-unsafe \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
		--no-emit-options --strip-extras \
		--output-file "$output" "requirements/$name.in" "$@" </dev/null
	printf '%s\n' '# SPDX-License-Identifier: Apache-2.0' | cat - "$output" >"$output.new"
	mv "$output.new" "$output"
	if grep -nE '://|/(opt|root|home|tmp)/' "$output"; then
		echo "lock: $output names a place of this machine" >&2
		exit 1
	fi
done
