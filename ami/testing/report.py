"""Promises, kept or broken: what a check finds, as an error at the first broken one, or as a report of all of them."""

from __future__ import annotations

from dataclasses import dataclass, field

KEPT, UNJUDGED, BROKEN = STATES = ("kept", "unjudged", "broken")
SIGNS = {KEPT: "✓", UNJUDGED: "–", BROKEN: "✗"}


class Broken(AssertionError):
    """A broken promise.

    Attributes:
        promise: what was promised.
        how: what was seen instead.
        fix: what usually mends it.
    """

    def __init__(self, name: str, promise: str, how: str, fix: str) -> None:
        super().__init__(f"{name} breaks the promise that {promise}: {how}. Fix: {fix}")
        self.promise, self.how, self.fix = promise, how, fix


@dataclass
class Finding:
    """What became of one promise: kept, broken or unjudged; how and the fix where it is broken."""

    state: str = KEPT
    how: str = ""
    fix: str = ""


@dataclass
class Report:
    """Every promise of a contract, and what became of it.

    Attributes:
        name: what was examined.
        contract: the role whose contract it is.
        findings: by promise, in the order of the checks.
        facts: what else is known of it, by name.
        remarks: what the module itself says of its ports.
    """

    name: str = ""
    contract: str = "module"
    findings: dict[str, Finding] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    @property
    def is_kept(self) -> bool:
        """Whether every promise is kept."""
        return all(finding.state == KEPT for finding in self.findings.values())

    def note(self, promise: str, state: str, how: str = "", fix: str = "") -> None:
        """Write down one finding; what is broken once stays broken, however often it is checked."""
        before = self.findings.setdefault(promise, Finding(state, how, fix))
        if STATES.index(state) > STATES.index(before.state):
            self.findings[promise] = Finding(state, how, fix)

    def unjudge(self, error: str) -> None:
        """Take back what broke because this kind of error was raised: its cause is noted once, by whoever found it."""
        for promise, finding in self.findings.items():
            if finding.state == BROKEN and finding.how.startswith(f"it raised {error}"):
                self.findings[promise] = Finding(UNJUDGED)

    def __str__(self) -> str:
        kept = sum(finding.state == KEPT for finding in self.findings.values())
        lines = [*(f"{self.name}: {remark}" for remark in self.remarks),
                 f"{self.name} keeps {kept} of the {len(self.findings)} promises of a {self.contract.replace('_', ' ')}", ""]
        width = max(map(len, self.facts), default=0)
        lines += [f"  {name:{width}}  {fact}" for name, fact in self.facts.items()] + [""] * bool(self.facts)
        for promise, finding in self.findings.items():
            lines.append(f"  {SIGNS[finding.state]} {promise}")
            if finding.state == BROKEN:
                lines += [f"      seen  {finding.how}", f"      fix   {finding.fix}"]
        if any(finding.state == UNJUDGED for finding in self.findings.values()):
            lines += ["", "  – could not be judged because of what is broken above"]
        return "\n".join(lines)
