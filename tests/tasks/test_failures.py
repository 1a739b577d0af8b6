"""The reasons of failures, as people and programs get them."""

from __future__ import annotations

import pytest

from tasks.failures import RETRYABLE, FailureReason, explain


@pytest.mark.parametrize("reason", FailureReason)
def test_explains_every_reason_in_one_sentence(reason: FailureReason) -> None:
    sentence = explain(reason)

    assert sentence[0].isupper()
    assert sentence.endswith(".")
    assert ". " not in sentence


@pytest.mark.parametrize("reason", FailureReason)
def test_names_every_reason_by_its_lower_case_word(reason: FailureReason) -> None:
    assert reason.value == reason.name.lower()


def test_tries_again_only_what_may_be_gone_by_itself() -> None:
    assert {reason.value for reason in RETRYABLE} == {
        "provider_unreachable",
        "provider_error",
        "rate_limit",
        "lost",
    }
