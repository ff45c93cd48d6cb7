"""What is too long to be read once: sentences of the docs, and modules; the exit status is 1 where there are some.

``python docs/check_style.py`` looks at README, CONTRIBUTING, all pages below `docs/` but the generated one, and
all modules. One of more than 350 lines says why in its docstring: "It is one file of more than 350 lines: ...".
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).parents[1]
LONGEST = 35
"""Words of a sentence."""
LONGEST_MODULE = 350
"""Lines of a module that gives no reason for more."""
REASON = f"one file of more than {LONGEST_MODULE} lines"
GENERATED = ("reference.md", "CHANGELOG.md")


def sentences(text: str) -> Iterator[str]:
    """Yield the sentences of a Markdown page, without code, tables and headings."""
    text = re.sub(r"```.*?```", "\n\n", text, flags=re.S)
    text = re.sub(r"^(\||#|!\[).*$", "\n", text, flags=re.M)
    text = re.sub(r"`[^`]*`", "Code", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    for paragraph in re.split(r"\n\s*\n|\n\s*[-*\d]+[.)]?\s", text):
        yield from re.split(r"(?<=[.?!])\s+(?=[^a-z])", " ".join(paragraph.split()))


def main() -> int:
    """Print the sentences that are too long, and modules that are so without a reason."""
    pages = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted((PROJECT / "docs").rglob("*.md"))]
    status = 0
    for page in pages:
        if page.name in GENERATED:
            continue
        for sentence in sentences(page.read_text()):
            if (n := len(sentence.split())) > LONGEST:
                print(f"{page.relative_to(PROJECT)}: {n} words: {sentence}")
                status = 1
    folders = (PROJECT / name for name in ("dasanom_assets", "dasanom_tests", "docs"))
    for module in sorted(module for folder in folders for module in folder.rglob("*.py")):
        text = module.read_text()
        reason = " ".join((ast.get_docstring(ast.parse(text)) or "").split())
        if (n := len(text.splitlines())) > LONGEST_MODULE and REASON not in reason:
            print(f"{module.relative_to(PROJECT)}: {n} lines, and its docstring does not say why it is {REASON}")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
