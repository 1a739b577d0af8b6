"""The environment that agents get: an allow list, so that nothing of the server's own can leak into it."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

PASSED = (
    # The user's own surroundings.
    *(
        "HOME",
        "PATH",
        "USER",
        "LOGNAME",
        "SHELL",
        "LANG",
        "LANGUAGE",
        "LC_*",
        "TZ",
        "TERM",
        "COLORTERM",
        "TMPDIR",
    ),
    *("XDG_*", "EDITOR", "SSH_AUTH_SOCK", "GIT_*", "DISPLAY", "WAYLAND_DISPLAY", "DBUS_SESSION_BUS_ADDRESS"),
    # The way to the network.
    *(
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "no_proxy",
    ),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"),
    # Tool chains that agents build and test with.
    *("JAVA_HOME", "GOPATH", "GOROOT", "CARGO_HOME", "RUSTUP_HOME", "NVM_DIR", "PYENV_ROOT", "BUN_INSTALL"),
    # Keys and settings of model providers.
    *(
        "*_API_KEY",
        "*_API_BASE",
        "*_BASE_URL",
        "ANTHROPIC_*",
        "OPENAI_*",
        "AZURE_*",
        "AWS_*",
        "GOOGLE_*",
        "VERTEX_*",
    ),
    *("GEMINI_*", "MISTRAL_*", "GROQ_*", "OLLAMA_*", "GITHUB_TOKEN", "GH_TOKEN", "HF_TOKEN", "CLOUDFLARE_*"),
    # OpenCode's own settings, by name: ours begin with the same word.
    *(
        "OPENCODE_CONFIG",
        "OPENCODE_CONFIG_CONTENT",
        "OPENCODE_CONFIG_DIR",
        "OPENCODE_PERMISSION",
        "OPENCODE_API_KEY",
    ),
    *("OPENCODE_DISABLE_*", "OPENCODE_EXPERIMENTAL*", "OPENCODE_ENABLE_*", "OPENCODE_GIT_BASH_PATH"),
)
"""Names of variables that are passed on, `*` standing for any characters."""

OURS = ("SECRET_KEY", "DATABASE_URL", "REDIS_URL", "OPENCODE_ADMIN_PASSWORD", "DJANGO_*", "CELERY_*")
"""Never passed on, whatever `PASSED` or the operator's own list says."""


def agent_environment(environ: Mapping[str, str], *, extra: tuple[str, ...] = ()) -> dict[str, str]:
    """What of `environ` an agent may see; `extra` are more names that the operator passes on."""
    return {
        name: value for name, value in environ.items() if _any(name, PASSED + extra) and not _any(name, OURS)
    }


def _any(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
