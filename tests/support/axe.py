"""axe-core, the accessibility checker, on a page of Playwright's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page


def serious_findings(page: Page, parts: str) -> list[Any]:
    """What axe-core calls serious or critical in the parts of the page that a CSS selector names.

    Skips the test where there is no axe-core. A page with a strict policy needs a context that bypasses it.
    """
    if not os.environ.get("AXE_JS"):
        pytest.skip("there is no axe-core: set AXE_JS to its axe.min.js (.ci/run brings it)")
    page.add_script_tag(content=Path(os.environ["AXE_JS"]).read_text())
    found: list[Any] = page.evaluate(
        """async (parts) => (await axe.run(parts)).violations
            .filter((one) => ["serious", "critical"].includes(one.impact))
            .map((one) => [one.id, one.nodes.map((node) => node.html.slice(0, 150))])""",
        parts,
    )
    return found
