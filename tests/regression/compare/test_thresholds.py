"""Thresholds from the command line and from a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlbench.errors import InputError
from vlbench.regression.compare.outcomes import Thresholds, check_globs, parse_threshold, thresholds_from


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("5%", 0.05),
        ("0.05", 0.05),
        ("2.5 %", 0.025),
        (".1", 0.1),
        ("100%", 1.0),
        (0.03, 0.03),
        ("1", 1.0),
        ("0.5%", 0.005),
    ],
)
def test_a_share_or_percent(text: object, share: float) -> None:
    assert parse_threshold(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["5", "0", "0%", "-5%", "five", "", "%", "5%%", "nan", "inf", "101%", True, None, [5]])
def test_anything_else_is_refused_with_what_works(text: object) -> None:
    with pytest.raises(ValueError, match=r"5% or 0\.05 works"):
        parse_threshold(text)


def test_a_name_goes_before_a_glob_and_of_globs_the_first() -> None:
    thresholds = Thresholds.model_validate(
        {"default": "4%", "models": {"uniter-*": "10%", "uniter-b*": "20%", "uniter-base": 0.02}}
    )
    assert [thresholds.of(name) for name in ("vilt-b32", "uniter-large", "uniter-base", "uniter-base-table6")] == [
        0.04,
        0.1,
        0.02,
        0.1,
    ]


def test_a_file_and_an_option_that_goes_before_its_default(tmp_path: Path) -> None:
    path = tmp_path / "thresholds.yaml"
    path.write_text("default: 4%\nmodels: {'vilt*': 10%}\n")
    assert (thresholds_from(None, None).default, thresholds_from("2%", None).default) == (0.05, 0.02)
    assert thresholds_from(None, path).of("scan") == 0.04
    assert (thresholds_from("3%", path).of("scan"), thresholds_from("3%", path).of("vilt-b32")) == (0.03, 0.1)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("defualt: 5%", "unknown key 'defualt'; did you mean default?"),
        ("default: 5", "default: a slowdown above 0% and up to 100% is needed (5% or 0.05 works), not 5"),
        ("models: {vilt: fast}", "(5% or 0.05 works), not 'fast'"),
        ("models: [vilt]", "models"),
        ("- 5%", "not thresholds"),
        ("default: [", "not valid YAML"),
    ],
)
def test_a_file_that_is_wrong_is_one_line(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "thresholds.yaml"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        thresholds_from(None, path)
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_absent(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        thresholds_from(None, tmp_path / "nowhere.yaml")


def test_an_option_that_is_wrong() -> None:
    with pytest.raises(InputError, match=r"--threshold 5: .*5% or 0\.05 works"):
        thresholds_from("5", None)


def test_a_glob_must_match_a_compared_model_or_one_of_the_catalogue() -> None:
    allowed = Thresholds(models={"mine-*": 0.1, "uniter-*": 0.1, "vilt-b32": 0.2})
    check_globs(allowed, ["mine-small"], "file.yaml")
    with pytest.raises(InputError) as caught:
        check_globs(allowed, ["other"], "file.yaml")
    assert str(caught.value).startswith("file.yaml: models: 'mine-*' matches no model; known: other")
    with pytest.raises(InputError, match="did you mean vilt-b32"):
        check_globs(Thresholds(models={"vlit-b32": 0.1}), ["vilt-b32"], "file.yaml")
