"""Hold what is installed against the database of known vulnerabilities, by pip-audit (make audit-deps).

Exit status 1 for a finding that a newer version mends, unless IGNORED gives the reason why it does not matter here.
Where the database cannot be reached nothing is known, which is said, and is no failure: CI runs without network too.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

# Number of a finding -> why it cannot be met here, and when this was looked at.
IGNORED: Mapping[str, str] = {}
COMMAND = (sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off", "--skip-editable")
UNREACHED = "NOT AUDITED: the database of known vulnerabilities cannot be reached from here. Nothing is known."
SECONDS = 600


def verdict(dependencies: Sequence[Mapping[str, Any]], ignored: Mapping[str, str]) -> tuple[int, list[str]]:
    """Exit status, and what to say of pip-audit's findings.

    >>> verdict([{"name": "torch", "skip_reason": "not found"}], {})[1][0][:11]
    'NOT AUDITED'
    """
    looked_up = [one for one in dependencies if "vulns" in one]
    if not looked_up:  # without network pip-audit takes every package for one that PyPI does not know
        return 0, [UNREACHED]
    lines, status = [], 0
    for one in looked_up:
        for found in one["vulns"]:
            names = {found["id"], *found.get("aliases", ())}
            reason = next((why for number, why in ignored.items() if number in names), None)
            fixed = ", ".join(found["fix_versions"])
            remedy = f"mended in {fixed}" if fixed else "no version mends it yet"
            lines.append(f"{one['name']} {one['version']}: {found['id']}, {remedy}{f'; {reason}' if reason else ''}")
            status |= bool(fixed) and reason is None
    skipped = [one["name"] for one in dependencies if "vulns" not in one]
    if skipped:
        lines.append(f"Not looked up ({len(skipped)}): {', '.join(skipped)}")
    lines.append(f"{len(looked_up)} packages looked up.{' To mend: raise the versions named.' if status else ''}")
    return status, lines


def main() -> int:
    """Run pip-audit over this environment and print the verdict."""
    try:
        done = subprocess.run(COMMAND, capture_output=True, text=True, check=False, timeout=SECONDS)
        dependencies = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError):  # it ends in an error where a connection breaks
        status, lines = 0, [UNREACHED]
    else:
        status, lines = verdict(dependencies, IGNORED)
    print("\n".join(lines))
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
