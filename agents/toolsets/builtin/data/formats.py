"""Documents read from one format and written in another."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from typing import Any, Literal

from agents.tools.calls import ToolError
from agents.toolsets.builtin.data.budget import Budget, counted
from agents.toolsets.builtin.data.tabular import read_csv, write_csv
from agents.toolsets.builtin.offer import Document, offer

Format = Literal["json", "yaml", "toml", "csv", "xml"]
#: Keys of TOML like a.b.c take time with the square of their parts.
_DOTTED = re.compile(r"(?:[\w\"'-]+[ \t]*\.[ \t]*){20}")
_XML_NAME = re.compile(r"[A-Za-z_][\w.-]{0,199}")
_BARE = re.compile(r"[A-Za-z0-9_-]+")


@offer({"text": "a: 1\nb: [x, y]\n", "source": "yaml", "target": "json"}, "yaml", "defusedxml")
def convert_data(text: Document, source: Format, target: Format) -> str:
    """Converts a document; of XML, attributes are "@name", and the text of an element "#text"."""
    try:
        value = _READ[source](text)
        counted(value)
        value = json.loads(json.dumps(value, default=_plain, allow_nan=False))
        return _WRITE[target](value)
    except RecursionError:
        raise ToolError("The document is nested too deep. Give a part of it.") from None
    except (ValueError, TypeError) as error:
        raise ToolError(
            f"This is no {source} with a form in {target}: {str(error)[:300]}"
        ) from None


def _plain(value: Any) -> str:
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    raise ToolError(f"A value of the kind {type(value).__name__} has no other form.")


def _read_yaml(text: str) -> Any:
    import yaml

    loader = yaml.CSafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check_aliases(node)
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ToolError(f"This is no YAML: {str(error)[:300]}") from None
    finally:
        loader.dispose()


def _check_aliases(root: Any) -> None:
    """Count what the document has when each alias is written out: nine lines can make billions."""
    budget, todo = Budget(), [root]
    while todo:
        budget.take(1)
        parts = todo.pop().value
        if isinstance(parts, list):
            todo += [one for part in parts for one in (part if isinstance(part, tuple) else [part])]


def _write_yaml(value: Any) -> str:
    import yaml

    told: str = yaml.dump(value, Dumper=yaml.CSafeDumper, allow_unicode=True, sort_keys=False)
    return told


def _read_toml(text: str) -> Any:
    if _DOTTED.search(text):
        raise ToolError("A key has more than 20 parts. Write tables like [a.b] instead.")
    return tomllib.loads(text)


def _write_toml(value: Any) -> str:
    if not isinstance(value, dict):
        raise ToolError("TOML is made of an object.")
    return "".join(_toml_table(value, ())).lstrip("\n")


def _toml_table(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    lines = [f"{_key(k)} = {_inline(v)}\n" for k, v in table.items() if not isinstance(v, dict)]
    if path and (lines or not table):
        lines.insert(0, f"\n[{'.'.join(map(_key, path))}]\n")
    for name, part in table.items():
        if isinstance(part, dict):
            lines += _toml_table(part, (*path, name))
    return lines


def _inline(value: Any) -> str:
    if value is None:
        raise ToolError("TOML has no null: leave the key out.")
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_key(k)} = {_inline(v)}' for k, v in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_inline, value))}]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _inline(name)


def _read_xml(text: str) -> Any:
    import defusedxml
    import defusedxml.ElementTree

    try:
        root = defusedxml.ElementTree.fromstring(text, forbid_dtd=True)
    except defusedxml.DefusedXmlException:
        raise ToolError(
            "XML with a DTD or entities of its own is not read. Take them out."
        ) from None
    except defusedxml.ElementTree.ParseError as error:
        raise ToolError(f"This is no XML: {error}.") from None
    return {root.tag: _of_element(root, Budget())}


def _of_element(element: Any, budget: Budget) -> Any:
    budget.take(1 + len(element.attrib))
    found: dict[str, Any] = {f"@{name}": value for name, value in element.attrib.items()}
    for child in element:
        told = _of_element(child, budget)
        if child.tag not in found:
            found[child.tag] = told
        elif isinstance(found[child.tag], list):
            found[child.tag].append(told)
        else:
            found[child.tag] = [found[child.tag], told]
    text = (element.text or "").strip()
    if not found:
        return text or None
    return {**found, "#text": text} if text else found


def _write_xml(value: Any) -> str:
    from xml.etree import ElementTree as ET

    if not isinstance(value, dict) or len(value) != 1:
        raise ToolError('XML is made of an object with one field, its root: {"root": …}.')
    ((name, content),) = value.items()
    made = _element(ET, name, content)
    ET.indent(made)
    return f"{ET.tostring(made, encoding='unicode')}\n"


def _element(ET: Any, name: str, content: Any) -> Any:  # noqa: N803 - the module's usual name
    if not _XML_NAME.fullmatch(name):
        raise ToolError(f"{name[:80]!r} is no name of an XML element.")
    made = ET.Element(name)
    if not isinstance(content, dict):
        if isinstance(content, list):
            raise ToolError(f"The list {name!r} stands in no object.")
        made.text = None if content is None else _xml_text(content)
        return made
    for key, part in content.items():
        if key == "#text":
            made.text = _xml_text(part)
        elif key.startswith("@") and _XML_NAME.fullmatch(key[1:]):
            made.set(key[1:], _xml_text(part))
        else:
            made.extend(
                [_element(ET, key, one) for one in (part if isinstance(part, list) else [part])]
            )
    return made


def _xml_text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    if any(ord(sign) < ord(" ") and sign not in "\t\n\r" for sign in text):
        raise ToolError("XML has no control characters. Take them out.")
    return text


def _write_rows(value: Any) -> str:
    return write_csv(value if isinstance(value, list) else [value])


_READ: Mapping[Format, Callable[[str], Any]] = {
    "json": json.loads,
    "yaml": _read_yaml,
    "toml": _read_toml,
    "csv": read_csv,
    "xml": _read_xml,
}
_WRITE: Mapping[Format, Callable[[Any], str]] = {
    "json": lambda value: json.dumps(value, ensure_ascii=False, indent=2),
    "yaml": _write_yaml,
    "toml": _write_toml,
    "csv": _write_rows,
    "xml": _write_xml,
}

TOOLS = (convert_data,)
