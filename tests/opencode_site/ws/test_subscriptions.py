"""Which updates pass a connection's subscriptions."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.events import Channel
from monitoring.streams import Wanted
from opencode_site.ws.errors import InvalidValue
from opencode_site.ws.subscriptions import MAX_FILTER_VALUES, MAX_SUBSCRIPTIONS, Subscriptions

TASKS, LOGS = Channel.TASK_STATUS, Channel.LOG_ENTRIES


def test_lets_nothing_pass_before_somebody_asks() -> None:
    assert not Subscriptions().passes(TASKS, {"task_id": "a"})


def test_lets_everything_of_a_channel_pass_without_a_filter() -> None:
    subscriptions = Subscriptions()
    subscriptions.add([TASKS], {})
    assert subscriptions.channels == {TASKS}
    assert subscriptions.passes(TASKS, {"task_id": "a"})
    assert not subscriptions.passes(LOGS, {"level": "info", "agent": "a"})


@pytest.mark.parametrize(
    ("levels", "agents", "level", "agent", "passes"),
    [
        (levels, agents, level, agent, (not levels or level in levels) and (not agents or agent in agents))
        for levels, agents in itertools.product([(), ("error",), ("error", "warn")], [(), ("a",)])
        for level, agent in itertools.product(["error", "warn", "info"], ["a", "b"])
    ],
)
def test_wants_every_filter_of_a_channel_to_match(
    levels: tuple[str, ...], agents: tuple[str, ...], level: str, agent: str, passes: bool
) -> None:
    wanted = {name: frozenset(values) for name, values in (("level", levels), ("agent", agents)) if values}
    subscriptions = Subscriptions()
    subscriptions.add([LOGS], {LOGS: wanted})
    assert subscriptions.passes(LOGS, {"level": level, "agent": agent}) is passes


def test_lets_nothing_pass_an_empty_list() -> None:
    subscriptions = Subscriptions()
    subscriptions.add([TASKS], {TASKS: {"task_id": frozenset()}})
    assert not subscriptions.passes(TASKS, {"task_id": "a"})


def test_ignores_the_filter_of_a_channel_that_was_not_asked_for() -> None:
    subscriptions = Subscriptions()
    subscriptions.add([TASKS], {LOGS: {"level": frozenset(["error"])}})
    assert subscriptions.channels == {TASKS}


def test_leaves_channels_in_one_subscription_or_in_all() -> None:
    subscriptions = Subscriptions()
    first = subscriptions.add([TASKS, LOGS], {})
    second = subscriptions.add([TASKS], {})
    subscriptions.remove([TASKS], first)
    assert subscriptions.passes(TASKS, {})
    subscriptions.remove([TASKS], None)
    assert not subscriptions.passes(TASKS, {})
    assert subscriptions.channels == {LOGS}
    with pytest.raises(InvalidValue) as unknown:
        subscriptions.remove([TASKS], second)  # it had no channel left
    assert unknown.value.details["field"] == "subscription_id"
    assert unknown.value.details["expected"] == [first]


def test_bounds_what_one_connection_can_make_it_keep() -> None:
    subscriptions = Subscriptions()
    many = frozenset(map(str, range(MAX_FILTER_VALUES + 1)))
    with pytest.raises(InvalidValue, match="filter values"):
        subscriptions.add([TASKS], {TASKS: {"task_id": many}})
    for _ in range(MAX_SUBSCRIPTIONS):
        subscriptions.add([TASKS], {})
    with pytest.raises(InvalidValue, match="subscriptions"):
        subscriptions.add([TASKS], {})
    subscriptions.remove([TASKS], None)
    subscriptions.add([TASKS], {})


FILTERS = st.dictionaries(st.just("task_id"), st.frozensets(st.sampled_from("abc"), max_size=2), max_size=1)
STEPS = st.lists(st.tuples(st.booleans(), st.integers(0, 5), FILTERS), max_size=20)


@given(STEPS)
def test_passes_what_any_of_its_subscriptions_wants(steps: list[tuple[bool, int, Wanted]]) -> None:
    subscriptions = Subscriptions()
    model: dict[str, Wanted] = {}
    for adds, index, wanted in steps:
        if adds:
            model[subscriptions.add([TASKS], {TASKS: wanted})] = wanted
        elif model:
            chosen = list(model)[index % len(model)]
            subscriptions.remove([TASKS], chosen)
            del model[chosen]
        for task in "abcd":
            expected = any("task_id" not in wants or task in wants["task_id"] for wants in model.values())
            assert subscriptions.passes(TASKS, {"task_id": task}) is expected
