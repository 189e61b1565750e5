"""What a page must be for everybody: open to keyboards, to screen readers, and to a phone."""

from collections.abc import Mapping
from typing import Any, Literal

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.async_api import Locator, Page

MOST_TABS = 80
"""So often at most is Tab pressed on the way to something."""

RUNS: Mapping[Literal["light", "dark"], Mapping[str, object]] = {
    "light": {"resultTypes": ["violations"]},
    "dark": {"resultTypes": ["violations"], "runOnly": ["color-contrast"]},
}
"""Of axe's rules, all; and once more the one that colours decide."""

FOCUS_IS_SEEN = """
(element) => {
  const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(element);
  const { width, height, top, bottom } = element.getBoundingClientRect();
  const marked = (outlineStyle !== "none" && parseFloat(outlineWidth) >= 2) || boxShadow !== "none";
  return marked && width > 1 && height > 1 && bottom > 0 && top < innerHeight;
}
"""
HAS_FOCUS = "(element) => element === document.activeElement"
TOO_WIDE = """
() => document.documentElement.scrollWidth > document.documentElement.clientWidth
  ? [...document.querySelectorAll("body *")]
      .filter((one) => one.getBoundingClientRect().right > document.documentElement.clientWidth)
      .map((one) => `${one.tagName}.${one.className}`)
  : []
"""


async def faults(page: Page) -> list[Any]:
    """Return what sticks out of the screen, and what keeps people out, in light and in dark."""
    found = list(await page.evaluate(TOO_WIDE))
    await page.evaluate(AXE_SCRIPT)
    for scheme, options in RUNS.items():
        await page.emulate_media(color_scheme=scheme)
        results = await page.evaluate("(options) => axe.run(options)", options)
        found += [
            (scheme, fault["id"], [node["html"] for node in fault["nodes"]])
            for fault in results["violations"]
            if fault["impact"] in {"serious", "critical"}
        ]
    return found


async def go(page: Page, target: Locator) -> None:
    """Press Tab until a link or a button has the focus, which is seen all the way; then Enter."""
    await tab_to(page, target)
    await page.keyboard.press("Enter")


async def fill_in(page: Page, field: Locator, text: str) -> None:
    """Press Tab until a field has the focus, and type."""
    await tab_to(page, field)
    await page.keyboard.type(text)


async def tab_to(page: Page, target: Locator) -> None:
    await target.wait_for()
    for _ in range(MOST_TABS):
        if await target.evaluate(HAS_FOCUS):
            return
        await page.keyboard.press("Tab")
        focused = page.locator(":focus")
        assert await focused.evaluate(FOCUS_IS_SEEN), await focused.evaluate("(e) => e.outerHTML")
    pytest.fail(f"Tab does not lead to {target}")
