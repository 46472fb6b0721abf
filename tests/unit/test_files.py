# SPDX-License-Identifier: Apache-2.0
"""Files are replaced when they are complete, and nobody can get between."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ilax.cli.mapping import writing

NOBODY = 65534


def _write(file: Path, text: str = "rows\n") -> None:
    with writing(file) as stream:
        stream.write(text)


def test_what_stands_beside_the_file_is_not_touched(tmp_path: Path) -> None:
    """Neither by the name that an unfinished file might have, nor through a link there."""
    file, victim = tmp_path / "m.csv", tmp_path / "victim"
    victim.write_text("precious\n")
    own = tmp_path / "other.csv.part"
    own.write_text("half a download\n")
    planted = tmp_path / "m.csv.part"
    planted.symlink_to(victim)
    _write(file)
    _write(tmp_path / "other.csv")
    assert victim.read_text() == "precious\n"
    assert planted.is_symlink()
    assert own.read_text() == "half a download\n"
    assert file.read_text() == "rows\n"


def test_two_writers_of_one_file_both_write_all_of_it(tmp_path: Path) -> None:
    file = tmp_path / "m.csv"
    with writing(file) as first:
        first.write("first\n" * 1000)
        with writing(file) as second:
            second.write("second\n")
        assert file.read_text() == "second\n"
    assert file.read_text() == "first\n" * 1000
    assert list(tmp_path.iterdir()) == [file]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "m.csv"
    _write(file, "old\n")
    with pytest.raises(OSError, match="full"), writing(file) as stream:
        stream.write("half")
        raise OSError("full")
    assert file.read_text() == "old\n"
    assert list(tmp_path.iterdir()) == [file]


def test_the_umask_decides_who_may_read_it(tmp_path: Path) -> None:
    file = tmp_path / "m.csv"
    before = os.umask(0o027)
    try:
        _write(file)
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_the_locale_has_no_say(tmp_path: Path) -> None:
    """Into a file and into a pipe."""
    script = (
        "import sys; from pathlib import Path; from ilax.cli.mapping import writing\n"
        "for name in sys.argv[1:]:\n"
        "    with writing(Path(name)) as stream: stream.write('\\u00fc\\n')\n"
    )
    plain = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    file, pipe = tmp_path / "m.csv", tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE) as reader:
        command = [sys.executable, "-c", script, str(file), str(pipe)]
        done = subprocess.run(command, env=plain, capture_output=True, text=True, check=False)
        if done.returncode:
            reader.kill()
        assert done.returncode == 0, done.stderr
        assert reader.communicate()[0] == "ü\n".encode()
    assert file.read_bytes() == "ü\n".encode()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link to somebody else")
def test_a_link_that_anybody_may_have_put_there_is_not_followed(tmp_path: Path) -> None:
    """As in /tmp, by a user who waits for root to write there."""
    folder, victim = tmp_path / "shared", tmp_path / "victim"
    folder.mkdir()
    folder.chmod(0o1777)
    victim.write_text("precious\n")
    link = folder / "m.csv"
    link.symlink_to(victim)
    os.chown(link, NOBODY, NOBODY, follow_symlinks=False)
    with pytest.raises(PermissionError, match=f"link of user {NOBODY}"), writing(link):
        pass
    assert victim.read_text() == "precious\n"
    assert list(folder.iterdir()) == [link]
    # One's own is followed: whoever made it chose where it leads.
    os.chown(link, os.geteuid(), -1, follow_symlinks=False)
    _write(link)
    assert link.is_symlink()
    assert victim.read_text() == "rows\n"
