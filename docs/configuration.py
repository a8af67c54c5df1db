"""Writes docs/configuration.md: every key of the config, its type and default from the config's models, its meaning
from the comments of conf/template.yaml. `make docs` runs it; tests/test_docs.py fails while the page is stale."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from jobs.common.config import Config

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "configuration.md"
HEAD = """\
# Configuration

One YAML file is one job: `sandtimer COMMAND --config FILE`. `sandtimer init TABLE` writes one for a table;
[conf/template.yaml](../conf/template.yaml) is one with every key. This page is made from both by `make docs`.

- Relative paths are relative to the current directory.
- `${VARIABLE}` and `${VARIABLE:-default}` come from the environment; secrets belong there and are never logged.
- `--set section.key=value` overrides a key for one run; the value is YAML.
- An unknown key is an error that names the nearest known one; so is a value of the wrong type.
"""
_LIMITS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
}


def build_page() -> str:
    """The page's text."""
    schema, meanings = Config.model_json_schema(), read_meanings()
    parts = [HEAD]
    for name, reference in schema["properties"].items():
        section = _resolve(reference, schema)
        parts += [
            f"## {name}",
            "",
            _first_sentence(section.get("description", "")),
            "",
            "| key | type | default | meaning |",
        ]
        parts.append("| --- | --- | --- | --- |")
        required = section.get("required", ())
        for key, field in section["properties"].items():
            default = "required" if key in required else f"`{_show_default(field)}`"
            meaning = meanings.get((name, key), "")
            parts.append(f"| `{key}` | {_describe_type(field, schema)} | {default} | {_escape(meaning)} |")
        parts.append("")
    return "\n".join(parts)


def read_meanings() -> dict[tuple[str, str], str]:
    """Section and key -> the comment above it in the template."""
    meanings: dict[tuple[str, str], str] = {}
    section, comment = "", []
    for line in (ROOT / "conf" / "template.yaml").read_text(encoding="utf-8").splitlines():
        if found := re.fullmatch(r"(\w+):", line):
            section, comment = found[1], []
        elif found := re.fullmatch(r"  # (.*)", line):
            comment.append(found[1])
        elif found := re.match(r"  (\w+):", line):
            meanings[section, found[1]] = " ".join(comment).removeprefix("Required. ")
            comment = []
        elif not line.startswith("  #"):
            comment = []
    return meanings


def _resolve(field: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = field.get("$ref") or next((part["$ref"] for part in field.get("allOf", ())), None)
    found: Mapping[str, Any] = schema["$defs"][reference.rpartition("/")[2]] if reference else field
    return found


def _describe_type(field: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_describe_type(part, schema) for part in field["anyOf"]))
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    kind = field.get("type", "any")
    if kind == "array":
        return f"list of {_describe_type(field.get('items', {}), schema)}"
    if kind == "object":
        return "map"
    limits = [words.format(field[limit]) for limit, words in _LIMITS.items() if limit in field]
    plain = {"string": "path" if field.get("format") == "path" else "text", "boolean": "true or false"}.get(kind, kind)
    return ", ".join([plain, *limits])


def _show_default(field: Mapping[str, Any]) -> str:
    if "default" not in field:
        return "{}"
    return yaml.safe_dump(field["default"], default_flow_style=True, width=10**6).removesuffix("...\n").strip()


def _first_sentence(text: str) -> str:
    return " ".join(text.split("\n\n", maxsplit=1)[0].split())


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    PAGE.write_text(build_page(), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")
