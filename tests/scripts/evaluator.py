"""What the front scripts hold and hand over, without PowerShell: a real grammar, and an evaluator of the part of the language they use.

Literals, lists, tables, arithmetic, interpolation, `if`. `vectors.json` holds recorded values of a real PowerShell, and typical mistakes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tree_sitter_powershell
from tree_sitter import Language, Node, Parser

VECTORS = json.loads((Path(__file__).parent / "vectors.json").read_text(encoding="utf-8"))
_PARSER = Parser(Language(tree_sitter_powershell.language()))
_QUOTES = str.maketrans("“”„‘’‚‛", "\"\"\"''''")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "e": "\x1b"}
_UNITS = {"kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30}
_CASTS = {"int": int, "string": lambda value: shown(value), "double": float, "bool": bool, "ordered": dict}


class Mistake(Exception):
    """PowerShell prints an error here; with ErrorActionPreference = Stop the script ends."""


class Unreadable(Exception):
    """PowerShell does not run a line of it."""


@dataclass
class State:
    """The variables as they were written first, and the calls of functions that are not PowerShell's."""

    variables: dict[str, Any] = field(default_factory=dict)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    given: dict[str, Any] = field(default_factory=dict)  # $PSScriptRoot, $args, ...
    stops: bool = True

    def name(self, word: str) -> str:
        """The variable's name as it was written first."""
        return next((known for known in self.variables if known.lower() == word.lower()), word)

    def get(self, word: str) -> Any:
        """A variable's value; nothing where there is none."""
        constants = {"true": True, "false": False, "null": None, **{name.lower(): value for name, value in self.given.items()}}
        return constants[word.lower()] if word.lower() in constants else self.variables.get(self.name(word))


def parse(text: str) -> Node:
    """The syntax tree. PowerShell takes typographic quotes and dashes for plain ones, which the grammar does not know."""
    plain = re.sub(r"–(?=\d)", "-", text.translate(_QUOTES))
    return _PARSER.parse(plain.encode("utf-8")).root_node


def run(text: str, *, stops: bool = True, given: dict[str, Any] | None = None) -> State:
    """The script's variables at its end. Raises Unreadable or, with `stops`, Mistake."""
    tree = parse(text)
    if tree.has_error:
        raise Unreadable(text)
    state = State(given=given or {}, stops=stops)
    _statements(tree, state)
    return state


def read(path: Path) -> str:
    """A script's text, without its mark and with plain line ends."""
    return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")


def hand_over(path: Path, arguments: Sequence[Any] = (), *, edition: str = "Desktop", **changed: Any) -> str:
    """What `path` hands over when it is run with these arguments; `changed` are variables as they would stand in it."""
    state = run(read(path), given={"PSScriptRoot": str(path.parent), "PSCommandPath": str(path), "args": list(arguments)})
    ((_, call),) = [call for call in state.calls if call[0] == "Invoke-Engine"]
    variables = {**state.variables, **changed}
    handed = {"script": call["Script"], "command": call["Command"], "edition": edition, "variables": variables, "arguments": call["More"]}
    return json.dumps(handed, ensure_ascii=False)


def shown(value: Any) -> str:
    """A value inside a double-quoted string."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, list):
        return " ".join(shown(part) for part in value)
    if isinstance(value, float):
        text = repr(int(value) if value.is_integer() and abs(value) < 1e15 else value)
        return text.upper()
    return str(value)


def _text(node: Node) -> str:
    assert node.text is not None
    return node.text.decode("utf-8")


def _statements(node: Node, state: State) -> None:
    for child in node.named_children:
        if child.type in ("comment", "empty_statement", "function_statement"):
            continue
        if child.type == "statement_list":
            _statements(child, state)
        elif child.type == "if_statement":
            _if(child, state)
        else:
            _value_of_statement(child, state)


def _value_of_statement(node: Node, state: State) -> Any:
    try:
        return _value(node, state)
    except Mistake:
        if state.stops:
            raise
        return None


def _if(node: Node, state: State) -> None:
    condition = next(child for child in node.named_children if child.type == "pipeline")
    blocks = [child for child in node.named_children if child.type == "statement_block"]
    others = [child for child in node.named_children if child.type == "else_clause"]
    if _value(condition, state):
        _statements(blocks[0], state)
    for other in others if not _value(condition, state) else []:
        _statements(next(child for child in other.named_children if child.type == "statement_block"), state)


def _assign(node: Node, state: State) -> Any:
    left, sign, right = (child for child in node.children if child.type != "comment")
    kind, _, word = _text(left).rpartition("$")  # `[int] $a`
    name = state.name(re.sub(r"^(script|local|private|global):", "", word, flags=re.IGNORECASE))
    value: Any = None
    try:
        value = _value(right, state)
    except Mistake:
        if state.stops:
            raise
    if kind:
        value = _CASTS[kind.strip("[] ").lower()](value)
    if _text(sign) == "+=":
        value = _sum(state.get(name), value)
    state.variables[name] = value
    return value


def _value(node: Node, state: State) -> Any:
    """The value of an expression. Most levels of the grammar have one child, and pass its value on."""
    simple = {
        "assignment_expression": _assign,
        "variable": lambda node, state: state.get(_text(node).strip("${}")),
        "expandable_string_literal": _expandable,
        "expandable_here_string_literal": _expandable,
        "verbatim_string_characters": lambda node, state: _text(node)[1:-1].replace("''", "'"),
        "verbatim_here_string_characters": lambda node, state: "\r\n".join(_text(node).split("\n")[1:-1]),
        "decimal_integer_literal": _number,
        "hexadecimal_integer_literal": lambda node, state: int(_text(node), 16),
        "real_literal": _number,
        "expression_with_unary_operator": _unary,
        "cast_expression": _cast,
        "array_expression": lambda node, state: _list(node, state),
        "sub_expression": lambda node, state: _single(_list(node, state)),
        "parenthesized_expression": lambda node, state: _value(node.named_children[0], state),
        "hash_literal_expression": _table,
        "command": _command,
    }
    if node.type in simple:
        return simple[node.type](node, state)
    children = [child for child in node.children if child.type != "comment"]
    if len(children) == 1:
        return _value(children[0], state)
    if node.type == "array_literal_expression":
        return [_value(child, state) for child in node.named_children]
    if node.type in ("additive_expression", "multiplicative_expression", "format_expression"):
        left, sign, right = children
        return _binary(_value(left, state), _text(sign), _value(right, state))
    raise NotImplementedError(f"{node.type}: {_text(node)}")


def _number(node: Node, state: State) -> int | float:
    text = _text(node).lower()
    unit = _UNITS.get(text[-2:], 0)
    if unit:
        return int(text[:-2]) * unit
    return int(text) if node.type == "decimal_integer_literal" else float(text)


def _unary(node: Node, state: State) -> Any:
    if node.children[0].type == "cast_expression":
        return _value(node.children[0], state)
    sign, operand = _text(node.children[0]), _value(node.children[-1], state)
    return {"-": lambda: -operand, "+": lambda: operand, "-not": lambda: not operand, "!": lambda: not operand}[sign]()


def _cast(node: Node, state: State) -> Any:
    kind = _text(node.named_children[0]).strip("[] ").lower()
    return _CASTS[kind](_value(node.named_children[1], state))


def _binary(left: Any, sign: str, right: Any) -> Any:
    if sign == "+":
        return _sum(left, right)
    if sign == "-f":
        return _format(left, right if isinstance(right, list) else [right])
    if sign == "*":
        return left * int(right) if isinstance(left, str | list) else left * right
    if sign == "/":
        return left // right if isinstance(left, int) and isinstance(right, int) and left % right == 0 else left / right
    assert sign == "-", sign
    return left - right


def _sum(left: Any, right: Any) -> Any:
    if isinstance(left, list):
        return [*left, *(right if isinstance(right, list) else [right])]
    if isinstance(left, str):
        return left + shown(right)
    return left + (float(right) if "." in right else int(right)) if isinstance(right, str) else left + right


def _format(pattern: str, values: list[Any]) -> str:
    def filled(found: re.Match[str]) -> str:
        value, form = values[int(found[1])], found[2] or ""
        return f"{value:.{len(form.partition('.')[2])}f}" if form else shown(value)

    return re.sub(r"\{(\d+)(?::([0.#]+))?\}", filled, pattern)


def _expandable(node: Node, state: State) -> str:
    """A double-quoted string, or a here-string: its pieces between the variables and sub-expressions."""
    raw = node.text
    assert raw is not None
    here = raw.startswith(b"@")
    first = raw.index(b"\n") + 1 if here else 1
    last = len(raw) - (3 if here else 1)  # the line end before the closing quote is no part of a here-string
    parts, at = [], first
    for child in node.named_children:
        start = child.start_byte - node.start_byte
        if child.type not in ("variable", "sub_expression") or start < at:
            continue
        parts.append(_unescaped(raw[at:start].decode("utf-8"), here=here))
        parts.append(shown(_value(child, state)))
        at = child.end_byte - node.start_byte
    parts.append(_unescaped(raw[at:last].decode("utf-8"), here=here))
    return "".join(parts)


def _unescaped(text: str, *, here: bool) -> str:
    text = text.replace("\n", "\r\n") if here else text.replace('""', '"')
    return re.sub(r"`(.)", lambda found: _ESCAPES.get(found[1], found[1]), text, flags=re.DOTALL)


def _list(node: Node, state: State) -> list[Any]:
    """What the statements of `@( )` or `$( )` give, one after the other."""
    found: list[Any] = []
    for statements in (child for child in node.named_children if child.type == "statement_list"):
        for child in statements.named_children:
            value = _value_of_statement(child, state)
            found.extend(value if isinstance(value, list) else [value])
    return found


def _single(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values or None


def _table(node: Node, state: State) -> dict[str, Any]:
    found = {}
    entries = [entry for body in node.named_children if body.type == "hash_literal_body" for entry in body.named_children]
    for entry in (entry for entry in entries if entry.type == "hash_entry"):
        key, value = entry.named_children[0], entry.named_children[-1]
        name = key.named_children[0] if key.named_children else key
        found[_text(name) if name.type == "simple_name" else str(_value(name, state))] = _value(value, state)
    return found


def _command(node: Node, state: State) -> Any:
    """A call: a range and `1E-5`, which the grammar takes for one, `. file`, a function of ours; everything else is a mistake."""
    text = _text(node).strip()
    if re.fullmatch(r"\d+(\.\d+)?E[-+]?\d+", text, re.IGNORECASE):
        return float(text)
    if re.fullmatch(r"\d+\.\.\d+", text):
        low, high = map(int, text.split(".."))
        return list(range(low, high + 1))
    if node.children[0].type == "command_invokation_operator":
        return None
    words = text.split()
    if words[0] != "Invoke-Engine":
        raise Mistake(text)
    options = dict(zip(words[1::2], words[2::2], strict=True))
    values = {name.removeprefix("-"): state.get(word[1:]) if word.startswith("$") else word for name, word in options.items()}
    state.calls.append((words[0], values))
    return None
