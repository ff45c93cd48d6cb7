"""Sentences of the docs that are too long to be read once; the exit status is 1 where there are some.

``python docs/check_style.py`` looks at README, CONTRIBUTING and all pages below `docs/` but for the generated one.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).parents[1]
LONGEST = 35
"""Words of a sentence."""
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
    """Print the sentences that are too long."""
    pages = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted((PROJECT / "docs").rglob("*.md"))]
    status = 0
    for page in pages:
        if page.name in GENERATED:
            continue
        for sentence in sentences(page.read_text()):
            if (n := len(sentence.split())) > LONGEST:
                print(f"{page.relative_to(PROJECT)}: {n} words: {sentence}")
                status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
