"""Check the file of a config option before Hydra reads it: a regular, small UTF-8 file whose aliases expand to few values.

A folder of options may come from an untrusted source. A pipe would block, and twenty lines of YAML aliases expand to more
values than memory holds. Errors name the file and the line.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import yaml
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.sources_registry import SourcesRegistry
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, ListConfig
from omegaconf.errors import OmegaConfBaseException

from ami.errors import SettingError

SCHEME = "ami"
MAX_BYTES = 1_000_000
MAX_VALUES = 50_000
MAX_DEPTH = 60
"""Hydra and OmegaConf take several Python frames per level; the interpreter allows a thousand."""


class OptionFolder(FileConfigSource):
    """A folder of options in Hydra's search path, `ami:///folder`, each file checked before it is read."""

    @staticmethod
    def scheme() -> str:
        return SCHEME

    def is_config(self, config_path: str) -> bool:
        # a pipe, a folder or a link to nowhere is found too, so that the error can name it
        return os.path.lexists(Path(self.path, self._normalize_file_name(config_path)))

    def load_config(self, config_path: str) -> ConfigResult:
        """Load an option; raise SettingError with file and line for everything that Hydra would refuse."""
        file = Path(self.path, self._normalize_file_name(config_path))
        read(file)
        try:
            found = super().load_config(config_path)
        except (ValueError, OmegaConfBaseException, yaml.YAMLError) as error:
            mark = getattr(error, "problem_mark", None)
            line = f", line {mark.line + 1}" if mark else ""
            raise SettingError(f"{file}{line}: {getattr(error, 'problem', None) or _first_line(error)}") from None
        if not isinstance(found.config, DictConfig):
            raise SettingError(f"{file}: expected settings, `name: value`, not a list")
        defaults = found.config.get("defaults", [])
        if not isinstance(defaults, list | ListConfig) or not all(isinstance(entry, str | DictConfig) for entry in defaults):
            raise SettingError(f"{file}: `defaults` is {defaults}: expected a list of options, `- override /planner: cem`")
        return found


SourcesRegistry.instance().register(OptionFolder)


def read(file: Path) -> str:
    """Read the text of an option's file.

    Raises:
        SettingError: it is not a regular UTF-8 YAML file within the limits; names file and line.
    """
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            raise SettingError(f"{file} is {_kind(status.st_mode)}: expected a file of YAML. Fix: rename or remove it")
        if status.st_size > MAX_BYTES:
            raise SettingError(f"{file} has {status.st_size} bytes: expected at most {MAX_BYTES}. Fix: leave data out of an "
                               "option, and name the file that holds it")
        content = file.read_bytes()
    except OSError as error:
        raise SettingError(f"{file} cannot be read: {error.strerror}") from None
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SettingError(f"{file}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8. "
                           "Fix: save it as UTF-8") from None
    check_yaml(text, str(file))
    return text


def check_yaml(text: str, name: str) -> None:
    """Refuse YAML that is broken or expands to too many values; the check itself expands nothing.

    Raises:
        SettingError: names `name` and the line.
    """
    try:
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += 1 if isinstance(event, yaml.CollectionStartEvent) else 0
            depth -= 1 if isinstance(event, yaml.CollectionEndEvent) else 0
            if depth > MAX_DEPTH:
                raise SettingError(f"{name}, line {event.start_mark.line + 1}: values are nested in more than {MAX_DEPTH} "
                                   "levels. Fix: a flatter file")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        hint = ". Fix: indent with spaces" if "'\\t'" in str(error.problem) else ""
        raise SettingError(f"{name}{line}: {error.problem or error.context}{hint}") from None
    except yaml.reader.ReaderError as error:
        number = text.count("\n", 0, error.position) + 1
        raise SettingError(f"{name}, line {number}: the character U+{int(error.character):04X} is not allowed in YAML. "
                           "Fix: remove it") from None
    if root is not None:
        _size(root, name, {}, set())


def _size(node: yaml.Node, name: str, known: dict[int, int], above: set[int]) -> int:
    """Return the number of values of a node with its aliases expanded; results are memoised in `known`."""
    if id(node) in known:
        return known[id(node)]
    line = node.start_mark.line + 1
    if id(node) in above:
        raise SettingError(f"{name}, line {line}: an alias contains itself. Fix: write the value out")
    inner = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else \
        node.value if isinstance(node, yaml.SequenceNode) else []
    size = 1 + sum(_size(part, name, known, above | {id(node)}) for part in inner)
    if size > MAX_VALUES:
        raise SettingError(f"{name}, line {line}: it expands to more than {MAX_VALUES} values. Fix: fewer aliases (`*name`) "
                           "or values")
    known[id(node)] = size
    return size


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]


def _kind(mode: int) -> str:
    kinds = {stat.S_ISDIR: "a folder", stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket"}
    return next((kind for test, kind in kinds.items() if test(mode)), "a device")
