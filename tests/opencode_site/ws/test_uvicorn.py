"""Under Uvicorn clients get the same: tests of the WebSocket, once more with the other server."""

from __future__ import annotations

import pytest

from tests.support.again import run_again

SAME = (
    *("test_autobahn.py", "test_doors.py", "test_leftovers.py", "test_protocol.py"),
    *(
        f"test_flow.py::test_{name}"
        for name in (
            "tells_and_cuts_a_subscriber_that_does_not_keep_up",
            "closes_with_1009_after_a_frame_that_is_too_large",
            "takes_a_frame_of_just_the_limit",
            "puts_fragments_together_and_bounds_their_sum",
            "hears_whoever_comes_after_one_that_left_while_it_was_not_read",
            "says_in_one_line_that_it_cannot_listen",
        )
    ),
)
IN_TIME = (
    "cuts_a_client_that_reads_none_of_its_replies",
    "tells_and_closes_a_client_that_answers_no_ping",
    "closes_with_1001_after_the_replies_in_flight",
)


def under_uvicorn(*what: str) -> None:
    paths = (f"tests/opencode_site/ws/{each}" for each in what)
    run_again(*paths, timeout=250, OPENCODE_TEST_WEB_SERVER="uvicorn")


@pytest.mark.slow
def test_keeps_to_the_protocol_and_its_bounds() -> None:
    under_uvicorn(*SAME)


@pytest.mark.alone
@pytest.mark.slow
def test_cuts_and_closes_in_time() -> None:
    under_uvicorn(*(f"test_flow.py::test_{name}" for name in IN_TIME))
