"""action.yml: its inputs, and each of its scripts as a runner would run it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.ci.conftest import Runner
from tests.ci.guide import ACTION, GUIDE, ROOT, STEPS, parse
from tests.regression.live.made_up import Repository


def test_inputs_of_the_action_are_declared_used_and_documented() -> None:
    text = (ROOT / "action.yml").read_text()
    assert set(re.findall(r"inputs\.([\w-]+)", text)) == set(ACTION["inputs"])
    table = re.search(r"^\| input .*?\n\n", GUIDE, re.DOTALL | re.MULTILINE)
    assert table
    first = [row.split("|")[1] for row in table[0].strip().splitlines()]
    assert set(re.findall(r"`([\w-]+)`", " ".join(first))) == set(ACTION["inputs"])
    assert all(one["description"] and "default" in one for one in ACTION["inputs"].values())
    outputs = re.search(r"^Outputs: (.*)\.$", GUIDE, re.MULTILINE)
    assert outputs
    assert re.findall(r"`([\w-]+)`", outputs[1]) == list(ACTION["outputs"])
    ids = {step["id"] for step in STEPS.values() if "id" in step}
    assert set(re.findall(r"steps\.(\w+)\.", text)) <= ids


@pytest.mark.parametrize("name", [name for name, step in STEPS.items() if "run" in step])
def test_scripts_of_the_action_are_bash_and_get_their_values_as_environment(name: str) -> None:
    step = STEPS[name]
    assert step["shell"] == "bash"
    assert "${{" not in step["run"], "what somebody else wrote would be run"
    process = subprocess.run(["bash", "-n"], input=step["run"], capture_output=True, text=True)
    assert process.stderr == ""
    given = {"GITHUB_", "RUNNER_", "GIT_", "PATH"}
    for variable in re.findall(r"\$\{?([A-Z][A-Z_]*)", step["run"]):
        assert variable in step.get("env", {}) or any(map(variable.startswith, given)), variable


MEASURED = {
    "MODELS": "vilt,vit-b32",
    "CALLABLES": "a:b  c:d",
    "BASE": "abc",
    "HEAD": ".",
    "BUDGET": "30",
    "THRESHOLDS": "my thresholds.yaml",
    "OPTIONS": "--threads 1 --image-size 64x64",
}
VLBENCH = """
printf '%s\\n' "$@" > "$RUNNER_TEMP/called"
while [ $# -gt 0 ]; do
  case "$1" in
    --output) printf 'Regression in 1 of 1 measurement\\n\\ntable\\n' > "$2" ;;
    --picture) echo png > "$2"; picture=$2 ;;
    --markdown) markdown=$2 ;;
  esac
  shift
done
printf '<!-- vlbench compare -->\\n\\n**Regression**\\n\\n![Latency](%s)\\n\\n- end\\n' "$picture" > "$markdown"
exit "$CODE"
"""


@pytest.mark.parametrize("code", ["0", "1", "3"])
def test_the_action_measures(runner: Runner, code: str) -> None:
    runner.program("vlbench", VLBENCH)
    process = runner.run("Measure", CODE=code, **MEASURED)
    assert process.returncode == 0, process.stderr
    called = parse((runner.folder / "temp" / "called").read_text().splitlines())
    assert (called["models"], called["callables"]) == ("vilt,vit-b32", ["a:b", "c:d"])
    assert (called["base"], called["head"], called["budget"], called["threads"]) == ("abc", ".", 30, 1)
    assert called["thresholds"] == Path("my thresholds.yaml")
    output = dict(line.split("=", 1) for line in runner.output.read_text().splitlines())
    assert output == {
        "exit-code": code,
        "headline": "Regression in 1 of 1 measurement",
        "folder": str(runner.folder / "temp" / "vlbench"),
    }
    comment = (runner.folder / "temp" / "vlbench" / "comment.md").read_text()
    assert comment.startswith("<!-- vlbench compare vlbench -->\n")
    assert "![Latency](PICTURE)" in comment
    stop, *table, resume = process.stdout.splitlines()
    assert table == ["Regression in 1 of 1 measurement", "", "table"]
    assert re.fullmatch(r"::stop-commands::[0-9a-f]{32}", stop)
    assert resume == f"::{stop.rpartition('::')[2]}::"
    assert "![" not in runner.summary.read_text()
    assert "- end" in runner.summary.read_text()


def test_the_action_fails_where_there_is_no_verdict(runner: Runner) -> None:
    runner.program("vlbench", "exit 1")
    process = runner.run("Measure", **MEASURED)
    assert process.returncode == 2
    assert "::error title=vlbench::no verdict: vlbench ab ended with exit code 1" in process.stdout


@pytest.mark.parametrize(("given", "wanted"), [("", "/the action"), ("vlbench[gpu] torch<3", "vlbench[gpu] torch<3")])
def test_the_action_installs(runner: Runner, given: str, wanted: str) -> None:
    runner.program("python", 'echo "$@" > "$RUNNER_TEMP/called"')
    assert runner.run("Install", INSTALL=given).returncode == 0
    assert (runner.folder / "temp" / "called").read_text() == f"-m pip install --quiet {wanted}\n"


@pytest.mark.parametrize(
    ("code", "advisory", "strict", "level", "status"),
    [
        ("0", "false", "true", "notice", 0),
        ("1", "false", "false", "error", 1),
        ("1", "true", "false", "warning", 0),
        ("3", "false", "false", "warning", 0),
        ("3", "false", "true", "error", 1),
        ("3", "true", "true", "warning", 0),
        ("2", "false", "false", "error", 1),
    ],
)
def test_the_action_ends_as_the_verdict_says(
    runner: Runner, code: str, advisory: str, strict: str, level: str, status: int
) -> None:
    process = runner.run("Verdict", CODE=code, ADVISORY=advisory, STRICT=strict, HEADLINE="a: +9.5% (%0A::error::b)")
    headline = "a: +9.5%25 (%250A::error::b)"
    assert (process.stdout, process.returncode) == (f"::{level} title=vlbench::{headline}\n", status)


def test_the_action_publishes_one_picture_a_pull_request_in_one_commit(runner: Runner) -> None:
    remote = Repository(runner.folder / "remote")
    remote.git("config", "receive.denyCurrentBranch", "ignore")
    remote.write("code.py", "")
    remote.commit("Start")
    shutil.rmtree(runner.work)
    remote.git("clone", "-q", str(remote.folder), str(runner.work))
    picture = runner.folder / "temp" / "changes.png"
    for pull_request, run, content in (("5", "70", "first"), ("6", "71", "other"), ("5", "72", "second")):
        picture.write_text(content)
        process = runner.run(
            "Publish the picture",
            BRANCH="pictures",
            FOLDER=str(picture.parent),
            PR=pull_request,
            GITHUB_RUN_ID=run,
        )
        assert process.returncode == 0, process.stderr
    names = remote.git("ls-tree", "-r", "--name-only", "pictures").splitlines()
    assert names == ["pr-5/vlbench-72-1.png", "pr-6/vlbench-71-1.png"]
    assert remote.git("show", f"pictures:{names[0]}") == "second"
    assert remote.git("rev-list", "--count", "pictures") == "1"
    url = runner.output.read_text().splitlines()[-1]
    assert url == f"url=https://github.com/owner/project/raw/pictures/{names[0]}"
    status = subprocess.run(["git", "status", "--short"], cwd=runner.work, capture_output=True, text=True)
    assert status.stdout == "", "the working tree and its index are left alone"


def test_a_picture_that_cannot_be_pushed_is_a_warning(runner: Runner) -> None:
    Repository(runner.work).commit("Start")
    (runner.folder / "temp" / "changes.png").write_text("x")
    process = runner.run("Publish the picture", BRANCH="pictures", FOLDER=str(runner.folder / "temp"), PR="5")
    assert process.returncode == 0
    assert "::warning title=vlbench::the picture could not be pushed to pictures" in process.stdout


GH = """
printf '%s\\n' "$*" >> "$RUNNER_TEMP/called"
case "$*" in
  *viewer*) echo "$VIEWER" ;;
  *--paginate*) printf '%s\\n%s\\n' "$AUTHOR" "$MARK" > "$RUNNER_TEMP/filter"; echo "$EARLIER" ;;
  *) [ "$EARLIER" != broken ] ;;
esac
"""


@pytest.mark.parametrize(
    ("earlier", "picture", "sent"),
    [
        ("", "https://the/picture.png", "api --silent repos/owner/project/issues/5/comments -F body=@"),
        ("41\n42", "", "api --silent --method PATCH repos/owner/project/issues/comments/42 -F body=@"),
        ("broken", "", "api --silent --method PATCH repos/owner/project/issues/comments/broken -F body=@"),
    ],
)
def test_the_action_keeps_one_comment(runner: Runner, earlier: str, picture: str, sent: str) -> None:
    runner.program("gh", GH)
    comment = runner.folder / "temp" / "comment.md"
    comment.write_text("<!-- vlbench compare vlbench -->\n\n![Latency](PICTURE)\n\n- end\n")
    process = runner.run(
        "Comment",
        ARTIFACT="https://the/artifact",
        EARLIER=earlier,
        FOLDER=str(comment.parent),
        PICTURE=picture,
        PR="5",
        VIEWER="github-actions[bot]",
    )
    assert process.returncode == 0, process.stderr
    viewer, asked, answered = (runner.folder / "temp" / "called").read_text().splitlines()
    assert viewer == "api graphql -f query={viewer {login}} --jq .data.viewer.login"
    assert asked.endswith(
        '--jq .[] | select(.user.login == env.AUTHOR and (.body // "" | startswith(env.MARK))) | .id'
    ), "a user's comment that quotes the mark is another's"
    filtered = (runner.folder / "temp" / "filter").read_text().splitlines()
    assert filtered == ["github-actions[bot]", "<!-- vlbench compare vlbench -->"]
    assert answered == f"{sent}{comment}"
    assert (f"![Latency]({picture})" in comment.read_text()) == bool(picture)
    assert "PICTURE" not in comment.read_text()
    assert comment.read_text().endswith("[Every sample, JUnit XML and the picture](https://the/artifact)\n")
    assert ("::warning" in process.stdout) == (earlier == "broken")


def test_the_action_edits_no_comment_where_it_does_not_know_its_name(runner: Runner) -> None:
    runner.program("gh", GH)
    comment = runner.folder / "temp" / "comment.md"
    comment.write_text("<!-- vlbench compare vlbench -->\n")
    process = runner.run(
        "Comment", ARTIFACT="", EARLIER="41", FOLDER=str(comment.parent), PICTURE="", PR="5", VIEWER=""
    )
    assert process.returncode == 0
    assert "::warning title=vlbench::no comment could be made" in process.stdout
    assert len((runner.folder / "temp" / "called").read_text().splitlines()) == 1


@pytest.mark.skipif(not shutil.which("jq"), reason="no jq")
def test_the_action_never_edits_a_comment_of_a_user(runner: Runner) -> None:
    mark = "<!-- vlbench compare vlbench -->"
    comments = [
        (1, "somebody", f"{mark}\n\nas I said"),
        (2, "github-actions[bot]", f"{mark}\n\n**vlbench: No regression**"),
        (3, "github-actions[bot]", f"> {mark}\n"),
        (4, "github-actions[bot]", "<!-- vlbench compare other -->"),
        (5, "github-actions", f"{mark}\n\n"),
        (6, "github-actions[bot]", None),
    ]
    listed = [{"id": number, "user": {"login": login}, "body": body} for number, login, body in comments]
    (runner.folder / "temp" / "comments.json").write_text(json.dumps(listed))
    runner.program("gh", GH.replace('echo "$EARLIER"', 'jq -r "${@: -1}" "$RUNNER_TEMP/comments.json"'))
    comment = runner.folder / "temp" / "comment.md"
    comment.write_text(f"{mark}\n")
    runner.run("Comment", ARTIFACT="", FOLDER=str(comment.parent), PICTURE="", PR="5", VIEWER="github-actions[bot]")
    sent = (runner.folder / "temp" / "called").read_text().splitlines()[-1]
    assert "--method PATCH repos/owner/project/issues/comments/2 " in sent
