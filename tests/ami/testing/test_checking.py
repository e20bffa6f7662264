"""`ami check`: every option keeps its contract, broken promises have a fix, other than modules are refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ami.cli.listing import SECTIONS, options_of
from ami.cli.main import main
from ami.testing import check_planner, examine
from ami.testing.checking import check
from ami.testing.report import BROKEN, KEPT, UNJUDGED
from modules.planner.cem import CEM

OPTIONS = [f"{group}={name}" for section in ("modules", "worlds") for group in SECTIONS[section]
           for name, _ in options_of(group) if (group, name) != ("world", "data")]  # it only describes a file


NEEDS = {"world_model=simulator": ["agent=oracle"],
         "world_model=vjepa": ["perception=patches", "cost=goal_distance"],
         "actor=action_values": ["world=gym", "perception=vector", "goal=none"],
         "world_model=ac": ["perception=vit", "perception.pool=tokens", "cost=goal_distance"]}
"""Further overrides that an option needs in its graph."""
ELSEWHERE = {"actor=scripted", "actor=scripted_choice", "actor=state_script", "configurator=drives",
             "configurator=meta_controller", "memory=recurrent",
             "perception=hf", "world_model=place", "world_model=recurrent_place"}
"""Options that need the ports of one world, a perception of two streams, or files; their own tests check them."""


class Boastful(CEM):
    """Counts its model steps twice, and plans in Mode-1 too."""

    def step(self, **inputs):
        outputs = super().step(**{**inputs, "mode": inputs["mode"].clamp(min=2)})
        return {**outputs, "model_steps": outputs["model_steps"] * 2}


class Mute(CEM):
    def step(self, **inputs):
        return None


class Clumsy(CEM):
    def step(self, state, goal, mode, weights=None, action_mask=None):
        raise KeyError("plan")


@pytest.mark.parametrize("option", [option for option in OPTIONS if option not in ELSEWHERE])
def test_every_option_keeps_its_contract(option: str) -> None:
    report = check(option, NEEDS.get(option, ()))
    assert report.is_kept, str(report)


def test_every_broken_promise_is_reported_with_a_fix() -> None:
    report = examine(Boastful)
    broken = {promise: finding for promise, finding in report.findings.items() if finding.state == BROKEN}
    assert list(broken) == ["its model_steps are correct", "rows in Mode-1 stay idle"]
    assert "model_steps adds up to 1536" in broken["its model_steps are correct"].how
    assert "mode == 2" in broken["rows in Mode-1 stay idle"].fix
    assert str(report).startswith("Boastful keeps 18 of the 20 promises of a planner\n")
    assert re.search(r"  ✗ its model_steps are correct\n      seen  .+\n      fix   per world", str(report))


def test_single_check_raises_at_the_first_broken_promise() -> None:
    with pytest.raises(AssertionError, match="Boastful breaks the promise that its model_steps are correct"):
        check_planner(Boastful)


@pytest.mark.parametrize(("planner", "promise", "how"), [
    (Mute, "step() returns a dict of its outputs", "it returns a NoneType"),
    (Clumsy, "it runs with inputs from its ports", "it raised KeyError: 'plan'"),
])
def test_promises_after_a_vital_one_are_not_judged(planner: type[CEM], promise: str, how: str) -> None:
    findings = examine(planner).findings
    assert findings[promise].state == BROKEN and findings[promise].how == how
    assert all(finding.state == UNJUDGED for name, finding in findings.items() if name != promise)
    assert len(findings) == 20


def test_a_users_class_is_checked_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                        capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text(
        "from modules.planner.cem import CEM\n\n\nclass Good(CEM):\n    pass\n\n\nclass Bad(CEM):\n"
        "    def step(self, **inputs):\n        return {**super().step(**inputs), 'model_steps': inputs['mode']}\n\n\n"
        "class Needy(CEM):\n    def __init__(self, patience):\n        super().__init__()\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["check", "mine.Good"]) == 2
    assert "'mine.Good': expected a class from modules." in capsys.readouterr().err
    assert main(["check", "mine.Good", "--allow", "mine."]) == 0
    assert capsys.readouterr().out.startswith("mine.Good keeps 20 of the 20 promises of a planner\n\n  ✓ it runs")
    assert main(["check", "--allow", "mine.", "mine.Bad"]) == 1
    assert "✗ its model_steps are correct" in capsys.readouterr().out
    assert main(["check", "mine.Needy", "--allow", "mine."]) == 2
    assert "mine.Needy needs patience, which have no defaults. Fix: `ami check planner=CHOICE " in capsys.readouterr().err


FIX = "Fix: correct it there; AMI_TRACEBACK=1 prints the whole traceback\n"


@pytest.mark.parametrize(("body", "found"), [
    ("__init__(self):\n        raise RuntimeError('no licence')",
     "making it failed: RuntimeError: no licence ({file}, line 6, in __init__). "),
    ("__init__(self):\n        raise SystemExit(3)",
     "making it failed: it called sys.exit(3) ({file}, line 6, in __init__). "),
    ("build(self, dims):\n        raise KeyError('x')", "making it failed: KeyError: 'x' ({file}, line 6, in build). "),
])
def test_class_that_cannot_be_made_is_refused_with_its_line(body: str, found: str, tmp_path: Path,
                                                            monkeypatch: pytest.MonkeyPatch,
                                                            capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / f"unmade{abs(hash(body))}.py"
    file.write_text(f"from modules.planner.cem import CEM\n\n\nclass Bad(CEM):\n    def {body}\n")
    monkeypatch.syspath_prepend(tmp_path)
    for target, name in ((f"{file.stem}.Bad", f"{file.stem}.Bad"),
                         (f"planner._target_={file.stem}.Bad", f"planner={file.stem}.Bad")):
        assert main(["check", target, "--allow", file.stem]) == 2
        assert capsys.readouterr().err == f"ami: {name}: {found.format(file=file)}{FIX}"


def test_file_that_raises_on_import_is_refused_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                             capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "raises_on_import.py").write_text("raise ValueError('no data')\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["check", "raises_on_import.X", "--allow", "raises_on_import."]) == 2
    where = tmp_path / "raises_on_import.py"
    assert capsys.readouterr() == ("", "ami: cannot import raises_on_import: ValueError: no data "
                                       f"({where}, line 1, in <module>). {FIX}")


def test_class_in_the_current_folder_is_refused_with_the_path_to_set(in_folder: Path,
                                                                     capsys: pytest.CaptureFixture[str]) -> None:
    (in_folder / "unseen_file.py").write_text("class X:\n    pass\n")
    assert main(["check", "unseen_file.X"]) == 2
    refused = capsys.readouterr()
    assert refused.out == "" and "Fix, if you trust that code: `--allow unseen_file.`" in refused.err
    assert main(["check", "unseen_file.X", "--allow", "unseen_file."]) == 2
    assert capsys.readouterr().err == ("ami: 'unseen_file.X', but there is no package 'unseen_file'. 'unseen_file.py' is in "
                                       "the current folder, where Python does not look for packages. "
                                       "Fix: PYTHONPATH=. ami …\n")


def test_failing_trial_is_the_only_cause_in_the_report() -> None:
    report = check("tests.support.hostile_envs:hostile/NanObservation-v0", allow=["tests."])
    broken = {promise: finding.how for promise, finding in report.findings.items() if finding.state == BROKEN}
    assert list(broken) == ["an episode of random actions runs to its end"]
    assert "tick 5" in broken["an episode of random actions runs to its end"]
    assert report.findings["a row whose episode is over stays unchanged"].state == UNJUDGED


@pytest.mark.parametrize(("words", "sentence"), [
    ([], "`ami check` lacks TARGET"),
    (["agent=oracle"], "'agent=oracle' is no module"),
    (["plannr=cem"], "unknown group 'plannr': did you mean 'planner'?"),
    (["planner=gem"], "unknown planner 'gem': did you mean 'cem'?"),
    (["world_model=simulator"], "world_model=simulator cannot be made: "),
    (["planner=cem", "planner.horizon=0"], "planner=cem cannot be made: CEM.horizon is 0: expected 1 or more"),
    (["modules.planner.cem.CM"], "ami: 'modules.planner.cem.CM', but modules.planner.cem has no 'CM': did you mean 'CEM'?"),
    (["modules.planner.cem.CEM", "horizon=3"], "'horizon=3' follows a class, which is checked with its defaults"),
    (["modules.cost.critic.Critic"], "modules.cost.critic.Critic is no module: its bases are CriticTerm"),
    (["what"], "'what' names nothing to check: expected a choice such as planner=cem"),
    (["NoSuchWorld-v7"], "NoSuchWorld"),
    (["planner=cem", "--format", "x"], "unknown flag '--format'"),
])
def test_wrong_arguments_are_refused(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", *words]) == 2
    assert sentence in capsys.readouterr().err


def test_a_gymnasium_id_is_a_world() -> None:
    report = check("Pendulum-v1")
    assert report.contract == "world" and {finding.state for finding in report.findings.values()} == {KEPT}


def test_a_world_that_ignores_its_seed_breaks_one_promise_with_a_fix_for_environments() -> None:
    report = check("tests.support.hostile_envs:hostile/Unseeded-v0", allow=["tests."])
    broken = {promise: finding.fix for promise, finding in report.findings.items() if finding.state == BROKEN}
    assert broken == {"the same seed gives the same outputs": "draw from self.np_random, after super().reset(seed=seed)"}
    assert report.findings["a row alone gives what it gives in a batch"].state == UNJUDGED
