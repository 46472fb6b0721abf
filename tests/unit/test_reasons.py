# SPDX-License-Identifier: Apache-2.0
"""Every reason has its words, and they are the same everywhere."""

from __future__ import annotations

from pathlib import Path

from ilax.contract import reasons
from ilax.watching.counters import reason_names

DOCS = Path(__file__).resolve().parents[2] / "docs" / "troubleshooting.md"


def test_every_reason_of_the_contract_has_its_words() -> None:
    assert list(reasons.MEANINGS) == list(reason_names().values())


def test_the_documentation_says_the_same() -> None:
    assert reasons.markdown() in DOCS.read_text()


def test_sentences_are_sentences() -> None:
    for one in reasons.MEANINGS.values():
        for sentence in one.sentences:
            assert sentence[0].upper() == sentence[0]
            assert sentence.endswith(".")
        assert len(one.sentences) == (1 if one.remedy == reasons.NOTHING else 2)


def test_a_third_party_s_number_has_words_too() -> None:
    assert reasons.meaning("drop_user_3") == reasons.MEANINGS["drop_user"]
