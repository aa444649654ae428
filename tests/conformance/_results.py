"""Results: what a run of the suite came to, and whether that is what was to be expected."""

from __future__ import annotations

import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """Names of the tests that were selected, and why each failure is one. `skipped`: by the test itself, not by the selection."""

    passed: frozenset[str]
    failed: Mapping[str, str]
    skipped: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What differs from the list of known failures: those that are not on it, and those on it that passed."""

    new: frozenset[str]
    mended: frozenset[str]


def read(reports: Iterable[str]) -> tuple[Results, str]:
    """What ginkgo's JUnit reports say, and one report in their stead that leaves out the thousands of tests that were not selected."""
    passed, skipped, failed = set[str](), set[str](), dict[str, str]()
    suites = ET.Element("testsuites")
    suite = ET.SubElement(suites, "testsuite", name="Kubernetes conformance")
    for report in reports:
        for case in ET.fromstring(report).iter("testcase"):
            name, status = case.get("name", "").removeprefix("[It] "), case.get("status")
            if status == "passed":
                if not case.get("name", "").startswith("[It] "):
                    continue  # set-up of the suite
                passed.add(name)
            elif status in ("skipped", "pending"):
                reason = case.find("skipped")
                if reason is None or reason.get("message") in ("skipped", "pending"):  # not selected; else: "skipped - why"
                    continue
                skipped.add(name)
            else:
                problem = case.find("failure") if case.find("failure") is not None else case.find("error")
                failed[name] = (problem.get("message") or "") if problem is not None else str(status)
            suite.append(case)
    suite.attrib |= {"tests": str(len(suite)), "failures": str(len(failed)), "skipped": str(len(skipped))}
    return Results(passed=frozenset(passed), failed=failed, skipped=frozenset(skipped)), ET.tostring(suites, encoding="unicode")


def known_failures(text: str) -> frozenset[str]:
    """The names on the list of known failures. Each has its evidence beside it. Raises: KeyError for one without."""
    entries = tomllib.loads(text).get("failure", [])
    return frozenset(entry["name"] for entry in entries if entry["evidence"] and entry["kind"])


def verdict(results: Results, known: frozenset[str]) -> Verdict:
    """Compare a run, which need not be one of all tests, with the list."""
    return Verdict(new=frozenset(results.failed) - known, mended=known & results.passed)


def summary(results: Results, verdict: Verdict) -> str:
    """For people."""
    lines = [f"{len(results.passed)} passed, {len(results.failed)} failed, {len(results.skipped)} skipped"]
    lines += [
        f"FAILED   {name}\n         {(why.splitlines() or [''])[0]}" for name, why in sorted(results.failed.items()) if name in verdict.new
    ]
    lines += [f"known    {name}" for name in sorted(results.failed) if name not in verdict.new]
    lines += [f"passes, and is listed as a known failure: {name}" for name in sorted(verdict.mended)]
    return "\n".join(lines)
