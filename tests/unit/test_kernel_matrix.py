# SPDX-License-Identifier: Apache-2.0
"""What runs the tests on other kernels tells of all ways in which they end."""

from __future__ import annotations

from pathlib import Path

import pytest

import verifier_cost
from kernels import guest, job, run
from kernels.outcome import Outcome, read

ROOT = Path(__file__).resolve().parents[2]
JOBS = job.read_all()

ENDINGS = """
import pytest

def test_good(record_property):
    record_property("answer", 42)

def test_bad():
    assert 1 == 2

def test_absent():
    pytest.skip("not here")

@pytest.fixture
def broken():
    raise OSError("no lab")

def test_unready(broken):
    pass
"""


def ending(folder: Path, text: str, **how: object) -> list[Outcome]:
    (folder / "test_it.py").write_text(text)
    arguments = ("--rootdir", str(folder), "--import-mode=importlib", str(folder / "test_it.py"))
    items: dict[str, object] = {"minutes": 1, "modules": (), **how}
    guest.run(job.Job("it", "It.", arguments, **items), folder)  # type: ignore[arg-type]
    return read(folder / "outcomes.jsonl")


@pytest.mark.parametrize("each", JOBS, ids=lambda each: each.name)
def test_jobs_name_what_is_there(each: job.Job) -> None:
    assert each.proves.endswith(".")
    assert {*each.kernels, *each.ci} <= {*run.KERNELS}
    # Nobody boots the running kernel anew.
    assert not (each.systemd and run.RUNNING in (each.kernels or run.KERNELS))
    paths = [ROOT / word for word in each.pytest if word.endswith(".py")]
    assert paths
    assert [path for path in paths if not path.exists()] == []


def test_some_jobs_run_for_every_change() -> None:
    for kernel in ("6.1", "6.12"):
        assert [each.name for each in JOBS if not run.choose(kernel, each, None, True)]


def test_a_mistake_in_a_job_is_told(tmp_path: Path) -> None:
    path = tmp_path / "odd.toml"
    path.write_text('proves = "A."\npytest = ["a"]\nminutes = 1\nmodule = ["ila"]\n')
    with pytest.raises(ValueError, match=r"odd.toml: no job has module"):
        job.read(path)
    path.write_text('proves = "A."\nminutes = 1\n')
    with pytest.raises(ValueError, match="pytest missing"):
        job.read(path)


def test_each_test_has_its_outcome(tmp_path: Path) -> None:
    outcomes = {each.test.rpartition("::")[2]: each for each in ending(tmp_path, ENDINGS)}
    assert {name: each.outcome for name, each in outcomes.items()} == {
        "test_good": "passed",
        "test_bad": "failed",
        "test_absent": "skipped",
        "test_unready": "failed",
    }
    assert outcomes["test_good"].figures == {"answer": 42}
    assert outcomes["test_absent"].reason == "not here"
    assert "assert 1 == 2" in outcomes["test_bad"].reason
    assert "no lab" in outcomes["test_unready"].reason


def test_a_kernel_without_the_module_skips_the_job(tmp_path: Path) -> None:
    (only,) = ending(tmp_path, ENDINGS, modules=("ilax_no_such_module",))
    assert (only.outcome, only.test) == ("skipped", "it")
    assert "ilax_no_such_module" in only.reason


@pytest.mark.parametrize(
    ("text", "how", "reason"),
    [
        ("", {}, "no test ran"),
        ("import no_such_thing", {}, "pytest ended with 2"),
        ("import time\ndef test(): time.sleep(99)", {"minutes": 0.03}, "not done after"),
        ("import os\ndef test(): os._exit(9)", {}, "pytest ended with 9"),
    ],
    ids=["no test", "no import", "no end", "a crash"],
)
def test_what_cannot_tell_has_failed(
    tmp_path: Path, text: str, how: dict[str, object], reason: str
) -> None:
    (only,) = ending(tmp_path, text, **how)
    assert only.outcome == "failed"
    assert reason in only.reason


def counts(passed: int, failed: int = 0) -> dict[str, int]:
    return {"passed": passed, "failed": failed, "skipped": 3}


@pytest.mark.parametrize(
    ("found", "only_ci", "bad"),
    [
        ({"6.1": counts(1), "running": counts(2)}, False, False),
        ({"6.1": counts(1), "running": counts(2, 1)}, False, True),
        ({"6.1": counts(0), "running": counts(2)}, False, True),
        ({"6.1": counts(0), "6.12": counts(1), "running": counts(0)}, True, False),
        ({"6.1": counts(0), "6.12": counts(1, 1), "running": counts(0)}, True, True),
        ({"6.1": counts(0), "6.12": counts(0), "running": counts(5)}, True, True),
    ],
)
def test_nothing_shown_is_a_failure(
    found: dict[str, dict[str, int]], only_ci: bool, bad: bool
) -> None:
    assert bool(run.problems(found, only_ci)) is bad


def test_costs_come_from_result_files(tmp_path: Path) -> None:
    cost = (
        '{"kernel": "6.1.2", "object": "o", "program": "p",'
        ' "insns": 5, "states": 4, "stack": 3, "bytes": 2}'
    )
    figures = f'{{"{verifier_cost.FIGURE}": [{cost}]}}'
    (tmp_path / "6.1.json").write_text(
        f'{{"tests": [{{"figures": {figures}}}, {{"figures": {{}}}}]}}'
    )
    (read,) = verifier_cost.read_results(tmp_path)
    assert read == verifier_cost.Cost("6.1.2", "o", "p", 5, 4, 3, 2)
