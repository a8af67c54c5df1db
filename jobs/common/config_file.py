"""Reading a config: YAML, `${VAR}` expansion, `--set a.b=c` overrides, and errors that name the key path, the nearest
valid key, and what was expected there."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from jobs.common.config import Config
from jobs.common.errors import ConfigError

# What YAML gives; pydantic turns it into the sections below.
Yaml: TypeAlias = "str | int | float | bool | list[Yaml] | dict[str, Yaml] | None"


_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(:-([^}]*))?\}")


_TEMPLATE = "see conf/template.yaml for every key"


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read, expand, override and validate a config file.

    Args:
        path: a YAML file; relative paths in it are relative to the current directory.
        overrides: `a.b=c` strings, the value parsed as YAML; they win over the file.

    Raises:
        ConfigError: naming the file or the key path, what was expected, what was found and the nearest valid key.
    """
    tree = _read_yaml(path)
    for override in overrides:
        _apply_override(tree, override)
    expanded = _expand(tree, ())
    if isinstance(expanded, dict):
        # `columns:` with every key commented out is YAML's null, and means the defaults.
        expanded = {name: section for name, section in expanded.items() if section is not None}
    try:
        return Config.model_validate(expanded)
    except ValidationError as error:
        raise _explain(error.errors(include_url=False), str(path)) from error


def _read_yaml(path: Path) -> dict[str, Yaml]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else f"{error.__class__.__name__}: {error}"
        raise ConfigError(
            f"a readable YAML config at {path}", reason, "pass --config FILE; conf/template.yaml is a start"
        ) from error
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"valid YAML in {path}", reason, "correct that line") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"valid YAML in {path}", str(error), "correct that value") from error
    if not isinstance(tree, dict):
        found = "an empty file" if tree is None else f"a {_type_name(tree)}"
        raise ConfigError(f"sections such as source: and score: in {path}", found, _TEMPLATE)
    return tree


def _apply_override(tree: dict[str, Yaml], override: str) -> None:
    keys, separator, text = override.partition("=")
    names = keys.strip().split(".")
    if not separator or not all(names):
        raise ConfigError("--set section.key=value", f"--set {override}", "for example --set score.engine=spark")
    try:
        value = yaml.safe_load(text) if text.strip() else ""
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(
            f"a YAML value in --set {keys}=", text, "quote it, for example --set 'a.b=\"text: more\"'"
        ) from error
    node = tree
    for name in names[:-1]:
        child = node.get(name)
        if child is None:
            child = node[name] = {}
        if not isinstance(child, dict):
            raise ConfigError(f"a section at {name} for --set {keys}", f"the value {child!r}", _TEMPLATE)
        node = child
    node[names[-1]] = value


def _expand(value: Yaml, key_path: tuple[str, ...]) -> Yaml:
    """`${VAR}` and `${VAR:-default}` in every string; an unset variable without a default is an error."""
    if isinstance(value, dict):
        return {str(key): _expand(child, (*key_path, str(key))) for key, child in value.items()}
    if isinstance(value, list):
        return [_expand(child, (*key_path, str(i))) for i, child in enumerate(value)]
    if not isinstance(value, str):
        return value

    def lookup(match: re.Match[str]) -> str:
        name, default = match.group(1), match.group(3)
        found = os.environ.get(name)
        if found:
            return found
        if default is None:
            raise ConfigError(
                f"environment variable {name}, which {'.'.join(key_path)} uses",
                "it is not set" if found is None else "it is empty",
                f"export {name}=... or write ${{{name}:-default}}",
            )
        return default

    return _VARIABLE.sub(lookup, value)


def _explain(errors: Sequence[ErrorDetails], where: str) -> ConfigError:
    # A misspelt key often shows up twice, as unknown and as missing: the unknown one says what to do.
    chosen = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    keys = tuple(str(part) for part in chosen["loc"])
    key_path = ".".join(keys)
    if chosen["type"] == "extra_forbidden":
        return _explain_unknown(keys, where)
    if chosen["type"] == "missing":
        return ConfigError(f"key {key_path} in {where}", "it is missing", f"add it; {_TEMPLATE}")
    # pydantic adds the union's branch ('int', 'constrained-float') to the path; our keys end before it.
    known = _known_path(keys)
    expected = " or ".join(sorted({_describe(e) for e in errors if _known_path(tuple(map(str, e["loc"]))) == known}))
    found = "a value that is not shown" if {"storage_options", "tracking_uri"} & set(known) else _show(chosen["input"])
    return ConfigError(f"{'.'.join(known)} in {where} to be {expected}", found, _TEMPLATE)


def _explain_unknown(keys: tuple[str, ...], where: str) -> ConfigError:
    valid = _valid_keys(keys[:-1])
    near = difflib.get_close_matches(keys[-1], valid, n=1, cutoff=0.5)
    prefix = ".".join(keys[:-1])
    shown = [f"{prefix}.{name}" if prefix else name for name in valid]
    remedy = f"did you mean {'.'.join([*keys[:-1], near[0]])}?" if near else f"valid keys: {', '.join(shown)}"
    return ConfigError(f"only known keys in {where}", f"unknown key {'.'.join(keys)}", remedy)


def _describe(error: ErrorDetails) -> str:
    plain = {"tuple_type": "a list", "dict_type": "a section", "model_type": "a section"}
    return plain.get(error["type"]) or error["msg"].removeprefix("Value error, ").removeprefix("Input should be ")


def _known_path(keys: tuple[str, ...]) -> tuple[str, ...]:
    """The longest prefix of a pydantic location that is a key path of the config."""
    if len(keys) >= 2 and keys[1] in _valid_keys(keys[:1]):
        open_ended = keys[1] in ("kinds", "conf", "storage_options")
        return keys[:3] if open_ended else keys[:2]
    return keys[:1]


def _valid_keys(section: tuple[str, ...]) -> list[str]:
    fields: Mapping[str, object] = Config.model_fields
    if section:
        model = Config.model_fields[section[0]].annotation if section[0] in Config.model_fields else None
        fields = model.model_fields if isinstance(model, type) and issubclass(model, BaseModel) else {}
    return sorted(fields)


def _type_name(value: object) -> str:
    return {
        "dict": "section",
        "str": "text",
        "int": "number",
        "float": "number",
        "bool": "boolean",
        "NoneType": "null",
    }.get(type(value).__name__, type(value).__name__)


def _show(value: object) -> str:
    if isinstance(value, BaseModel):
        return f"{value.__class__.__name__.lower()} section as given"
    text = repr(value)
    return f"{_type_name(value)} {text if len(text) <= 80 else text[:77] + '...'}"
