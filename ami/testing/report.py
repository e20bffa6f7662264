"""The findings of a check: an error at the first broken promise, or a report of all promises."""

from __future__ import annotations

from dataclasses import dataclass, field

KEPT, UNJUDGED, BROKEN = STATES = ("kept", "unjudged", "broken")
SIGNS = {KEPT: "✓", UNJUDGED: "–", BROKEN: "✗"}


class Broken(AssertionError):
    """A broken promise.

    Attributes:
        promise: the promise.
        how: the evidence.
        fix: the usual fix.
    """

    def __init__(self, name: str, promise: str, how: str, fix: str) -> None:
        super().__init__(f"{name} breaks the promise that {promise}: {how}. Fix: {fix}")
        self.promise, self.how, self.fix = promise, how, fix


@dataclass
class Finding:
    """The state of one promise: kept, broken or unjudged; evidence and fix if it is broken."""

    state: str = KEPT
    how: str = ""
    fix: str = ""


@dataclass
class Report:
    """Every promise of a contract, with its state.

    Attributes:
        name: the examined module.
        contract: the role of the contract.
        findings: by promise, in the order of the checks.
        facts: further facts, by name.
        remarks: the module's own remarks on its ports.
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
        """Record a finding; a broken promise stays broken in later checks."""
        before = self.findings.setdefault(promise, Finding(state, how, fix))
        if STATES.index(state) > STATES.index(before.state):
            self.findings[promise] = Finding(state, how, fix)

    def unjudge(self, error: str) -> None:
        """Mark promises broken by this kind of error as unjudged: its cause is recorded once, elsewhere."""
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
            lines += ["", "  – not checked, because of a broken promise above"]
        return "\n".join(lines)
