"""A part of a YAML file as a frozen, typed object, and what is wrong with it as one line.

Not here: which sections there are; those are in lvdm/params and machine.py. This module imports no torch.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lvdm.errors import ParamsError

Count = Annotated[int, Field(gt=0)]
Whole = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """Frozen, every key known."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


S = TypeVar("S", bound=Section)
T = TypeVar("T")


def distinct(values: tuple[T, ...]) -> tuple[T, ...]:
    """The values, for pydantic's AfterValidator.

    Raises:
        ValueError: one is there twice.
    """
    if len(set(values)) < len(values):
        raise ValueError("each value once")
    return values


def parse(section: type[S], document: Any, at: str = "", file: str = "params.yaml") -> S:
    """Checks `document` as `section`, found at `at` of `file`.

    Raises:
        ParamsError: the first thing wrong, in one line.
    """
    try:
        return section.model_validate(document)
    except ValidationError as error:
        raise _one_line(section, error, at, file) from None


def read_yaml(path: Path) -> Any:
    """The content of a YAML file.

    Raises:
        ParamsError: it is not YAML.
    """
    try:
        node = yaml.compose(path.read_text(), yaml.SafeLoader)
        _check_keys(node, path)
        return yaml.SafeLoader("").construct_document(node) if node else None
    except yaml.MarkedYAMLError as error:
        raise ParamsError(f"{path}{_place(error.problem_mark)}: not YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError) as error:  # the second of bytes that are no text, and of dates that are none
        raise ParamsError(f"{path}: not YAML: {error}") from None


def _check_keys(node: yaml.Node | None, path: Path) -> None:
    """All of text, none there twice: YAML's reader would take the last of two and say nothing of the first."""
    inner: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            where = f"{path}{_place(key.start_mark)}"
            if not isinstance(key, yaml.ScalarNode):
                remedy = "quote what is in braces or brackets"
                raise ParamsError(f"{where}: a key", expected="a word", remedy=remedy)
            if key.tag.rpartition(":")[2] not in ("str", "merge"):
                raise ParamsError(f"{where}: a key", expected="text", got=key.value, remedy="put a name into quotes")
            if key.value in seen:
                raise ParamsError(f"{where}: {key.value}: there twice", remedy="keep one")
            seen.add(key.value)
            inner.append(value)
    elif isinstance(node, yaml.SequenceNode):
        inner = node.value
    for below in inner:
        _check_keys(below, path)


def _place(mark: yaml.Mark | None) -> str:
    return f", line {mark.line + 1}" if mark else ""


def _one_line(section: type[Section], error: ValidationError, at: str, file: str) -> ParamsError:
    errors = error.errors()  # a misspelt key is unknown and the right one missing: the first says more
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    keys, alternatives = [str(key) for key in first["loc"]], [first]
    if keys and keys[-1].startswith("literal["):  # the first of several types of a value, each of which says its own
        alternatives = [e for e in errors if e["loc"][:-1] == first["loc"][:-1]]
        keys.pop()
    names, sections = _followed(section, keys)
    field = ".".join(([at] if at else []) + names)
    if first["type"].startswith("union_tag"):
        kinds = ", ".join(kind for possible in sections for kind in _kinds(possible))
        return ParamsError(f"{file}: {field}.kind", expected=f"one of {kinds}", got=first["ctx"].get("tag"))
    if first["type"] == "extra_forbidden":
        (inner, *_), last = _followed(section, keys[:-1])[1], keys[-1]
        known = [f.alias or n for n, f in inner.model_fields.items()]
        close = difflib.get_close_matches(last, known, n=1)
        return ParamsError(
            f"{file}: {field}: unknown key",
            expected=close[0] if close else f"one of {', '.join(known)}",
            got=last,
        )
    if first["type"] == "missing":
        remedy = "give it a value, or {} where a named entry changes nothing; `lvdm preset sprites` prints a whole file"
        return ParamsError(f"{file}: {field}: missing", remedy=remedy)
    if first["type"] in ("model_type", "model_attributes_type"):
        return ParamsError(f"{file}: {field or 'the file'}", expected="keys and their values", got=first["input"])
    said = (e["msg"].removeprefix("Value error, ").removeprefix("Input should be ") for e in alternatives)
    got = None if isinstance(first["input"], dict) else first["input"]
    return ParamsError(f"{file}: {field or 'the file'}", expected=" or ".join(said), got=got)


def _followed(section: type[Section], keys: list[str]) -> tuple[list[str], list[type[Section]]]:
    """The keys as a person writes them, and the sections that may lie there.

    Where there are several, of which `kind` says one, pydantic has that kind as a key between.
    """
    names, possible = list[str](), [section]
    for key in keys:
        if of_kind := [one for one in possible if len(possible) > 1 and key in _kinds(one)]:
            possible = of_kind
            continue
        names.append(key)
        fields = ((n, f) for one in possible for n, f in one.model_fields.items())
        annotation: Any = next((f.annotation for n, f in fields if key in (n, f.alias)), None)
        possible = [a for a in (annotation, *get_args(annotation)) if _is_section(a)] or possible
    return names, possible


def _kinds(section: type[Section]) -> tuple[str, ...]:
    return get_args(section.model_fields["kind"].annotation)


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)
