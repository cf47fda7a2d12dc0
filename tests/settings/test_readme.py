"""The README's table of settings is the one that the code makes."""

from pathlib import Path

import pytest

from worker.settings.__main__ import main
from worker.settings.table import BEGIN, END, markdown, rows, updated

README = Path(__file__).parents[2] / "README.md"
COMMAND = "python -m worker.settings README.md"


def test_the_readme_holds_the_table_of_settings_made_from_the_code() -> None:
    text = README.read_text(encoding="utf-8")
    assert BEGIN in text, f"README.md needs the lines {BEGIN} and {END}; then run: {COMMAND}"
    assert updated(text) == text, f"README.md's table of settings is out of date; run: {COMMAND}"


def test_the_table_has_a_row_with_every_cell_filled_for_each_setting() -> None:
    table = markdown().splitlines()
    assert len(table) == len(rows()) + 2
    assert all(row.environment and row.type and row.default and row.description for row in rows())
    assert all(line.replace("\\|", "").count("|") == 5 for line in table)
    assert len({row.environment for row in rows()}) == len(rows())


def test_the_command_renews_the_table_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    assert main([str(file)]) == 0
    renewed = file.read_text()
    assert renewed == f"before\n{BEGIN}\n\n{markdown()}\n{END}\nafter\n"
    assert updated(renewed) == renewed


def test_without_a_file_the_command_prints_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert capsys.readouterr().out == markdown()


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{END}{BEGIN}", f"{BEGIN}{END}{BEGIN}{END}"])
def test_a_readme_without_the_markers_is_left_alone(text: str, tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_text(text)
    assert main([str(file)]) == 2
    assert file.read_text() == text
