"""Secrets are told by their shape, ordinary text is left as it is, and that is fast."""

from __future__ import annotations

import json
import random
import string
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processes.masking import MASK, LineMask, mask

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "opencode"
WORD = "".join(random.Random(1).choices(string.ascii_letters + string.digits, k=90)) + "7"
SECRETS = {
    "openai": f"sk-proj-{WORD[:40]}",
    "anthropic": f"sk-ant-api03-{WORD[:60]}",
    "openrouter": f"sk-or-v1-{'0a' * 32}",
    "github": f"ghp_{WORD[:36]}",
    "github app": f"ghs_{WORD[:36]}",
    "github fine": f"github_pat_{WORD[:60]}",
    "gitlab": f"glpat-{WORD[:20]}",
    "aws": "AKIAIOSFODNN7EXAMPLE",
    "slack": f"xoxb-{'1' * 12}-{WORD[:24]}",
    "google": f"AIza{WORD[:35]}",
    "huggingface": f"hf_{WORD[:34]}",
    "npm": f"npm_{WORD[:36]}",
    "pypi": f"pypi-{WORD[:80]}",
    "groq": f"gsk_{WORD[:52]}",
    "xai": f"xai-{WORD[:80]}",
    "ours": f"oca_{'0a1b2c' * 2}_{WORD[:43]}",
    "jwt": f"eyJ{WORD[:20]}.eyJ{WORD[20:50]}.{WORD[50:80]}",
}
SURROUNDINGS = (
    "{}",
    "the key is {}.",
    "x={}",
    '"{}"',
    "({})",
    "first\n{}\nlast",
    "https://host/?key={}&x=1",
    "`{}`, and more",
)


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
@pytest.mark.parametrize("around", SURROUNDINGS)
def test_masks_keys_of_known_shape_wherever_they_stand(secret: str, around: str) -> None:
    text = around.format(secret)
    for written in (text, json.dumps({"output": text}), json.dumps(json.dumps([text]))):
        masked = mask(written)
        assert secret[-12:] not in masked
        assert MASK in masked
    assert json.loads(mask(json.dumps({"output": text})))["output"] == mask(text)
    head, tail = around.split("{}")
    assert mask(text).startswith(head)
    assert mask(text).endswith(tail)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Authorization: Bearer abcDEF123456_-~+/x==", f"Authorization: Bearer {MASK}"),
        ("authorization: bearer 0123456789abcdef", f"authorization: bearer {MASK}"),
        ("Authorization: Basic dXNlcjpwYXNzd29yZA==", f"Authorization: Basic {MASK}"),
        ("OPENAI_API_KEY=anything-at-all go run", f"OPENAI_API_KEY={MASK} go run"),
        ('export AWS_SECRET_ACCESS_KEY="wJalr/K7MDENG+bPx"', f'export AWS_SECRET_ACCESS_KEY="{MASK}"'),
        ("DB_PASSWORD='correct-horse' ./run", f"DB_PASSWORD='{MASK}' ./run"),
        ("GH_TOKEN=0123456789", f"GH_TOKEN={MASK}"),
        ('{"api_key": "0123456789abcdef0123"}', f'{{"api_key": "{MASK}"}}'),
        ('apiKey: "abcdef0123456789XYZ",', f'apiKey: "{MASK}",'),
        ("secret_key = 'abcdef0123456789XYZ'", f"secret_key = '{MASK}'"),
        ("tool --api-key 0123456789abc --fast", f"tool --api-key {MASK} --fast"),
        ("tool --access-token=abcdefgh12 x", f"tool --access-token={MASK} x"),
        ("mysql --password=hunter2hunter2", f"mysql --password={MASK}"),
        ("postgres://app:s3cr3t!@db:5432/x", f"postgres://app:{MASK}@db:5432/x"),
        ("redis://:s3cr3t@cache/0", f"redis://:{MASK}@cache/0"),
    ],
)
def test_masks_what_is_said_to_be_a_secret(text: str, masked: str) -> None:
    assert mask(text) == masked
    assert json.loads(mask(json.dumps({"x": f"a\n{text}\nb"}))) == {"x": f"a\n{masked}\nb"}


PRIVATE_KEY = "-----BEGIN RSA PRIVATE KEY-----\n" + f"{WORD[:64]}\n" * 20 + "-----END RSA PRIVATE KEY-----"


def test_masks_private_keys() -> None:
    masked = mask(f"before\n{PRIVATE_KEY}\nafter")
    assert masked.startswith("before\n-----BEGIN")
    assert masked.endswith("-----END RSA PRIVATE KEY-----\nafter")
    assert WORD[:20] not in masked
    assert json.loads(mask(json.dumps({"x": PRIVATE_KEY, "y": 1})))["y"] == 1
    assert WORD[:20] not in mask(PRIVATE_KEY[:300])


def test_masks_a_private_key_over_the_lines_of_a_stream() -> None:
    lines = LineMask()
    masked = [lines.line(line) for line in ("before", *PRIVATE_KEY.split("\n"), "after")]
    assert masked[0] == "before"
    assert masked[2:22] == [MASK] * 20
    assert masked[-2:] == ["-----END RSA PRIVATE KEY-----", "after"]


def test_does_not_hide_a_stream_for_ever() -> None:
    lines = LineMask()
    lines.line("grep found: -----BEGIN PRIVATE KEY----- in docs/keys.md")
    rest = [lines.line(f"line {number}") for number in range(LineMask.LONGEST + 1)]
    assert rest[-1] == f"line {LineMask.LONGEST}"


@pytest.mark.parametrize(
    "text",
    [
        "task-with-a-very-long-name-and-number-1234567890 disk-sk- sk-short",
        "class='sk-loading-spinner-container-large-and-wide'",
        "MAX_TOKENS=4096 KEY=$MY_OWN_API_KEY TOKEN=<your token> SECRET={{ vault }} API_KEY=${KEY:-none}",
        'key = settings.OPENAI_API_KEY; token = get_token_from_environment("OPENAI_API_KEY")',
        '{"tokens": {"input": 800, "output": 50}, "sessionID": "ses_4f2a", "key": "src/views/long-file.js"}',
        "def token(secret_key: str, password: str) -> None: ...",
        "the bearer of this letter, Basic instructions follow, bearer authentication-is-required",
        "https://example.com/a:b@c http://localhost:8080/x git@github.com:owner/repo.git mailto:a@b.c",
        "commit 9fceb02d0ae598e95dc970b74767f19372d61af8, npm_config_cache=/x hf_hub eyJ AKIA",
        "use --token to pass it, --key-file ./a/b/c.pem, --password-stdin; --secret $NAME",
        "-----BEGIN CERTIFICATE-----",
        'password: "Choose a password"',
    ],
)
def test_leaves_ordinary_text_alone(text: str) -> None:
    assert mask(text) == text
    assert mask(json.dumps({"text": text})) == json.dumps({"text": text})


def test_leaves_everything_alone_that_a_real_agent_said() -> None:
    for path in FIXTURES.iterdir():
        for line in path.read_text().splitlines():
            assert mask(line) == line


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=300))
def test_masks_twice_as_once_and_keeps_what_has_no_hint(text: str) -> None:
    assert mask(mask(text)) == mask(text)


def test_costs_little_of_what_a_line_costs_anyway() -> None:
    """At 20 000 lines a second each has 50 µs; one that backtracks would cost seconds."""
    ordinary = [
        json.dumps(
            {"type": "text", "timestamp": n, "part": {"text": f"compiled src/module_{n}.py, no errors"}}
        )
        for n in range(2_000)
    ]
    assert seconds_per_line(ordinary) < 20e-6  # measured: 3 µs
    evil = ["sk-" * 30_000, "key=" * 20_000, "://a:" * 20_000, '"token":' * 10_000, "eyJa." * 20_000]
    evil += [
        "-----BEGIN PRIVATE KEY-----" * 4_000,
        "A_KEY=" + "x" * 100_000,
        "--key" * 20_000,
        "Bearer " * 20_000,
    ]
    evil += ["eyJ-" * 25_000, "--a-" * 25_000, "sk-a" * 25_000, "Bearer a" * 12_000]
    for line in evil:
        assert seconds_per_line([line]) < 0.2, line[:20]


def seconds_per_line(lines: list[str]) -> float:
    best = float("inf")
    for _ in range(3):
        began = time.process_time()
        for line in lines:
            mask(line)
        best = min(best, time.process_time() - began)
    return best / len(lines)
