"""Secrets of known shape, made unreadable in what is stored or sent (pure).

What an agent prints comes at thousands of lines a second, so that the regular expressions are kept from
almost all of it: each is only tried on text that holds one of its hints, which the C library finds. What
looks ahead is bounded, since a line is foreign text and could else be made to cost seconds.
"""

from __future__ import annotations

import re
from typing import Final

MASK: Final = "[masked]"

_TOKENS: Final = (
    ("sk-", r"(?=[A-Za-z_-]{0,60}\d)[A-Za-z0-9_-]{20,}"),  # OpenAI, Anthropic, OpenRouter …
    *((f"gh{kind}_", r"[A-Za-z0-9]{30,}") for kind in "pousr"),
    ("github_pat_", r"[A-Za-z0-9_]{22,}"),
    ("glpat-", r"[A-Za-z0-9_-]{20,}"),
    *((start, r"[A-Z0-9]{16}(?![A-Za-z0-9])") for start in ("AKIA", "ASIA")),
    *((f"xox{kind}-", r"[A-Za-z0-9-]{10,}") for kind in "abeoprs"),
    ("AIza", r"[A-Za-z0-9_-]{35}"),
    ("hf_", r"[A-Za-z0-9]{30,}"),
    ("npm_", r"[A-Za-z0-9]{36}"),
    ("pypi-", r"[A-Za-z0-9_-]{50,}"),
    ("gsk_", r"[A-Za-z0-9]{40,}"),
    ("xai-", r"[A-Za-z0-9]{40,}"),
    ("oca_", r"[0-9a-f]{12}_[A-Za-z0-9_-]{43}"),  # our own
    ("eyJ", r"[A-Za-z0-9_-]{10,500}\.eyJ[A-Za-z0-9_-]{10,4000}\.[A-Za-z0-9_-]{10,}"),  # a JSON web token
)
"""How keys of the usual providers begin, and what follows."""


def _at_word_start(start: str) -> str:
    """The literal, where a word begins; within JSON text that may be behind an escape like \\n."""
    return rf"{start}(?:(?<![A-Za-z0-9_]{start})|(?<=\\[bfnrt]{start}))"


_VALUE: Final = r"""(?![$<{%\[])[^\s"'\\;&|,]"""
"""A place-holder like $NAME or <key> is no secret."""
_BEGIN, _END = r"-----BEGIN [A-Z ]*PRIVATE KEY-----", r"-----END [A-Z ]*PRIVATE KEY-----"
_FIELDS: Final = (
    r"(?:[Aa][Pp][Ii][_-]?[Kk][Ee][Yy]|[Aa]ccess[_-]?[Kk]ey|[Ss]ecret(?:[_-]?[Kk]ey)?|"
    r"[Aa]uthorization|[Tt]oken|[Pp]assw(?:or)?d)"
)
_RULES: Final = tuple(
    (hints, re.compile(pattern, re.DOTALL))
    for hints, pattern in (
        (
            tuple(start for start, _ in _TOKENS),
            "(" + "|".join(f"{_at_word_start(start)}(?={rest})" for start, rest in _TOKENS) + ")"
            r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*",
        ),
        (
            ("Bearer ", "bearer ", "Basic "),
            r"((?:[Bb]earer|Basic) +)(?=[A-Za-z._~+/-]{0,60}[\d=])[A-Za-z0-9._~+/=-]{16,}",
        ),
        # The environment's way: OPENAI_API_KEY=value.
        (
            ("KEY=", "TOKEN=", "SECRET=", "PASSWORD=", "PASSWD="),
            rf"""((?:KEY|TOKEN|SECRET|PASSWORD|PASSWD)=\\?["']?){_VALUE}{{8,}}""",
        ),
        # JSON, YAML and code: "api_key": "value". Only a quoted value that no word or path would be.
        (
            (
                'ey"',
                "ey'",
                "ey:",
                "ey =",
                "ey=",
                'ey\\"',
                "oken",
                "ecret",
                "assword",
                "asswd",
                "uthorization",
            ),
            rf"""({_FIELDS}\\?["']?\s*[:=]\s*\\?["'])(?=[A-Za-z_.-]{{0,60}}\d)[A-Za-z0-9._~+/=-]{{16,}}(?=\\?["'])""",
        ),
        # A flag of a command line: --api-key value.
        (
            ("key", "token", "secret", "password"),
            rf"(--(?:[a-z0-9]{{1,30}}-){{0,5}}(?:key|token|secret|password)(?:=| +))(?!-){_VALUE}{{8,}}",
        ),
        (("://",), r"""(://[^/\s:@"'\\]*:)(?![$<{%])[^/\s:@"'\\]+(?=@)"""),
        (("PRIVATE KEY-----",), rf"({_BEGIN}).*?(?={_END}|\Z)"),
    )
)


def mask(text: str) -> str:
    """The text without the secrets that can be told by their shape; what stands before one tells its kind."""
    for hints, pattern in _RULES:
        for hint in hints:
            if hint in text:
                text = pattern.sub(rf"\1{MASK}", text)
                break
    return text


class LineMask:
    """Masks the lines of one stream; a private key that is printed over several lines is hidden whole."""

    LONGEST: Final = 200
    """Lines after which what began like a private key is taken to have been none."""

    def __init__(self) -> None:
        self._left = 0

    def line(self, text: str) -> str:
        """The next line of the stream."""
        if self._left:
            end = _END_LINE.search(text)
            self._left = 0 if end else self._left - 1
            return mask(text[end.start() :]) if end else MASK
        masked = mask(text)
        if "PRIVATE KEY-----" in text and text.rfind("-----BEGIN ") > text.rfind("-----END "):
            self._left = self.LONGEST
        return masked


_END_LINE: Final = re.compile(_END)
