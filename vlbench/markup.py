"""Text escaped for Markdown and LaTeX, so that no sign in a name means anything there; and shares (`5%`, `0.05`)."""

from __future__ import annotations

import re
from collections.abc import Iterable

MARKS_A_BLOCK = re.compile(r"^(#{0,5}|\d+)([-+#.)](?=\s)|>)")  # a heading, a list, a quotation
OF_LATEX = {sign: f"\\{sign}" for sign in "%&_#${}"} | {sign: f"{{{sign}}}" for sign in "[]*"}
OF_LATEX |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "|": r"\textbar{}"}
OF_LATEX |= {"<": r"\textless{}", ">": r"\textgreater{}", "`": r"\textasciigrave{}"}
LIGATURES = re.compile(r"(?<=[-'`,])(?=[-'`,])|(?<=[?!])(?=`)")  # two signs that LaTeX would set as one


def escape_markdown(text: str) -> str:
    """One line, in which no sign means anything to Markdown or HTML."""
    line = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return MARKS_A_BLOCK.sub(r"\1\\\2", "".join(f"\\{sign}" if sign in "\\|*_`[]~" else sign for sign in line))


def escape_latex(text: str) -> str:
    """One line, in which no sign means anything to LaTeX, also at the start of a table's row."""
    line = LIGATURES.sub("\0", " ".join(text.split()))
    return "".join("{}" if sign == "\0" else OF_LATEX.get(sign, sign) for sign in line)


def bullets(lines: Iterable[str]) -> str:
    """A list in Markdown."""
    return "\n".join(f"- {escape_markdown(line)}" for line in lines)


def details(title: str, content: str) -> str:
    """Markdown that GitHub shows when its title is clicked on. The title is HTML as it stands."""
    return f"<details><summary>{title}</summary>\n\n{content}\n\n</details>"


def comments(lines: Iterable[str]) -> str:
    """Comments of LaTeX, a line each."""
    return "\n".join(f"% {' '.join(line.split())}" for line in lines)


def share_of(text: object) -> float | None:
    """0.05 of `5%` and of `0.05`; None of what is no such number."""
    match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*(%?)\s*", str(text))
    return float(match[1]) / (100 if match[2] else 1) if match else None
