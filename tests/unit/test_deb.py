# SPDX-License-Identifier: Apache-2.0
"""The Debian package: installed, used and removed, on a copy of this system's files."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import deb
import ilax
import man_pages

LICENCES = list((deb.ROOT / "LICENSES").glob("*.txt"))

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts: needs root")

# An overlay over the root, in a mount namespace of its own: what is written there is
# gone with the process. Instances of this machine are not seen.
_INSIDE = """
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
for folder in sys proc dev; do
    mount --rbind "/$folder" "$1/root/$folder"
done
mount -t bpf bpf "$1/root/sys/fs/bpf"
cp "$2" "$1/root/ilax.deb"
exec chroot "$1/root" /bin/sh -euc "$3"
"""

_STORY = """
dpkg --install /ilax.deb >/dev/null
ilax version
echo ---
ilax --json selftest
echo ---
ilax limit set --help
echo ---
cd /usr/lib/systemd/system
systemd-analyze verify --man=no ilax*.service ilax*.timer
ls ilax*.service ilax*.timer ilax*@.service.d/instance.conf | wc -l
cd /
/usr/share/ilax/ilax-link-up && test -x /usr/share/ilax/ilax-link-up
echo ---
cat /usr/share/doc/ilax/copyright
echo ---
ls /usr/share/zsh/vendor-completions/_ilax /usr/share/fish/vendor_completions.d/ilax.fish
ls /usr/share/doc/ilax/examples/host.toml /usr/share/doc/ilax/examples/mappings.csv
bash -euc '. /usr/share/bash-completion/completions/ilax; complete -p ilax'
echo ---
python3 -I -c 'import ilax' 2>&1 || true
echo ---
dpkg --remove ilax >/dev/null
ls /usr/lib/ilax /usr/sbin/ilax 2>&1 || true
"""


# An older version, an instance that it brought up, and a module that only it has.
_UPGRADE = """
dpkg --install /ilax.deb >/dev/null
ip link add up0 type veth peer far
ip link set up0 up
ip link set far up
ilax up --uplink up0 --sir-prefix 2001:db8:5a5a:1::/64 --locator 2001:db8:42:7::/64 \\
    --block 2001:db8:42::/48 --host-address 2001:db8:5a5a:1:2000::1
python3 -c 'import sys; sys.path.insert(0, "/usr/lib/ilax"); import ilax.gone'
ls /usr/lib/ilax/ilax/gone/__pycache__ >/dev/null
echo ---
ilax --json status
dpkg-query -W -f '${Version}\\n' ilax
echo ---
dpkg --install /newer.deb 2>&1 >/dev/null
echo ---
dpkg-query -W -f '${Version}\\n' ilax
ls /usr/lib/ilax/ilax/gone 2>&1 || true
echo ---
ilax --json status
echo ---
ilax --json upgrade --soak 0 2>/dev/null
ilax check --fail-on error >&2
dpkg --remove ilax >/dev/null
ls /sys/fs/bpf/ilax/default
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return deb.build(tmp_path_factory.mktemp("deb"))


def test_it_is_installed_works_and_goes_without_a_trace(package: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        ["unshare", "--mount", "--net", "--propagation", "private",
         "sh", "-euc", _INSIDE, "sh", str(tmp_path), str(package), _STORY],
        cwd="/", capture_output=True, text=True, check=False, timeout=120,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    version, selftest, usage, verified, licences, extras, alone, rest = re.split(
        "^---\n", done.stdout, flags=re.MULTILINE
    )
    assert version.startswith("ilax ")
    rows = json.loads(selftest)
    assert len(rows) > 30
    assert not [row for row in rows if row["problem"]]
    assert "Example" in usage
    # Five services and three timers, each with its template; no template is an alias.
    assert verified == "21\n"
    assert all(text.read_text() in licences for text in LICENCES)
    assert len(extras.splitlines()) == 5
    assert extras.endswith("complete -o nosort -F _ilax_completion ilax\n")
    # What it brings along is its own: other programs do not see it.
    assert "ModuleNotFoundError" in alone
    assert rest.count("No such file or directory") == 2


def test_an_upgrade_leaves_the_instance_alone(package: Path, tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    done = subprocess.run(
        ["unshare", "--mount", "--net", "--propagation", "private", "sh", "-euc",
         f'cp "{package}" "$1/../newer.deb"\n' + _INSIDE.replace(
             "exec chroot", 'cp "$1/../newer.deb" "$1/root/newer.deb"\nexec chroot'
         ), "sh", str(inside), str(_older(package, tmp_path)), _UPGRADE],
        cwd="/", capture_output=True, text=True, check=False, timeout=300,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    _, before, told, version, after, rest = re.split("^---\n", done.stdout, flags=re.MULTILINE)
    status, _, old = before.rpartition("}\n")
    assert old == "0.0.1\n"
    # Nothing that is left over, and nothing else that root should look at.
    assert told == ""
    assert version.startswith(ilax.__version__)
    assert "No such file" in version
    assert json.loads(after) == json.loads(status + "}")
    upgraded, _, left = rest.rpartition("}\n")
    assert json.loads(upgraded + "}")["hooks"] == 2
    assert left == "v1\n"


def _older(package: Path, folder: Path) -> Path:
    """The same package under a lower version, with a module that the newer one has not."""
    tree = folder / "older"
    subprocess.run(["dpkg-deb", "--raw-extract", package, tree], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(re.sub(r"^Version: .*$", "Version: 0.0.1", control.read_text(), flags=re.M))
    (tree / "usr/lib/ilax/ilax/gone").mkdir()
    (tree / "usr/lib/ilax/ilax/gone/__init__.py").write_text("")
    older = folder / "older.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, older],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return older


def test_each_command_has_a_page_that_troff_can_read(tmp_path: Path) -> None:
    names = set()
    for name, text in man_pages.pages():
        names.add(name)
        assert text.startswith(f'.TH "{name.upper()}" 8')
        for section in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS"):
            assert f".SH {section}\n" in text, name
    assert {"ilax", "ilax-up", "ilax-limit-set", "ilax-mapping-import", "ilax-explain"} <= names
    if shutil.which("groff"):
        page = tmp_path / "page.8"
        page.write_text(dict(man_pages.pages())["ilax-limit-set"])
        done = subprocess.run(
            ["groff", "-man", "-Tutf8", "-ww", page], capture_output=True, text=True, check=True
        )
        assert not done.stderr
        assert "--rate" in done.stdout
        assert "\n         ilax limit set system.slice/web1 --rate" in done.stdout
