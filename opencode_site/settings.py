"""Every setting of the project, each read from the environment (or `.env`) and described where it is read."""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path
from urllib.parse import quote, urlsplit

from celery.schedules import schedule
from django.core.exceptions import ImproperlyConfigured

from opencode_site.admin_look import UNFOLD as UNFOLD
from opencode_site.environment import Environment

BASE_DIR = Path(__file__).resolve().parent.parent
ENV_FILE = Path(os.environ.get("OPENCODE_ENV_FILE", BASE_DIR / ".env"))
ENVIRONMENT = read = Environment(ENV_FILE)

# --- Where things are -------------------------------------------------------------------------------------

DATA_DIR = read.path(
    "OPENCODE_DATA_DIR",
    default=BASE_DIR / "var",
    about="Directory of the database, the runs' spool files, logs and sockets; made with mode 0700.",
)
RUNS_DIR = DATA_DIR / "runs"
LOGS_DIR = DATA_DIR / "logs"


def _private_directory(path: Path) -> Path:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ImproperlyConfigured(
            f"OPENCODE_DATA_DIR is {str(DATA_DIR)!r}: cannot make {path}: {error.strerror}"
        ) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise ImproperlyConfigured(
            f"OPENCODE_DATA_DIR is {str(DATA_DIR)!r}: {path} is not writable by this user"
        )
    return path


def _own_secret_key() -> str:
    """The installation's own key, made on the first start and kept in the data directory (mode 0600)."""
    path = DATA_DIR / "secret_key"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        key = path.read_text(encoding="ascii").strip()
        if len(key) < 50:
            raise ImproperlyConfigured(f"{path} is damaged: delete it and a new key is made") from None
        return key
    except OSError as error:
        raise ImproperlyConfigured(f"cannot write {path}: {error.strerror}") from error
    key = secrets.token_urlsafe(64)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(key + "\n")
    return key


_private_directory(DATA_DIR)


def _private_file(path: Path) -> None:
    """Made before anybody else makes it with the modes of the user's umask; tightened if it is open."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
    except OSError as error:
        raise ImproperlyConfigured(f"cannot make {path} private: {error.strerror}") from error


# --- The server -------------------------------------------------------------------------------------------

HOST = read.text("OPENCODE_HOST", default="127.0.0.1", about="Address that the web server listens on.")
PORT = read.integer(
    "OPENCODE_PORT", default=8080, low=1, high=65535, about="TCP port that the web server listens on."
)
DEBUG = read.switch(
    "DEBUG", default=False, about="Django's debug pages; never on a machine that others reach."
)
SECRET_KEY = (
    read.text("SECRET_KEY", about="Django's signing key; by default one is made in the data directory.")
    or _own_secret_key()
)
ALLOWED_HOSTS = [
    "localhost",
    "127.0.0.1",
    "[::1]",
    *read.names(
        "OPENCODE_ALLOWED_HOSTS", about="More host names that requests may name, beside the loopback ones."
    ),
]
ALLOWED_ORIGINS = read.names(
    "OPENCODE_ALLOWED_ORIGINS",
    about="More browser origins (scheme://host:port, comma-separated) that may open a WebSocket.",
)
MAX_CONNECTIONS = read.integer(
    "OPENCODE_MAX_CONNECTIONS",
    default=100,
    low=0,
    high=1_000_000,
    about="WebSocket connections at once over all web processes (0 = no limit).",
)
MESSAGES_PER_MINUTE = read.integer(
    "OPENCODE_MESSAGES_PER_MINUTE",
    default=100,
    low=0,
    high=10_000_000,
    about="Messages per minute and connection (0 = no limit).",
)
TASKS_PER_MINUTE = read.integer(
    "OPENCODE_TASKS_PER_MINUTE",
    default=10,
    low=0,
    high=10_000_000,
    about="New tasks per minute over the whole server (0 = no limit).",
)
KILLS_PER_MINUTE = read.integer(
    "OPENCODE_KILLS_PER_MINUTE",
    default=5,
    low=0,
    high=10_000_000,
    about="Process kills per minute over the whole server (0 = no limit).",
)

# --- Who may use it ---------------------------------------------------------------------------------------

AUTH = read.switch(
    "OPENCODE_AUTH",
    default=False,
    about="Ask everybody for an API key or a login; needed to listen on an address beyond loopback.",
)
ALLOWED_NETWORKS = read.networks(
    "OPENCODE_ALLOWED_NETWORKS",
    about="Addresses or networks (10.0.0.0/8, comma-separated) that may connect; empty = all.",
)
TRUSTED_PROXIES = read.networks(
    "OPENCODE_TRUSTED_PROXIES",
    about="Addresses or networks of reverse proxies whose X-Forwarded-For and -Proto are believed.",
)
WEB_SERVER = read.choice(
    "OPENCODE_WEB_SERVER",
    default="daphne",
    among=("daphne", "uvicorn"),
    about="What carries HTTP and WebSockets; either keeps the same bounds.",
)
TLS_CERT = read.text("OPENCODE_TLS_CERT", about="Certificate file (PEM, with its chain) for https and wss.")
TLS_KEY = read.text("OPENCODE_TLS_KEY", about="The certificate's private key file (PEM).")
if bool(TLS_CERT) != bool(TLS_KEY):
    raise ImproperlyConfigured("OPENCODE_TLS_CERT and OPENCODE_TLS_KEY belong together: set both or neither")
HTTPS = read.switch(
    "OPENCODE_HTTPS",
    default=bool(TLS_CERT),
    about="Browsers come by https only, by our certificate or a trusted proxy's: secure cookies, HSTS.",
)
FAILED_LOGINS_PER_MINUTE = read.integer(
    "OPENCODE_FAILED_LOGINS_PER_MINUTE",
    default=10,
    low=0,
    high=10_000_000,
    about="Failed logins or API keys per minute and client address (0 = no limit).",
)

# --- Agents -----------------------------------------------------------------------------------------------

HOSTNAME = read.text(
    "OPENCODE_HOSTNAME",
    default=socket.gethostname(),
    about="Name of this agent host; unique among the hosts.",
)
PROJECT_DIR = read.path(
    "OPENCODE_PROJECT_DIR",
    default=DATA_DIR / "project",
    about="Directory that agents work in when a task names none.",
)
if not PROJECT_DIR.exists() and PROJECT_DIR.parent == DATA_DIR:
    _private_directory(PROJECT_DIR)
ALLOWED_ROOTS = [
    Path(root).expanduser().absolute()
    for root in read.names(
        "OPENCODE_ALLOWED_ROOTS",
        default=str(PROJECT_DIR),
        about="Directories that tasks may work in or below (comma-separated).",
    )
]
OPENCODE_BIN = read.text(
    "OPENCODE_BIN", about="The opencode executable; by default it is looked up on the PATH."
)
OPENCODE_MODEL = read.text(
    "OPENCODE_MODEL", about="Model (provider/model) for tasks that name none; by default the agent's own."
)
MAX_CONCURRENT_AGENTS = read.integer(
    "OPENCODE_MAX_CONCURRENT_AGENTS", default=4, low=1, high=1000, about="Agents that this host runs at once."
)
AGENT_ENVIRONMENT = read.names(
    "OPENCODE_AGENT_ENV",
    about="More variables that agents see, beside the usual ones and the providers' keys (`*` = anything).",
)
KILL_GRACE = read.seconds(
    "OPENCODE_KILL_GRACE",
    default=5,
    low=0,
    high=300,
    about="Seconds between asking a process to end and killing it.",
)
SAMPLE_INTERVAL = read.seconds(
    "OPENCODE_SAMPLE_INTERVAL",
    default=5,
    low=1,
    high=3600,
    about="Seconds between two samples of the machine's load.",
)

# --- Database, broker, channel layer ----------------------------------------------------------------------

DATABASES = {
    "default": read.database(
        "DATABASE_URL",
        default=f"sqlite:///{DATA_DIR / 'db.sqlite3'}",
        about="The database: postgres://user:password@host:5432/name, or sqlite:///path (the default).",
    )
}
if "sqlite3" in DATABASES["default"]["ENGINE"]:
    DATABASES["default"]["ENGINE"] = "opencode_site.sqlite"
    # IMMEDIATE: a transaction that reads and then writes cannot fail with "database is locked" half way
    # (measured: 2 081 of 2 400 such transactions failed with DEFERRED and 8 writers, none with IMMEDIATE).
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 30,
        # Nothing that would take a lock: this is a part of opening each connection.
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA foreign_keys=ON;",
    }
    # SQLite gives its journals the mode of the database.
    if DATABASES["default"]["NAME"] == str(DATA_DIR / "db.sqlite3"):
        _private_file(DATA_DIR / "db.sqlite3")
    # Django would test in memory, where threads share one connection's locks and nothing of the above holds.
    DATABASES["default"]["TEST"] = {"NAME": str(DATA_DIR / "test.sqlite3")}
else:
    # A host that swallows packets would hold each request and each command for the two minutes of TCP.
    DATABASES["default"].setdefault("OPTIONS", {}).setdefault("connect_timeout", 5)
DATABASES["default"]["CONN_MAX_AGE"] = None
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = read.text(
    "REDIS_URL", about="Redis or Valkey for broker and channel layer; by default `serve` starts its own."
)
EMBEDDED_BROKER = not REDIS_URL
VALKEY_SOCKET = DATA_DIR / "valkey.sock"
if EMBEDDED_BROKER:
    # A Unix socket's path is limited to 107 bytes on Linux, 103 on macOS.
    if len(os.fsencode(VALKEY_SOCKET)) > 103:
        raise ImproperlyConfigured(
            f"OPENCODE_DATA_DIR is {str(DATA_DIR)!r}: too long for the broker's socket, 90 bytes at most"
        )
    REDIS_URL = f"unix://{quote(str(VALKEY_SOCKET))}?db=0"
elif urlsplit(REDIS_URL).scheme not in {"redis", "rediss", "unix"}:
    raise ImproperlyConfigured(f"REDIS_URL is {REDIS_URL!r}: expected redis://, rediss:// or unix://")

CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [REDIS_URL], "prefix": "opencode"},
    }
}

HOST_QUEUE = f"host.{HOSTNAME}"
SHARED_QUEUE = "shared"
CELERY_BROKER_URL = (
    f"redis+socket://{quote(str(VALKEY_SOCKET))}?virtual_host=0"
    if EMBEDDED_BROKER
    else REDIS_URL.replace("unix://", "redis+socket://")
)
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
# A message only wakes somebody up: it is never worth waiting for a broker that is away.
# Without `max_retries` a send sleeps through attempts to connect for seconds, inside a client's request.
CELERY_BROKER_TRANSPORT_OPTIONS = {"socket_connect_timeout": 2, "socket_timeout": 10, "max_retries": 0}
CELERY_TASK_PUBLISH_RETRY = False
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = SHARED_QUEUE
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_ENABLE_UTC = True
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
CELERY_BEAT_SCHEDULE = {
    "sweep": {
        "task": "tasks.sweep",
        "schedule": schedule(5.0),
        "options": {"queue": SHARED_QUEUE, "expires": 5.0},
    },
    "observe": {
        "task": "tasks.observe_hosts",
        "schedule": schedule(SAMPLE_INTERVAL),
        "options": {"queue": SHARED_QUEUE, "expires": SAMPLE_INTERVAL},
    },
    "prune": {
        "task": "tasks.prune",
        "schedule": schedule(3600.0),
        "options": {"queue": SHARED_QUEUE, "expires": 3600.0},
    },
    "merge-metrics": {
        "task": "tasks.merge_metrics",
        "schedule": schedule(600.0),
        "options": {"queue": SHARED_QUEUE, "expires": 600.0},
    },
}

# --- Django -----------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "django_celery_beat",
    "processes",
    "monitoring",
    "tasks",
    "opencode_site.access",
    # Last: it ends the loading.
    "opencode_site",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "opencode_site.access.middleware.SecurityHeaders",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "opencode_site.access.middleware.RequireAuthentication",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "opencode_site.urls"
ASGI_APPLICATION = "opencode_site.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LANGUAGE_CODE = "en"
USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "static/"
WHITENOISE_USE_FINDERS = True
WHITENOISE_ALLOW_ALL_ORIGINS = False
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = HTTPS
SECURE_HSTS_SECONDS = 30 * 24 * 3600 if HTTPS else 0
# Whether a host name's other services and subdomains speak https is not ours to promise (W005, W021).
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
LOGIN_URL, LOGIN_REDIRECT_URL, LOGOUT_REDIRECT_URL = "login", "dashboard", "login"
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024

LOG_LEVEL = read.choice(
    "OPENCODE_LOG_LEVEL",
    default="INFO",
    among=("DEBUG", "INFO", "WARNING", "ERROR"),
    about="Least level of the server's own log.",
)
LOG_FORMAT = read.choice(
    "OPENCODE_LOG_FORMAT",
    default="line",
    among=("line", "json"),
    about="Lines of the server's own log: for people, or an object each for programs.",
)
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": "opencode_site.masked_log.MaskedFormatter",
            "format": "{asctime} {levelname} {name}: {message}{about}",
            "style": "{",
            "defaults": {"about": ""},
        },
        "json": {"()": "opencode_site.masked_log.MaskedJsonFormatter"},
    },
    "filters": {"about": {"()": "monitoring.about.AboutFilter"}},
    "handlers": {
        "console": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT, "filters": ["about"]}
    },
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
    "loggers": {
        # django.server and django.request would each print a line per HTTP request.
        "django.channels.server": {"level": "WARNING"},
        "daphne": {"level": "WARNING"},
        "celery.worker.strategy": {"level": "WARNING"},
        "celery.app.trace": {"level": "WARNING"},
        "celery.beat": {"level": "WARNING"},
        "watchfiles": {"level": "WARNING"},
        "django_celery_beat": {"level": "WARNING"},
    },
}
