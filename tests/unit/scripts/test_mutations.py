"""The mutation run itself: a test that notices kills, one that does not lets survive."""

from pathlib import Path

import pytest

from scripts import mutations
from scripts.mutation_list import MUTATIONS, Mutation

CODE = "def double(value):\n    return value * 2\n"
TESTS = "from code_under_test import double\n\n\ndef test_it():\n    assert double({}) == {}\n"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    (tmp_path / "code_under_test.py").write_text(CODE)
    (tmp_path / "test_notices.py").write_text(TESTS.format(3, 6))
    (tmp_path / "test_blind.py").write_text(TESTS.format(2, 4))
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    return tmp_path


def breakage(test: str) -> Mutation:
    return Mutation("adds", "I2", "code_under_test.py", "value * 2", "value + 2", (test,))


def test_killed_names_the_test_and_the_code_is_put_back(copy: Path) -> None:
    result = mutations.attempt(copy, breakage("test_notices.py"))
    assert result.killed
    assert result.by.endswith("test_notices.py::test_it")
    assert (copy / "code_under_test.py").read_text() == CODE


def test_a_logged_error_is_no_name_of_a_test(copy: Path) -> None:
    (copy / "test_notices.py").write_text(
        "import logging\n"
        + TESTS.format(3, 6).replace("    assert", "    logging.error('x')\n    assert")
    )
    result = mutations.attempt(copy, breakage("test_notices.py"))
    assert result.killed
    assert result.by == "test_notices.py::test_it"


def test_a_blind_test_lets_it_survive(copy: Path) -> None:
    result = mutations.attempt(copy, breakage("test_blind.py"))
    assert not result.killed
    assert "**survived**" in mutations.page([result])


def test_names_are_unique_and_files_exist() -> None:
    names = [one.name for one in MUTATIONS]
    assert len(set(names)) == len(names) >= 20
    for one in MUTATIONS:
        # The code that it breaks is there, once: else nothing of the list can be run.
        assert (mutations.ROOT / one.file).read_text().count(one.old) == 1, one.name
        assert all((mutations.ROOT / test).exists() for test in one.tests)
        assert one.old != one.new


def test_each_of_the_data_planes_invariants_is_attacked() -> None:
    assert {one.promise for one in MUTATIONS} >= {"I1", "I2", "I3", "I4", "I5", "I10"}
