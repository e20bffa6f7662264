"""Conditions on ticks: `surprise > 3 and mode == 2`, over the columns of the tick table, see docs/traces.md.

A condition is parsed, never executed. It compares columns, numbers and 'texts', joined by `and`, `or`, `not` and
parentheses.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from ami.errors import SettingError, unknown_name

EXPECTED = "expected comparisons of figures, such as 'surprise > 3 and mode == 2'"
COMPARES: dict[type, Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Eq: operator.eq,
    ast.NotEq: operator.ne}


class Condition:
    """A condition on the rows of a table.

    Args:
        text: the condition; a column `node.port` may be named by its port alone if that is unique.

    Attributes:
        names: its columns, as written.

    Raises:
        SettingError: it cannot be parsed.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            self._tree = ast.parse(text.strip(), mode="eval").body
        except SyntaxError:
            raise SettingError(f"--where is '{text}': {EXPECTED}") from None
        self.names = list(dict.fromkeys(_name(node) for node in _leaves(self._tree) if not isinstance(node, ast.Constant)))
        if not self.names:
            raise self._refused()
        self._test(self._tree, None)

    def columns(self, table: pa.Table) -> list[str]:
        """Return the full names of its columns.

        Raises:
            UnknownName: the table has no such column.
            SettingError: several nodes have such a port.
        """
        return list(dict.fromkeys(_found(name, table) for name in self.names))

    def holds(self, table: pa.Table) -> np.ndarray:
        """Return the rows in which it holds, (rows,) bool; a comparison with null does not hold. Raises as `columns`."""
        return np.broadcast_to(np.asarray(self._test(self._tree, table), bool), len(table)).copy()

    def _test(self, node: ast.expr, table: pa.Table | None) -> Any:
        """Evaluate the condition by row; without a table, only check that it can be parsed."""
        if isinstance(node, ast.BoolOp):
            parts = [self._test(part, table) for part in node.values]
            joined = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
            return joined.reduce(np.broadcast_arrays(*parts))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return ~np.asarray(self._test(node.operand, table), bool)
        if isinstance(node, ast.Compare):
            sides = [self._value(side, table) for side in (node.left, *node.comparators)]
            held: Any = np.True_
            for op, ((left, left_known), (right, right_known)) in zip(node.ops, pairwise(sides), strict=True):
                if type(op) not in COMPARES:
                    raise self._refused()
                try:
                    held = held & COMPARES[type(op)](left, right) & left_known & right_known
                except TypeError:  # a text and a number have no order
                    raise self._refused() from None
            return held
        value, known = self._value(node, table)  # a flag by its name alone
        if np.asarray(value).dtype.kind in "UO":  # a text is neither true nor false
            raise self._refused()
        return (value != 0) & known

    def _value(self, node: ast.expr, table: pa.Table | None) -> tuple[Any, Any]:
        """Return a column or a constant, and where it is not null."""
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            value, known = self._value(node.operand, table)
            if np.asarray(value).dtype.kind not in "iuf":  # a text or a flag has no sign
                raise self._refused()
            return -value, known
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float | str):
            return node.value, np.True_
        if not isinstance(node, ast.Name | ast.Attribute):
            raise self._refused()
        name = _name(node)
        if name in ("true", "false"):
            return name == "true", np.True_
        if table is None:
            return 0, np.True_
        column = table[_found(name, table)]
        if pa.types.is_string(column.type) or pa.types.is_boolean(column.type):
            empty: Any = "" if pa.types.is_string(column.type) else False
            column, known = column.fill_null(empty), column.is_valid().to_numpy()
            return np.array(column.to_pylist(), type(empty)), known
        return column.to_numpy(), column.is_valid().to_numpy()

    def _refused(self) -> SettingError:
        return SettingError(f"--where is '{self.text}': {EXPECTED}")


def _leaves(tree: ast.expr) -> list[ast.expr]:
    """Return the names and constants of a condition, in written order."""
    if isinstance(tree, ast.Name | ast.Attribute | ast.Constant):
        return [] if isinstance(tree, ast.Name) and tree.id in ("true", "false") else [tree]
    return [leaf for part in ast.iter_child_nodes(tree) if isinstance(part, ast.expr) for leaf in _leaves(part)]


def _name(node: ast.expr) -> str:
    return ast.unparse(node)


def _found(name: str, table: pa.Table) -> str:
    if name in table.column_names:
        return name
    ends = [column for column in table.column_names if column.endswith(f".{name}")]
    if len(ends) > 1:
        raise SettingError(f"--where has the ambiguous name '{name}': expected one of {', '.join(ends)}")
    if not ends:
        ports = [column.split(".")[-1] for column in table.column_names]
        raise unknown_name("figure", name, [*table.column_names, *(port for port in ports if ports.count(port) == 1)])
    return str(ends[0])
