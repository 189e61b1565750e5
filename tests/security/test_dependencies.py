"""What the audit of the dependencies says, and when it fails."""

import json
from typing import Any

from tests.dependencies import verdict

SOUND = {"name": "anyio", "version": "4.16.0", "vulns": []}
UNKNOWN = {"name": "ours", "skip_reason": "not found"}
VULNERABLE = {
    "name": "old",
    "version": "1.0",
    "vulns": [{"id": "CVE-1", "fix_versions": ["1.1"]}, {"id": "CVE-2", "fix_versions": []}],
}


def said(*dependencies: dict[str, Any]) -> tuple[str, int]:
    return verdict(json.dumps({"dependencies": dependencies, "fixes": []}), "")


def test_a_known_vulnerability_fails_and_is_named() -> None:
    text, code = said(SOUND, VULNERABLE)

    assert code == 1
    assert "old 1.0: CVE-1, fixed in 1.1" in text
    assert "old 1.0: CVE-2, fixed in no version yet" in text


def test_what_was_not_audited_is_not_called_sound() -> None:
    assert said(UNKNOWN) == ("Dependencies NOT audited: the service here knows none of them", 0)
    assert said(SOUND, UNKNOWN)[0].endswith("1 are unknown to the service")
    assert said(SOUND) == ("1 dependencies without known vulnerabilities", 0)


def test_a_service_out_of_reach_is_said_and_fails_nothing() -> None:
    text, code = verdict("", "Traceback\nConnectionError: no route to host\n")

    assert (text.endswith("no route to host"), code) == (True, 0)
