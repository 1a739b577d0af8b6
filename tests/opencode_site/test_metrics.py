"""`/metrics`: what Prometheus reads is what happened, whatever is deleted, retried or rolled back."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from monitoring import requests
from opencode_site.access.scopes import Scope
from opencode_site.access.services import create_key
from tasks import services
from tasks.agents.base import Exit, Verdict
from tasks.errors import LostRace
from tasks.failures import FailureReason
from tasks.models import Host, Run, Task, Transition
from tests.support.stack import Stack

Submit = Callable[..., Task]
DASHBOARD = Path(__file__).parents[2] / "deploy" / "grafana" / "opencode-agents.json"
SLOTS = 10


def parsed(text: str) -> dict[tuple[str, ...], float]:
    """Name and label values, sorted by the labels' names, to the value."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def read(db: None) -> Callable[[], dict[tuple[str, ...], float]]:
    def get() -> dict[tuple[str, ...], float]:
        answer = Client().get("/metrics")
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        return parsed(answer.content.decode())

    return get


@pytest.fixture
def submit(db: None) -> Submit:
    services.report_host("builder", slots=SLOTS, pid=1, started_at=timezone.now(), agents={})

    def new(task_id: str, *needs: str) -> Task:
        return services.submit(
            services.NewTask(id=task_id, type="testing", description="d", dependencies=needs)
        )

    return new


def claim() -> Run:
    (run,) = services.claim("builder", SLOTS)
    return run


def end(run: Run, reason: FailureReason | None = None) -> None:
    verdict = Verdict(succeeded=reason is None, reason=reason, detail="")
    exit = Exit(code=0, signal=None, stopped_by=None)
    services.finish(run, verdict, exit, peak_memory=None, cpu_seconds=None)


def test_counts_runs_tokens_and_cost_for_good(submit: Submit, read: Any) -> None:
    submit("a")
    run = claim()
    Run.objects.filter(pk=run.pk).update(
        tokens_input=800, tokens_output=50, cost="0.25", started_at=timezone.now() - timedelta(seconds=30)
    )
    end(run)
    with pytest.raises(LostRace):
        end(run)
    submit("b")
    end(claim(), FailureReason.AUTH)
    services.delete("a")
    told = read()
    assert told["opencode_runs_total", "completed", ""] == 1
    assert told["opencode_runs_total", "failed", "auth"] == 1
    assert told["opencode_tokens_total", "input"] == 800
    assert told["opencode_tokens_total", "output"] == 50
    assert told[("opencode_cost_dollars_total",)] == 0.25
    assert told["opencode_run_duration_seconds_bucket", "15"] == 1
    assert told["opencode_run_duration_seconds_bucket", "60"] == 2
    assert told[("opencode_run_duration_seconds_count",)] == 2
    assert told[("opencode_run_duration_seconds_sum",)] == pytest.approx(30, abs=3)


def test_tells_the_queue_and_the_hosts(submit: Submit, read: Any) -> None:
    submit("a")
    submit("b", "a")
    Task.objects.update(created_at=timezone.now() - timedelta(seconds=90))
    told = read()
    assert told["opencode_tasks", "pending"] == 2
    assert told["opencode_tasks", "failed"] == 0
    assert told[("opencode_queue_oldest_seconds",)] == pytest.approx(90, abs=5)
    assert told["opencode_host_up", "builder"] == 1
    assert told["opencode_host_slots", "builder"] == SLOTS
    claim()
    services.pause_host("builder", "its disk is full")
    Host.objects.update(last_seen_at=timezone.now() - timedelta(minutes=5))
    told = read()
    assert told["opencode_tasks", "running"] == 1
    assert told["opencode_agents_running", "builder"] == 1
    # What waits for another task is not in the queue.
    assert told[("opencode_queue_oldest_seconds",)] == 0
    assert told["opencode_host_up", "builder"] == 0
    assert told["opencode_host_paused", "builder"] == 1


def test_a_tasks_wait_begins_when_it_could_start(submit: Submit, read: Any) -> None:
    submit("a")
    submit("b", "a")
    hour_ago = timezone.now() - timedelta(hours=1)
    Transition.objects.update(at=hour_ago)
    end(claim())
    Transition.objects.filter(task="b").update(at=hour_ago)
    claim()
    told = read()
    # One an hour in the queue, the other as long as it took to look.
    assert told["opencode_queue_wait_seconds_bucket", "5"] == 1
    assert told["opencode_queue_wait_seconds_bucket", "86400"] == 2
    assert told[("opencode_queue_wait_seconds_sum",)] == pytest.approx(3600, abs=5)


def test_counts_answers_on_whatever_period_they_fall(read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = requests.Recorder()
    monkeypatch.setattr(requests, "so_far", recorder.so_far)
    recorder.observe("ping", milliseconds=0.8, size=10)
    recorder.observe("ping", milliseconds=40, size=10, error="INVALID_JSON")
    later = time.time() + 60
    monkeypatch.setattr("monitoring.requests.time.time", lambda: later)
    recorder.flush()
    recorder.observe("ping", milliseconds=2_000, size=10)
    told = read()
    assert told["opencode_request_duration_seconds_bucket", "0.001", "ping"] == 1
    assert told["opencode_request_duration_seconds_bucket", "0.05", "ping"] == 2
    assert told["opencode_request_duration_seconds_count", "ping"] == 3
    assert told["opencode_request_duration_seconds_sum", "ping"] == pytest.approx(2.0408)
    assert told["opencode_request_errors_total", "INVALID_JSON", "ping"] == 1


def test_is_told_to_holders_of_a_key_only(db: None, settings: Any) -> None:
    settings.AUTH = True
    assert Client().get("/metrics").status_code == 401
    _, key = create_key(name="prometheus", scope=Scope.READ)
    assert Client().get("/metrics", headers={"authorization": f"Bearer {key}"}).status_code == 200


def test_a_running_server_tells_its_connections_and_answers() -> None:
    with Stack() as stack, stack.connect() as client, stack.connect():
        for _ in range(3):
            client.request({"type": "ping"})
        client.request({"type": "no_such_type"})
        address = f"http://127.0.0.1:{stack.ports[0]}/metrics"
        with urllib.request.urlopen(address, timeout=10) as answer:
            told = parsed(answer.read().decode())
    assert told[("opencode_connections",)] == 2
    assert told["opencode_request_duration_seconds_count", "ping"] == 3
    assert (
        sum(
            v
            for key, v in told.items()
            if key[:2] == ("opencode_request_errors_total", "UNKNOWN_MESSAGE_TYPE")
        )
        == 1
    )


def test_the_dashboard_for_grafana_shows_what_there_is(submit: Submit, read: Any) -> None:
    submit("a")
    end(claim())
    requests.observe("ping", milliseconds=1, size=1, error="INVALID_JSON")
    known = {key[0] for key in read()}
    # Hosts that were sampled have these.
    known |= {f"opencode_host_{name}" for name in ("cpu_percent", "memory_used_bytes", "disk_used_bytes")}
    board = json.loads(DASHBOARD.read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    assert len(asked) >= 10
    for expression in asked:
        names = set(re.findall(r"opencode_\w+", expression))
        assert names, expression
        assert names <= known, names - known
