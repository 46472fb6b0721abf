#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A Debian package of what is tested here: `make deb`.

The Python packages that ilax needs go in with it, below /usr/lib/ilax, in the versions
that requirements/dev.txt pins: those of a stable distribution are older than ilax
needs. Nothing else on the host sees them.
"""

from __future__ import annotations

import gzip
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import ilax
import man_pages
from ilax.cli import cli, completion

ROOT = Path(__file__).resolve().parents[1]
_LIBRARY = Path("usr/lib/ilax")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def main() -> None:
    """Build the package into the folder that is named, and print its path."""
    if len(sys.argv) != 2:
        sys.exit("usage: deb.py FOLDER")
    print(build(Path(sys.argv[1])))


def build(output: Path) -> Path:
    """Build the package.

    Args:
        output: folder for it; made if it is not there.

    Returns:
        Path of the package.
    """
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        sys.exit(f"deb.py: no Debian architecture known for {machine}")
    architecture = _ARCHITECTURES[machine]
    output.mkdir(parents=True, exist_ok=True)
    path = output / f"ilax_{ilax.__version__}_{architecture}.deb"
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        tree.chmod(0o755)
        _libraries(tree / _LIBRARY)
        _command(tree / "usr/sbin/ilax")
        _units(tree / "usr/lib/systemd/system")
        _copy(ROOT / "docs", tree / "usr/share/doc/ilax", "*.md")
        _copy(ROOT / "docs", tree / "usr/share/doc/ilax", "*.svg")
        _copy(ROOT / "docs/perf", tree / "usr/share/doc/ilax/perf", "*.svg")
        _copy(ROOT / "packaging/grafana", tree / "usr/share/ilax", "*.json")
        _copy(ROOT / "packaging/prometheus", tree / "usr/share/ilax", "alerts.yml")
        _copy(ROOT / "packaging/hooks", tree / "usr/share/ilax", "*", mode=0o755)
        _copy(ROOT / "maps_schema", tree / "usr/include/ilax", "*.h")
        _copy(ROOT / "examples", tree / "usr/share/doc/ilax/examples", "*.toml")
        _copy(ROOT / "examples", tree / "usr/share/doc/ilax/examples", "*.csv")
        _completions(tree / "usr/share")
        _licences(tree / "usr/share/doc/ilax/copyright")
        _man_pages(tree / "usr/share/man/man8")
        _control(tree, architecture)
        subprocess.run(
            ["dpkg-deb", "--root-owner-group", "--build", str(tree), str(path)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
    return path


def _libraries(target: Path) -> None:
    """ilax from the source tree, and from this environment what it imports."""
    shutil.copytree(
        ROOT / "loader/ilax", target / "ilax", ignore=shutil.ignore_patterns("__pycache__")
    )
    if not any((target / "ilax/objects").glob("*.bpf.o")):
        sys.exit("deb.py: no compiled objects: run `make objects` first")
    for name in sorted(_needed("ilax") - {"ilax"}):
        distribution = metadata.distribution(name)
        for file in distribution.files or ():
            # Scripts of others, and what only this interpreter can read.
            if ".." in file.parts or "__pycache__" in file.parts:
                continue
            to = target / file
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(distribution.locate_file(file)), to)


def _needed(name: str) -> set[str]:
    """Names of a distribution and of all that it requires here."""
    found: set[str] = set()
    wanted = [name]
    while wanted:
        each = wanted.pop().lower()
        if each in found:
            continue
        found.add(each)
        for requirement in metadata.requires(each) or ():
            # Extras and other platforms come with a marker; what is meant for us is here.
            wanted_name, _, marker = requirement.partition(";")
            match = _NAME.match(wanted_name)
            if match and "extra" not in marker and _installed(match[0]):
                wanted.append(match[0])
    return found


def _installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _command(path: Path) -> None:
    # Isolated: neither the environment nor the folder of whoever calls it decides
    # what root imports.
    path.parent.mkdir(parents=True)
    path.write_text(
        "#!/usr/bin/python3 -I\n"
        "import sys\n"
        f'sys.path.insert(0, "/{_LIBRARY}")\n'
        "from ilax.__main__ import main\n"
        "main()\n"
    )
    path.chmod(0o755)


def _units(target: Path) -> None:
    """A template is a link to the unit that it differs from by what is in its folder.

    systemd would take the link for an alias, so the package has the file twice.
    """
    source = ROOT / "packaging/systemd"
    for kind in ("*.service", "*.timer"):
        _copy(source, target, kind)
    for folder in sorted(source.glob("*.d")):
        _copy(folder, target / folder.name, "*.conf")


def _copy(source: Path, target: Path, pattern: str, mode: int = 0o644) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for file in sorted(source.glob(pattern)):
        shutil.copy(file, target / file.name)
        (target / file.name).chmod(mode)


def _licences(path: Path) -> None:
    """One file with which licence is whose, and the texts: not every host has them."""
    texts = [ROOT / "LICENSE", *sorted((ROOT / "LICENSES").glob("*.txt"))]
    ruler = "\n" + "-" * 72 + "\n\n"
    path.write_text(ruler.join(text.read_text() for text in texts))
    path.chmod(0o644)


def _man_pages(target: Path) -> None:
    target.mkdir(parents=True)
    for name, text in man_pages.pages():
        (target / f"{name}.8.gz").write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def _completions(target: Path) -> None:
    for shell, name in (
        ("bash", "bash-completion/completions/ilax"),
        ("zsh", "zsh/vendor-completions/_ilax"),
        ("fish", "fish/vendor_completions.d/ilax.fish"),
    ):
        (target / name).parent.mkdir(parents=True)
        (target / name).write_text(completion.script(cli, shell))


def _control(tree: Path, architecture: str) -> None:
    size = sum(file.stat().st_size for file in tree.rglob("*") if file.is_file()) // 1024
    text = (ROOT / "packaging/debian/control").read_text()
    low, high = sys.version_info[:2], (sys.version_info[0], sys.version_info[1] + 1)
    fields = {
        "version": ilax.__version__,
        "architecture": architecture,
        "size": str(size),
        "python": f"python3 (>= {low[0]}.{low[1]}), python3 (<< {high[0]}.{high[1]})",
    }
    text = "".join(line for line in text.splitlines(True) if not line.startswith("#"))
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN/control").write_text(text.format(**fields))
    for script in ("postinst", "prerm"):
        shutil.copy(ROOT / f"packaging/debian/{script}", tree / "DEBIAN" / script)
        (tree / "DEBIAN" / script).chmod(0o755)


if __name__ == "__main__":
    main()
