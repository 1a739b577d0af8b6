"""Who is let in when authentication is on, against really running web processes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from http.cookies import SimpleCookie
from urllib.parse import urlencode

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from opencode_site.ws.registry import ROUTES
from tests.opencode_site.access.conftest import get, handshake
from tests.support.client import Client, Message
from tests.support.stack import Stack

PAGES = ("/", "/docs/", "/asyncapi.json", "/metrics")
CHANGING = {"start_task", "cancel_task", "retry_task"}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def origin(stack: Stack, number: int = 0) -> str:
    return f"http://127.0.0.1:{stack.ports[number]}"


def sign_in(stack: Stack, name: str, password: str = "battery staple", *, path: str = "/login/") -> str:
    """The session cookie of a login over HTTP; empty if it was refused."""
    page = get(stack, path)
    csrf = SimpleCookie(page.headers["Set-Cookie"])["csrftoken"].value
    form = {"username": name, "password": password, "csrfmiddlewaretoken": csrf}
    answer = get(
        stack,
        path,
        method="POST",
        body=urlencode(form),
        **{
            "Cookie": f"csrftoken={csrf}",
            "Content-Type": "application/x-www-form-urlencoded",
            "Origin": origin(stack),
        },
    )
    cookies = SimpleCookie("; ".join(answer.headers.get_all("Set-Cookie") or []))
    return cookies["sessionid"].value if "sessionid" in cookies else ""


# --- Keys -------------------------------------------------------------------------------------------------


def test_lets_nobody_in_without_credentials(guarded: Stack) -> None:
    assert handshake(guarded) == 401
    for path in PAGES:
        page = get(guarded, path)
        assert (page.status, page.headers["WWW-Authenticate"]) == (401, 'Bearer realm="opencode"')
    led = get(guarded, "/", Accept="text/html")
    assert (led.status, led.headers["Location"]) == (302, "/login/?next=/")
    assert get(guarded, "/login/").status == 200


def test_lets_the_holder_of_a_key_in(guarded: Stack) -> None:
    key = guarded.api_key("read")
    assert handshake(guarded, **bearer(key)) == handshake(guarded, 1, **bearer(key)) == 101
    assert all(get(guarded, path, **bearer(key)).status == 200 for path in PAGES)


def test_refuses_every_other_key(guarded: Stack) -> None:
    key = guarded.api_key("admin")
    other = guarded.api_key("admin")
    end = "A" if key[-1] != "A" else "B"
    forged = [key[:-1] + end, key[:17] + other[17:], key.upper(), key + "x", key[:-1], "x", "oca__", " "]
    headers = [bearer(each) for each in forged]
    headers += [{"Authorization": key}, {"Authorization": f"Basic {key}"}, {"Authorization": f"Token {key}"}]
    for each in headers:
        assert handshake(guarded, **each) == 401, each
        assert get(guarded, "/asyncapi.json", **each).status == 401, each
    assert handshake(guarded, **bearer(key)) == 101


def test_refuses_a_key_from_a_foreign_page(guarded: Stack) -> None:
    key = guarded.api_key("admin")
    for foreign in ("http://evil.test", "null", "http://127.0.0.1:1"):
        assert handshake(guarded, **bearer(key), Origin=foreign) == 403
    assert handshake(guarded, **bearer(key), Origin=origin(guarded)) == 101


def test_keeps_no_key_that_could_be_stolen(guarded: Stack) -> None:
    key = guarded.api_key("read")
    assert handshake(guarded, **bearer(key)) == 101
    secret = key.split("_", 2)[2].encode()
    for path in guarded.directory.rglob("*"):
        assert not path.is_file() or secret not in path.read_bytes(), path
    assert key not in guarded.manage("apikey", "list").stdout
    assert key[4:16] in guarded.manage("apikey", "list").stdout


def test_notes_when_a_key_was_used_and_not_each_time(guarded: Stack) -> None:
    key = guarded.api_key("read")
    query = f"select last_used_at from access_apikey where prefix = '{key[4:16]}'"
    assert guarded.query(query) == [(None,)]
    assert handshake(guarded, **bearer(key)) == 101
    first = guarded.query(query)
    assert first != [(None,)]
    assert handshake(guarded, **bearer(key)) == 101
    assert guarded.query(query) == first


def test_refuses_an_expired_key_and_closes_what_it_had_opened(guarded: Stack) -> None:
    key = guarded.api_key("read", "--days", "1")
    with guarded.connect(key=key) as client:
        guarded.query(
            f"update access_apikey set expires_at = '2020-01-01 00:00:00' where prefix = '{key[4:16]}'"
        )
        told_and_closed(client)
    assert handshake(guarded, **bearer(key)) == 401
    assert "expired" in guarded.manage("apikey", "list").stdout
    assert "is expired" in guarded.log.read_text()


def told_and_closed(client: Client) -> None:
    error = client.wait(lambda m: m["type"] == "error", patience=10)
    assert error["code"] == "PERMISSION_DENIED"
    with pytest.raises(ConnectionClosed) as closed:
        client.wait(lambda m: False, patience=10)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008


def test_revokes_a_key_and_closes_its_connections_in_every_web_process(guarded: Stack) -> None:
    key, other = guarded.api_key("admin"), guarded.api_key("read")
    with (
        guarded.connect(0, key=key) as one,
        guarded.connect(1, key=key) as two,
        guarded.connect(1, key=other) as bystander,
    ):
        assert guarded.manage("apikey", "revoke", key[4:16]).returncode == 0
        told_and_closed(one)
        told_and_closed(two)
        assert bystander.request({"type": "ping"})["type"] == "pong"
    assert handshake(guarded, **bearer(key)) == 401
    assert guarded.query(f"select count(*) from access_apikey where prefix = '{key[4:16]}'") == [(1,)]


def test_says_what_is_wrong_with_a_command(guarded: Stack) -> None:
    for arguments, words in (
        (("revoke", "nobody"), "no API key with the prefix 'nobody'"),
        (("create", " "), "1 to 100 characters"),
        (("create", "x", "--days", "0"), "from 1 to 36500"),
        (("create", "x", "--scope", "god"), "invalid choice: 'god'"),
    ):
        done = guarded.manage("apikey", *arguments)
        assert done.returncode != 0
        assert words in done.stderr


# --- Scopes -----------------------------------------------------------------------------------------------


def ask(client: Client, kind: str) -> Message:
    """Sends a request of the type that is right by its scope at least; returns what is answered."""
    return client.request({"type": kind})


@pytest.mark.parametrize("scope", ["read", "operate", "admin"])
def test_allows_each_scope_just_what_the_table_says(guarded: Stack, scope: str) -> None:
    allowed = {
        "read": set(ROUTES) - CHANGING - {"kill_process"},
        "operate": set(ROUTES) - {"kill_process"},
        "admin": set(ROUTES),
    }[scope]
    with guarded.connect(key=guarded.api_key(scope)) as client:
        for kind in ROUTES:
            answer = ask(client, kind)
            denied = answer.get("code") == "PERMISSION_DENIED"
            assert denied == (kind not in allowed), (kind, answer)
        assert client.request({"type": "ping"})["type"] == "pong"


def test_does_nothing_for_a_request_beyond_the_scope(guarded: Stack) -> None:
    with (
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as bystander,
        guarded.connect(key=guarded.api_key("read")) as client,
    ):
        try:
            refused = client.start("beyond-scope")
            assert refused["code"] == "PERMISSION_DENIED"
            assert (refused["details"]["scope"], refused["details"]["expected"]) == ("read", "operate")
            killed = client.request({"type": "kill_process", "pid": bystander.pid})
            assert killed["code"] == "PERMISSION_DENIED"
            assert guarded.query("select count(*) from tasks_task where id = 'beyond-scope'") == [(0,)]
            assert guarded.query(f"select count(*) from processes_kill where pid = {bystander.pid}") == [(0,)]
            assert bystander.poll() is None
        finally:
            bystander.kill()


def test_writes_down_whose_key_asked_for_a_kill(guarded: Stack) -> None:
    key = guarded.api_key("admin")
    with guarded.connect(key=key) as client:
        refused = client.request({"type": "kill_process", "pid": 1})
    assert refused["code"] == "PERMISSION_DENIED"
    (row,) = guarded.query("select asked_by from processes_kill where pid = 1 order by id desc limit 1")
    assert row == (f"API key test admin ({key[4:16]})",)


# --- Logins -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "scope"), [("looker", "read"), ("worker", "operate"), ("root", "admin")])
def test_lets_a_browser_in_that_has_logged_in(guarded: Stack, name: str, scope: str) -> None:
    cookie = {"Cookie": f"sessionid={sign_in(guarded, name)}"}
    assert get(guarded, "/", **cookie).status == 200
    with guarded.connect(additional_headers={**cookie, "Origin": origin(guarded)}) as client:
        assert ask(client, "list_tasks")["type"] == "task_list"
        assert (ask(client, "start_task").get("code") == "PERMISSION_DENIED") == (scope == "read")
        assert (ask(client, "kill_process").get("code") == "PERMISSION_DENIED") == (scope != "admin")


def test_lets_a_cookie_count_with_an_origin_of_ours_only(guarded: Stack) -> None:
    cookie = {"Cookie": f"sessionid={sign_in(guarded, 'root')}"}
    assert handshake(guarded, **cookie) == 401
    for foreign in ("null", "http://evil.test", f"http://localhost:{guarded.ports[0]}", "file://"):
        assert handshake(guarded, **cookie, Origin=foreign) == 403
    assert handshake(guarded, Cookie="sessionid=guessed", Origin=origin(guarded)) == 401
    assert handshake(guarded, **cookie, Origin=origin(guarded)) == 101


def test_closes_the_connections_of_a_login_that_has_ended(guarded: Stack) -> None:
    session = sign_in(guarded, "worker")
    headers = {"Cookie": f"sessionid={session}", "Origin": origin(guarded)}
    page = get(guarded, "/", Cookie=f"sessionid={session}")
    csrf = SimpleCookie(page.headers["Set-Cookie"])["csrftoken"].value
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)  # type: ignore[attr-defined]
    assert token is not None
    with guarded.connect(additional_headers=headers) as client:
        cookies = {"Cookie": f"sessionid={session}; csrftoken={csrf}", "Origin": origin(guarded)}
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        assert get(guarded, "/logout/", method="POST", body="x=1", **cookies, **form).status == 403
        body = urlencode({"csrfmiddlewaretoken": token[1]})
        assert get(guarded, "/logout/", method="POST", body=body, **cookies, **form).status == 302
        told_and_closed(client)
    assert handshake(guarded, **headers) == 401


def test_closes_the_connections_of_a_user_who_may_less_than_before(guarded: Stack) -> None:
    guarded.python(
        "from django.contrib.auth.models import User\n"
        "User.objects.create_user('fired', password='battery staple', is_staff=True)"
    )
    headers = {"Cookie": f"sessionid={sign_in(guarded, 'fired')}", "Origin": origin(guarded)}
    with guarded.connect(additional_headers=headers) as client:
        guarded.query("update auth_user set is_staff = 0 where username = 'fired'")
        told_and_closed(client)
    with guarded.connect(additional_headers=headers) as client:
        guarded.query("update auth_user set is_active = 0 where username = 'fired'")
        told_and_closed(client)
    assert handshake(guarded, **headers) == 401


# --- Failed attempts --------------------------------------------------------------------------------------


def test_limits_failed_attempts_over_all_web_processes_and_logs_them() -> None:
    with Stack(webs=2, OPENCODE_AUTH="true", OPENCODE_FAILED_LOGINS_PER_MINUTE="2") as stack:
        stack.python(
            "from django.contrib.auth.models import User\n"
            "User.objects.create_superuser('root', password='battery staple')"
        )
        key = stack.api_key("read")
        # Whoever shows nothing, or a login that has ended, guesses nothing: an open page tries for ever.
        nothing = [{}, {"Cookie": "sessionid=ended", "Origin": origin(stack)}]
        assert [handshake(stack, **nothing[n % 2]) for n in range(10)] == [401] * 10
        assert [handshake(stack, n % 2, **bearer("x")) for n in range(4)] == [401, 401, 429, 429]
        page = get(stack, "/docs/", **bearer("x"))
        assert page.status == 429
        assert 1 <= int(page.headers["Retry-After"]) <= 60
        assert handshake(stack, 0, **bearer(key)) == 101  # nobody guesses a key: a right one always gets in
        # Wrong keys keep nobody from logging in; wrong passwords do, with the right one and in the admin.
        assert sign_in(stack, "root")
        assert not sign_in(stack, "root", "wrong")
        assert not sign_in(stack, "root", "wrong", path="/admin/login/")
        assert not sign_in(stack, "root")
        assert not sign_in(stack, "root", path="/admin/login/")
        log = stack.log.read_text()
        assert log.count("refused 127.0.0.1: the API key is unknown") == 2
        assert log.count("refused 127.0.0.1: a login failed") == 2


def test_goes_on_refusing_without_the_broker() -> None:
    with Stack(OPENCODE_AUTH="true", OPENCODE_FAILED_LOGINS_PER_MINUTE="3") as stack:
        key = stack.api_key("read")
        stack.kill_broker()
        assert [handshake(stack, **bearer("x")) for _ in range(4)] == [401, 401, 401, 429]
        with stack.connect(key=key) as client:
            assert client.request({"type": "ping"})["type"] == "pong"
            assert stack.manage("apikey", "revoke", key[4:16]).returncode == 0
            told_and_closed(client)


def test_changes_nothing_as_long_as_it_is_off() -> None:
    with Stack() as stack:
        for headers in ({}, bearer("x"), {"Cookie": "sessionid=x"}):
            assert handshake(stack, **headers) == 101
        assert all(get(stack, path).status == 200 for path in PAGES)
        with connect(stack.url()) as socket:
            assert json.loads(socket.recv(timeout=10))["type"] == "connection_established"


def test_revokes_a_key_in_the_admin(guarded: Stack) -> None:
    key = guarded.api_key("read")
    ((pk,),) = guarded.query(f"select id from access_apikey where prefix = '{key[4:16]}'")
    for name, revoked in (("worker", False), ("root", True)):
        session = sign_in(guarded, name)
        cookies = {"Cookie": f"sessionid={session}; csrftoken={'a' * 32}", "Origin": origin(guarded)}
        form = {"action": "revoke", "_selected_action": pk, "csrfmiddlewaretoken": "a" * 32}
        answer = get(
            guarded,
            "/admin/access/apikey/",
            method="POST",
            body=urlencode(form),
            **{**cookies, "Content-Type": "application/x-www-form-urlencoded"},
        )
        assert answer.status == (302 if revoked else 403)
        assert handshake(guarded, **bearer(key)) == (401 if revoked else 101)
    history = "select change_message from django_admin_log where object_id = "
    assert guarded.query(f"{history}'{pk}'") == [("Revoked.",)]
