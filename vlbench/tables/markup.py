"""Text escaped for Markdown and LaTeX, so that no character of a name is taken for markup."""

from __future__ import annotations

import re
from collections.abc import Iterable

MARKDOWN = re.compile(r"[\\|*`\[\]~]|(?<![^\W_])_|_(?![^\W_])")
STARTS_A_BLOCK = re.compile(r"^(#{0,5}|\d+)([-+#.)](?=\s)|>)")  # a heading, a list, a quotation
LATEX = {sign: f"\\{sign}" for sign in "%&_#${}"} | {sign: f"{{{sign}}}" for sign in "[]*"}
LATEX |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "|": r"\textbar{}"}
LATEX |= {"<": r"\textless{}", ">": r"\textgreater{}", "`": r"\textasciigrave{}"}
LIGATURES = re.compile(r"(?<=[-'`,])(?=[-'`,])|(?<=[?!])(?=`)")  # two characters that LaTeX would set as one


def escape_markdown(text: str) -> str:
    """One line in which no character is markup to Markdown or HTML. An underscore within a word is none."""
    line = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return STARTS_A_BLOCK.sub(r"\1\\\2", MARKDOWN.sub(r"\\\g<0>", line))


def escape_latex(text: str) -> str:
    """One line in which no character is markup to LaTeX, also at the start of a table's row."""
    line = LIGATURES.sub("\0", " ".join(text.split()))
    return "".join("{}" if sign == "\0" else LATEX.get(sign, sign) for sign in line)


def bullets(lines: Iterable[str]) -> str:
    """A list in Markdown."""
    return "\n".join(f"- {escape_markdown(line)}" for line in lines)


def details(title: str, content: str) -> str:
    """Markdown that GitHub folds below its title. The title is inserted as HTML."""
    return f"<details><summary>{title}</summary>\n\n{content}\n\n</details>"


def comments(lines: Iterable[str]) -> str:
    """LaTeX comments, one per line."""
    return "\n".join(f"% {' '.join(line.split())}" for line in lines)
