"""Text escaped for each format that vlbench writes, so that no character of a name is taken for markup or a command.

Characters that cannot be seen, but act on a terminal, an editor or a parser, are written as escapes such as `\\x1b`.
JSON and Parquet need none of this: they hold every text exactly.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

# C0 and C1 control characters, separators of lines and paragraphs, marks that reorder text or have no width, the
# language tags, non-characters, and lone surrogates, as the names of files that are not UTF-8 have them.
INVISIBLE = re.compile(
    "[\0-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff"
    "\U000e0000-\U000e007f\ud800-\udfff]"
)
COMMAND_OF_A_RUNNER = re.compile(r"\A(\s*):(?=:)|#(?=#\[)")  # `::error::` at the start, `##[error]` anywhere
ESCAPES = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}
WHITE_SPACE = re.compile(r"[ \t-\r]+")
MARKDOWN = re.compile(r"[\\|*`\[\]~]|(?<![^\W_])_|_(?![^\W_])")
STARTS_A_BLOCK = re.compile(r"^(#{0,5}|\d+)([-+#.)](?=\s|$)|>)|^()([-=](?=[-= ]*$))")  # heading, list, quotation, rule
BREAK = "&#8203;"  # a space of no width
LINKED_BY_GITHUB = re.compile(
    r"@(?=\S)|#(?=\w)|\bGH-(?=\d)"  # a person or a team, also in an address; an issue
    r"|:(?=//)|\bwww(?=\.)"  # a web page
    r"|:(?=(?!\d\d:)[\w+-]+:)"  # an emoji, but not the minutes of a time
    r"|(?<!\w)[0-9a-f]{4}(?=[0-9a-f]{3,36}(?!\w))",  # a commit
    re.IGNORECASE,
)
LATEX = {sign: f"\\{sign}" for sign in "%&_#${}"} | {sign: f"{{{sign}}}" for sign in "[]*"}
LATEX |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "|": r"\textbar{}"}
LATEX |= {"<": r"\textless{}", ">": r"\textgreater{}", "`": r"\textasciigrave{}"}
LATEX['"'] = r"\symbol{34}"  # babel's shorthand of several languages
LIGATURES = re.compile(r"(?<=[-'`,])(?=[-'`,])|(?<=[?!])(?=`)")  # two characters that LaTeX would set as one
FORMULA = re.compile(
    r"[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]"
)  # what starts one in a spreadsheet (OWASP, CSV injection)
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.IGNORECASE)


def visible(text: str) -> str:
    r"""Every invisible character as an escape: `\x1b`, `\u202e`; a byte of a file name that is not UTF-8 as `\xff`."""
    return INVISIBLE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    if match[0] in ESCAPES:
        return ESCAPES[match[0]]
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00  # the byte that `os.fsdecode` kept in this surrogate
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def one_line(text: str) -> str:
    """Visible text whose white space, line breaks included, is single spaces."""
    return visible(WHITE_SPACE.sub(" ", text).strip(" "))


def escape_terminal(text: str) -> str:
    r"""Text that neither moves a cursor nor commands the runner of a CI service: `\x1b[31m`, `\x3a:error::`."""
    return COMMAND_OF_A_RUNNER.sub(lambda match: f"{match[1] or ''}\\x{ord(match[0][-1]):x}", visible(text))


def escape_markdown(text: str) -> str:
    """One line in which no character is markup to Markdown or HTML, and GitHub finds nobody to notify and nothing to
    link. An underscore within a word is no markup."""
    line = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace("-->", "--&gt;")
    line = STARTS_A_BLOCK.sub(r"\1\3\\\2\4", MARKDOWN.sub(r"\\\g<0>", line)).replace("$", r"<span>\$</span>")
    return LINKED_BY_GITHUB.sub(rf"\g<0>{BREAK}", line)


def escape_html(text: str) -> str:
    """The same for a line of HTML within Markdown, in which a backslash escapes nothing."""
    line = html.escape(one_line(text), quote=False).replace("$", "<span>$</span>")
    return MARKDOWN.sub(lambda match: f"&#{ord(match[0])};", LINKED_BY_GITHUB.sub(rf"\g<0>{BREAK}", line))


def escape_latex(text: str) -> str:
    """One line in which no character is markup to LaTeX, also at the start of a table's row."""
    line = LIGATURES.sub("\0", one_line(text))
    return "".join("{}" if sign == "\0" else LATEX.get(sign, sign) for sign in line)


def escape_csv(text: str) -> str:
    """Text that no spreadsheet takes for a formula: an apostrophe stands before it. A number stays one."""
    lines = "\n".join(map(visible, text.split("\n")))
    return f"'{lines}" if FORMULA.match(text) and not NUMBER.fullmatch(text) else lines


def escape_xml(text: str) -> str:
    """Text without the characters that XML 1.0 forbids; the writer of XML escapes its markup."""
    return "\n".join(map(visible, text.split("\n")))


def file_stem(text: str) -> str:
    """A name of a file, without its ending, in which nothing leads into another folder: letters, digits and `_.-`."""
    return re.sub(r"[^\w.-]+", "_", text)[:100]


def bullets(lines: Iterable[str]) -> str:
    """A list in Markdown."""
    return "\n".join(f"- {escape_markdown(line)}" for line in lines)


def details(title: str, content: str) -> str:
    """Markdown that GitHub folds below its title."""
    return f"<details><summary>{escape_html(title)}</summary>\n\n{content}\n\n</details>"


def comments(lines: Iterable[str]) -> str:
    """LaTeX comments, one per line."""
    return "\n".join(f"% {one_line(line)}" for line in lines)
