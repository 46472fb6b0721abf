# SPDX-License-Identifier: Apache-2.0
"""Wheel, sdist, pins of the requirements, and the recipe behind the objects."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

import build_objects
import ilax

ROOT = Path(__file__).resolve().parents[2]
OBJECTS = {build_objects.object_name(Path(source)) for source in build_objects.SHIPPED}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def package(source: Path, output: Path, *targets: str) -> None:
    """Build targets of the source tree with the back end that pip would use."""
    options = [part for target in targets for part in ("-t", target)]
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(output), *options]
    result = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def wheel_files(folder: Path) -> dict[str, bytes]:
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def objects_of(files: dict[str, bytes]) -> dict[str, bytes]:
    return {Path(name).name: data for name, data in files.items() if name.endswith(".bpf.o")}


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("dist")
    package(ROOT, output, "wheel", "sdist")
    return output


@pytest.fixture(scope="module")
def unpacked(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist's tree."""
    (sdist,) = dist.glob("*.tar.gz")
    folder = tmp_path_factory.mktemp("sdist")
    shutil.unpack_archive(sdist, folder)
    (top,) = folder.iterdir()
    return top


def test_wheel_holds_the_package_and_its_objects(dist: Path) -> None:
    files = wheel_files(dist)
    assert set(objects_of(files)) == OBJECTS
    assert "ilax/py.typed" in files
    info = f"ilax-{ilax.__version__}.dist-info"
    outside = [name for name in files if not name.startswith(("ilax/", f"{info}/"))]
    assert not outside
    assert b"ilax = ilax.__main__:main" in files[f"{info}/entry_points.txt"]
    metadata = message_from_string(files[f"{info}/METADATA"].decode())
    assert metadata["Version"] == ilax.__version__
    licences = {Path(name).name for name in metadata.get_all("License-File", [])}
    assert licences >= {"LICENSE", "Apache-2.0.txt", "BSD-2-Clause.txt", "GPL-2.0-only.txt"}


def test_wheel_works_where_it_is_installed(dist: Path, tmp_path: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*command, "--target", str(tmp_path), str(wheel)], check=True)
    program = (
        "import ilax.schema as s; print(s.__file__, len(s.types().by_name), "
        "s.object_path('ingress').is_file())"
    )
    # Its own folder comes first, before that of the editable install.
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    file, types, exists = result.stdout.split()
    assert Path(file).is_relative_to(tmp_path)
    assert int(types) > 10
    assert exists == "True"


def test_sdist_alone_makes_the_same_objects_from_source(
    dist: Path, unpacked: Path, tmp_path: Path
) -> None:
    shutil.rmtree(unpacked / build_objects.SHIPPED_OUTPUT)
    package(unpacked, tmp_path, "wheel")
    assert objects_of(wheel_files(tmp_path)) == objects_of(wheel_files(dist))


def test_sdist_holds_what_third_parties_need(unpacked: Path) -> None:
    for name in ("datapath/hook.h", "maps_schema/ilax_abi.h", "maps_schema/abi.lock", "Makefile"):
        assert (unpacked / name).is_file()


@pytest.mark.parametrize("name", sorted(OBJECTS))
def test_objects_name_no_place_and_carry_btf_only(dist: Path, name: str) -> None:
    data = objects_of(wheel_files(dist))[name]
    assert str(ROOT).encode() not in data
    assert b"/usr/" not in data
    assert b".BTF\0" in data
    assert b".debug_info\0" not in data


def test_requirements_are_pinned_with_hashes_and_name_no_place() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        text = path.read_text()
        assert "://" not in text
        assert "--index-url" not in text
        assert "--find-links" not in text
        pins = re.split(r"\n(?=\S)", re.sub(r"(?m)^\s*#.*\n?", "", text))
        for pin in filter(None, map(str.strip, pins)):
            assert re.match(r"[a-z0-9-]+==\S+", pin), pin
            assert "--hash=sha256:" in pin, pin


def test_requirements_cover_the_package() -> None:
    pinned = set(re.findall(r"(?m)^([a-z0-9-]+)==", (ROOT / "requirements/dev.txt").read_text()))
    wanted = {re.split(r"[<>=~ ]", name)[0] for name in PROJECT["dependencies"]}
    assert wanted <= pinned


def test_a_source_that_does_not_compile_is_reported_and_leaves_nothing(tmp_path: Path) -> None:
    source = tmp_path / "broken.bpf.c"
    source.write_text("int f(void) { return not_declared; }\n")
    with pytest.raises(build_objects.BuildError, match="not_declared"):
        build_objects.build([source], tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_a_missing_compiler_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLANG", "clang-that-is-not-there")
    with pytest.raises(build_objects.BuildError, match="clang-that-is-not-there"):
        build_objects.find_toolchain()


def test_objects_are_compiled_again_when_a_header_changes(tmp_path: Path) -> None:
    header, source = tmp_path / "value.h", tmp_path / "own.bpf.c"
    header.write_text("#define VALUE 1\n")
    source.write_text('#include "value.h"\nint value = VALUE;\n')
    (target,) = build_objects.build([source], tmp_path / "out")
    first = target.read_bytes()
    assert build_objects.is_current(source, target)
    header.write_text("#define VALUE 2\n")
    later = target.stat().st_mtime_ns + 1
    os.utime(header, ns=(later, later))
    assert not build_objects.is_current(source, target)
    build_objects.build([source], tmp_path / "out")
    assert target.read_bytes() != first
