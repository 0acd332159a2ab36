"""``data.where``: a small expression over what is known of pieces, turned into SQL with parameters.

    composer == 'Bach' and meter == '3/4'
    60 <= tempo < 100 and not genre in ['jazz', 'blues']
    contains(title, 'fugue') or 40 in programs
    key is None

The grammar is a part of Python's, read by ``ast``: comparisons, and/or/not, ``in``, ``contains(field, text)`` (letter
case ignored), ``like(field, pattern)`` with % and _, ``field('name with spaces')``. Nothing is evaluated. What is
unknown of a piece equals nothing, is unlike everything and is neither more nor less than anything.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aurl.data.storable import number_value, text_value
from aurl.utils.errors import AurlError

NUMBER, TEXT, LIST, MIXED = "number", "text", "list", "mixed"
LONGEST = 2000
"""Characters of an expression."""
ALIASES = {"metre": "meter", "license": "licence"}
ORDERS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
FUNCTIONS = ("contains", "like", "field")
WORDS = {"null": None, "none": None, "true": True, "false": False}
"""Constants as YAML and SQL write them."""
LISTED_FIELDS = 60
"""Fields that a message names at most."""


@dataclass(frozen=True)
class Field:
    """Something that is known of pieces."""

    sql: str
    """Expression for its value."""
    kind: str
    """number, text, list (a JSON array) or mixed."""


@dataclass(frozen=True)
class _Term:
    """One side of a comparison: SQL, what it stands for, and the constant if it is one."""

    sql: str
    parameters: tuple[Any, ...]
    kind: str
    is_null: bool = False


class WhereError(AurlError):
    """The expression cannot be used."""


def compile_where(text: str, fields: Mapping[str, Field]) -> tuple[str, list[Any]]:
    """SQL condition and parameters of an expression.

    Args:
        text: the expression.
        fields: what it may speak of.

    Raises:
        WhereError: one line with the place, what is allowed and the nearest name.

    Example:
        >>> compile_where("tempo > 100", {"tempo": Field("tempo", NUMBER)})
        ('COALESCE(tempo > ?, 0)', [100])
    """
    if len(text) > LONGEST:
        raise WhereError(f"data.where has {len(text)} characters; allowed: {LONGEST}")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        hint = "; equality is written ==" if "=" in text and "==" not in text else ""
        raise WhereError(
            f"data.where={text!r} cannot be read ({getattr(error, 'msg', None) or error}){hint}; "
            "for instance data.where=\"composer == 'Bach' and meter == '3/4'\""
        ) from error
    return _Compiler(text, fields).condition(tree.body)


class _AnyField(dict[str, Field]):
    """Takes every name for a field."""

    def get(self, name: str, default: Any = None) -> Field:
        return Field(name, MIXED)


def check_where(text: str) -> None:
    """Check the form of an expression before it is known which fields there are.

    Raises:
        WhereError: it cannot be read.
    """
    compile_where(text, _AnyField())


class _Compiler:
    def __init__(self, text: str, fields: Mapping[str, Field]) -> None:
        self.text, self.fields = text, fields

    def refuse(self, node: ast.AST, reason: str) -> WhereError:
        part = ast.get_source_segment(self.text.strip(), node) or ast.unparse(node)
        return WhereError(f"data.where: '{part}' {reason}")

    def condition(self, node: ast.expr) -> tuple[str, list[Any]]:
        """SQL that is 0 or 1, never NULL."""
        if isinstance(node, ast.BoolOp):
            parts = [self.condition(value) for value in node.values]
            word = " AND " if isinstance(node.op, ast.And) else " OR "
            return f"({word.join(sql for sql, _ in parts)})", [value for _, values in parts for value in values]
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            sql, values = self.condition(node.operand)
            return f"(NOT {sql})", values
        if isinstance(node, ast.Compare):
            return self.comparisons(node)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("contains", "like"):
            return self.search(node, node.func.id)
        if isinstance(node, ast.Name) or self.is_field_call(node):
            term = self.term(node)
            return f"COALESCE({term.sql} NOT IN (0, '', '[]'), 0)", list(term.parameters)
        raise self.refuse(node, "is no comparison; allowed: == != < <= > >= in, and or not, contains(), like()")

    def comparisons(self, node: ast.Compare) -> tuple[str, list[Any]]:
        sides = [node.left, *node.comparators]
        parts = [
            self.comparison(node, left, operator, right)
            for left, operator, right in zip(sides, node.ops, sides[1:], strict=False)
        ]
        sql = " AND ".join(sql for sql, _ in parts)
        return (sql if len(parts) == 1 else f"({sql})"), [value for _, values in parts for value in values]

    def comparison(self, node: ast.Compare, left: ast.expr, operator: ast.cmpop, right: ast.expr) -> tuple[str, Any]:
        if isinstance(operator, ast.In | ast.NotIn):
            sql, values = self.membership(node, left, right)
            return (f"(NOT {sql})" if isinstance(operator, ast.NotIn) else sql), values
        first, second = self.term(left), self.term(right)
        parameters = [*first.parameters, *second.parameters]
        if not (first.is_null or second.is_null):
            self.check_kinds(node, first, second)
        if type(operator) not in ORDERS:  # == or !=
            both = "" if first.is_null or second.is_null else f" AND {first.sql} IS NOT NULL"
            extra = list(first.parameters) if both else []
            negation = "NOT " if isinstance(operator, ast.NotEq | ast.IsNot) else ""
            return f"({negation}({first.sql} IS {second.sql}{both}))", parameters + extra
        return f"COALESCE({first.sql} {ORDERS[type(operator)]} {second.sql}, 0)", parameters

    def check_kinds(self, node: ast.Compare, first: _Term, second: _Term) -> None:
        if LIST in (first.kind, second.kind):
            raise self.refuse(node, "compares a list; write for instance: 40 in programs")
        if {first.kind, second.kind} == {NUMBER, TEXT}:
            raise self.refuse(node, "compares a number with text")

    def membership(self, node: ast.Compare, left: ast.expr, right: ast.expr) -> tuple[str, list[Any]]:
        term = self.term(left)
        if isinstance(right, ast.List | ast.Tuple | ast.Set):
            options = [self.term(option) for option in right.elts]
            for option in options:
                if not option.is_null:
                    self.check_kinds(node, term, option)
            listed = ", ".join(option.sql for option in options if not option.is_null)
            values = [*term.parameters, *(value for option in options for value in option.parameters)]
            known = f"COALESCE({term.sql} IN ({listed}), 0)"
            if not any(option.is_null for option in options):
                return known, values
            return f"({known} OR {term.sql} IS NULL)", [*values, *term.parameters]
        whole = self.term(right)
        if whole.kind == LIST or (whole.kind, term.kind) == (MIXED, NUMBER):
            listed = (
                f"CASE WHEN json_valid({whole.sql}) THEN {whole.sql} ELSE '[]' END"
                if whole.kind == MIXED
                else whole.sql
            )
            sql = f"EXISTS (SELECT 1 FROM json_each({listed}) WHERE value = {term.sql})"
            return sql, list(term.parameters)
        if NUMBER in (term.kind, whole.kind):
            raise self.refuse(node, "looks into a number; in looks into text, a list field or [a, b]")
        return f"COALESCE(instr({whole.sql}, {term.sql}) > 0, 0)", [*whole.parameters, *term.parameters]

    def search(self, node: ast.Call, name: str) -> tuple[str, list[Any]]:
        if len(node.args) != 2 or node.keywords:
            raise self.refuse(node, f"is not {name}(field, 'text')")
        where, pattern = self.term(node.args[0]), node.args[1]
        if not (isinstance(pattern, ast.Constant) and isinstance(pattern.value, str)):
            raise self.refuse(node, f"is not {name}(field, 'text')")
        text = text_value(pattern.value)
        if name == "contains":
            for letter in "\\%_":
                text = text.replace(letter, f"\\{letter}")
            text = f"%{text}%"
        return f"COALESCE({where.sql} LIKE ? ESCAPE '\\', 0)", [*where.parameters, text]

    def is_field_call(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "field"

    def term(self, node: ast.expr) -> _Term:
        """A field or a constant."""
        if isinstance(node, ast.Name):
            if node.id in WORDS and node.id not in self.fields:
                node = ast.copy_location(ast.Constant(WORDS[node.id]), node)
            else:
                return self.field(node, node.id)
        if self.is_field_call(node):
            assert isinstance(node, ast.Call)
            if len(node.args) == 1 and isinstance(node.args[0], ast.Constant):
                return self.field(node, str(node.args[0].value))
        negative = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
        inner = node.operand if isinstance(node, ast.UnaryOp) and negative else node
        if isinstance(inner, ast.Constant):
            value = inner.value
            if value is None and not negative:
                return _Term("NULL", (), MIXED, is_null=True)
            if isinstance(value, str) and not negative:
                return _Term("?", (text_value(value),), TEXT)
            if isinstance(value, int | float):
                number = -value if negative else value
                return _Term("?", (number_value(number),), NUMBER)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id not in FUNCTIONS:
            raise self.refuse(node, f"calls {node.func.id}; allowed: {', '.join(FUNCTIONS)}")
        raise self.refuse(node, "is neither a field nor a text or number; texts stand in quotes")

    def field(self, node: ast.expr, name: str) -> _Term:
        found = self.fields.get(ALIASES.get(name, name)) or self.fields.get(name)
        if found is None:
            names = sorted(self.fields)
            near = difflib.get_close_matches(name, names, 1)
            hint = f"did you mean {near[0]}? " if near else ""
            listed = ", ".join(names[:LISTED_FIELDS]) + (" ..." if len(names) > LISTED_FIELDS else "")
            raise WhereError(f"data.where: there is no field '{name}'; {hint}fields: {listed}")
        return _Term(found.sql, (), found.kind)
