"""Trust: a configuration may only name classes of trusted packages, and ami's own packages may not be shadowed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import worlds.two_rooms_physics
from ami.config.trust import ALLOWED, allow_list, check_imports, check_shadowing, trusted_class
from ami.errors import SettingError, TrustError, UnknownName

LIST = "modules., worlds., ami., torch.nn., torch.optim., gymnasium., minigrid., gymnasium_robotics."
REFUSED = [
    "os.system", "builtins.eval", "subprocess.Popen", "pathlib.Path", "torch.load", "torch.hub.load", "joblib.load",
    "numpy.load", "pickle.loads", "hydra.utils.call", "torchnn.Linear", "amiable.Thing",
]
ALIASES = [
    "torch.nn.modules.module.torch.load", "torch.nn.modules.module.OrderedDict", "ami.config.trust.importlib.import_module",
    "ami.config.trust.os.system", "ami.config.trust.Path", "ami.storage.files.os.remove",
    "ami.tracking.ui.subprocess.Popen", "worlds.gymnasium.make",
    "ami.config.trust.trusted_class", "ami.config.trust", "torch.nn.functional.relu", "ami.envs.world._Rows",
    "ami.graph.spec.ModuleSpec.__init__",
]


@pytest.mark.parametrize("target", REFUSED)
def test_an_untrusted_target_is_refused_without_importing_it(target: str) -> None:
    before = set(sys.modules)
    with pytest.raises(TrustError, match=r"Fix, if you trust that code: `--allow "):
        trusted_class(target, "planner", ALLOWED)
    assert set(sys.modules) == before


@pytest.mark.parametrize("target", ALIASES)
def test_an_alias_or_a_function_behind_a_trusted_name_is_refused(target: str) -> None:
    with pytest.raises(TrustError):
        trusted_class(target, "planner", ALLOWED)


def test_the_error_names_the_target_the_allow_list_and_the_fix() -> None:
    with pytest.raises(TrustError) as refused:
        trusted_class("os.system", "planner", ALLOWED)
    assert str(refused.value) == (
        f"planner._target_ is 'os.system': expected a class from {LIST} "
        "Fix, if you trust that code: `--allow os.`, or allow=['os.'] in Python")


def test_the_error_for_an_alias_gives_its_real_name() -> None:
    with pytest.raises(TrustError, match=r"^planner\._target_ is 'ami\.config\.trust\.Path', which is really 'pathlib\.Path'"
                                         r": expected"):
        trusted_class("ami.config.trust.Path", "planner", ALLOWED)


def test_the_error_for_a_function_names_its_kind() -> None:
    with pytest.raises(TrustError) as refused:
        trusted_class("ami.config.trust.trusted_class", "planner", ALLOWED)
    assert str(refused.value) == ("planner._target_ is 'ami.config.trust.trusted_class', which is a function: "
                                  "expected a class")


def test_classes_of_ami_are_found() -> None:
    assert trusted_class("worlds.two_rooms_physics.Dynamics", "x", ALLOWED) is worlds.two_rooms_physics.Dynamics


@pytest.mark.parametrize(("target", "sentence"), [
    ("modules.planner.cme.CEM", "planner._target_ is 'modules.planner.cme.CEM', but modules.planner has no 'cme': "
                                "did you mean 'cem'?"),
    ("modules.planner.cem.CME", "planner._target_ is 'modules.planner.cem.CME', but modules.planner.cem has no 'CME': "
                                "did you mean 'CEM'?"),
    ("modules.planer.cem.CEM", "planner._target_ is 'modules.planer.cem.CEM', but modules has no 'planer': "
                               "did you mean 'planner'?"),
])
def test_a_misspelt_target_gets_the_nearest_name(target: str, sentence: str) -> None:
    with pytest.raises(UnknownName) as unknown:
        trusted_class(target, "planner", ALLOWED)
    assert str(unknown.value) == sentence


def test_a_missing_package_is_reported() -> None:
    with pytest.raises(UnknownName) as unknown:
        trusted_class("mypkg.MyPlanner", "planner", allow_list(["mypkg"]))
    assert str(unknown.value) == ("planner._target_ is 'mypkg.MyPlanner', but there is no package 'mypkg'. "
                                  "Fix: install it, or put its folder on PYTHONPATH")


@pytest.mark.parametrize("target", [None, 3, "", "CEM", "modules.planner.", "modules planner.cem"])
def test_an_invalid_name_is_refused(target: object) -> None:
    with pytest.raises(SettingError, match=r"expected a class by its full name, `package\.file\.Class`"):
        trusted_class(target, "planner", ALLOWED)


def test_a_failing_import_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_package.py").write_text("import a_package_that_is_not_installed")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SettingError) as wrong:
        trusted_class("broken_package.Planner", "planner", allow_list(["broken_package."]))
    assert str(wrong.value) == ("planner cannot import broken_package: it needs 'a_package_that_is_not_installed', "
                                "which is not installed")


def test_the_allow_list_is_extended_in_python_or_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert allow_list(["mypkg", "other.part."])[-2:] == ("mypkg.", "other.part.")
    monkeypatch.setenv("AMI_ALLOW", "mine, theirs.,")
    assert allow_list() == (*ALLOWED, "mine.", "theirs.")


@pytest.mark.parametrize("prefix", ["", ".", "*", "my pkg", "a..b"])
def test_a_prefix_that_would_allow_everything_is_refused(prefix: str) -> None:
    with pytest.raises(TrustError, match=r"expected the name of a package, such as `mypkg\.`"):
        allow_list([prefix])


def test_a_gymnasium_id_may_not_import_an_untrusted_package() -> None:
    check_imports({"id": "worlds:ami/TwoRooms-v0"}, "world", ALLOWED)
    check_imports({"id": "CartPole-v1"}, "world", ALLOWED)
    with pytest.raises(TrustError, match=r"world\.id is 'this:Zen-v0', which imports 'this': expected a class from"):
        check_imports({"id": "this:Zen-v0"}, "world", ALLOWED)
    check_imports({"id": "CartPole-v1", "wrappers": ["minigrid.wrappers.FullyObsWrapper"]}, "world", ALLOWED)
    with pytest.raises(TrustError, match=r"world\.wrappers names 'this\.Zen': expected a class from"):
        check_imports({"id": "CartPole-v1", "wrappers": ["gymnasium.wrappers.ClipReward", "this.Zen"]}, "world", ALLOWED)


def test_amis_packages_are_not_shadowed() -> None:
    check_shadowing()


def test_a_shadowing_package_is_named_with_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "__init__.py").touch()
    monkeypatch.delitem(sys.modules, "modules")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TrustError) as refused:
        check_shadowing()
    home = Path(worlds.__file__).parent.parent
    assert str(refused.value) == (
        f"the package 'modules' is found at {tmp_path / 'modules'}: expected {home / 'modules'}, the one that came with "
        f"ami. Fix: run from another folder, take {tmp_path} off PYTHONPATH, or rename that package")
