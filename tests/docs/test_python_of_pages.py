"""Python that a page shows runs as it stands there, its blocks one after the other."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs import workshop
from tests.docs.places import photos, results
from tests.docs.workshop import ROOT, Workshop

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES: dict[str, Callable[[Workshop], None]] = {
    "README.md": photos,
    "docs/report.md": results,
    "docs/own-model.md": lambda shop: None,
}
ELSEWHERE = {
    "docs/ci.md",  # tests for pytest, which tests/ci/test_guide.py runs
    "docs/backends.md",  # a backend, which tests/runner/test_backends.py uses
}
SHORT = {"budget_seconds=20": "budget_seconds=0.1"}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return workshop.set_up(tmp_path_factory.mktemp("workshop"))


def test_every_page_with_python_is_known() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    assert {str(path.relative_to(ROOT)) for path in pages if BLOCK.search(path.read_text())} == {*PAGES, *ELSEWHERE}


@pytest.mark.parametrize("page", PAGES)
def test_python_of_a_page_runs(page: str, shop: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    code = "\n".join(BLOCK.findall(Path(ROOT, page).read_text()))
    for before, after in SHORT.items():
        code = code.replace(before, after)
    shop.empty()
    PAGES[page](shop)
    with shop.set_up_for("small"):
        exec(compile(code, page, "exec"), {})
    assert capsys.readouterr().out.strip()
