"""Documents of office programs as text."""

from __future__ import annotations

import email
import email.policy
import io
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Annotated, Any

from pydantic import Field

from agents.tools.calls import ToolError
from agents.toolsets.builtin.deadlines import TooLateError, deadline
from agents.toolsets.builtin.files.archives import content, members_of, opened
from agents.toolsets.builtin.files.reading import Path
from agents.toolsets.builtin.files.root import Root
from agents.toolsets.builtin.offer import offer

_MAX_UNPACKED = 20_000_000
_LIMIT_S = 0.9
_MAX_CHARACTERS = 200_000
_ROWS, _COLUMNS = 200, 100
_PARAGRAPHS = 200
_HEADERS = ("From", "To", "Cc", "Date", "Subject")
_TAG = re.compile(r"<[^<>]{0,2000}>")
_WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
#: A page's text, and how many pages there are, if that is known.
Paged = tuple[str, int | None]


@offer(
    {"path": "docs/mail.eml"},
    "pypdf",
    "openpyxl",
    "defusedxml",
    home="root",
    effects="idempotent",
    untrusted=True,
)
def read_document(
    root: Root, path: Path, page: Annotated[int, Field(ge=1, le=100_000)] = 1
) -> dict[str, Any]:
    """Reads a page of a PDF, a sheet of XLSX, a part of DOCX, or an e-mail (EML), as text."""
    kind = path.rpartition(".")[2].lower()
    if kind not in _KINDS:
        raise ToolError("PDF, XLSX, DOCX and EML are read here; read_file reads texts.")
    data = root.read(path)
    try:
        with deadline(_LIMIT_S):
            text, pages = _KINDS[kind](data, page)
    except (ToolError, MemoryError):
        raise
    except TooLateError:
        raise ToolError(f"{path} takes too long to read. Give a smaller one.") from None
    except Exception as error:  # noqa: BLE001 - parsers raise anything for what is broken
        reason = f"{type(error).__name__}: {str(error)[:200]}"
        raise ToolError(f"{path} cannot be read as {kind.upper()}: {reason}") from None
    if pages is not None and page > pages:
        raise ToolError(f"{path} has {pages} pages.")
    return {"text": text[:_MAX_CHARACTERS], "page": page, "pages": pages}


def _pdf(data: bytes, page: int) -> Paged:
    import pypdf

    reader = pypdf.PdfReader(io.BytesIO(data))
    pages = len(reader.pages)
    return (reader.pages[page - 1].extract_text() if page <= pages else ""), pages


def _xlsx(data: bytes, page: int) -> Paged:
    import openpyxl

    with opened(data) as pack:
        members_of(pack, _MAX_UNPACKED)
    book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
    sheets = book.worksheets
    if page > len(sheets):
        return "", len(sheets)
    sheet = sheets[page - 1]
    sheet.reset_dimensions()  # a file may declare a billion cells
    lines = [f"# {sheet.title}"]
    rows = islice(sheet.iter_rows(values_only=True, max_col=_COLUMNS), _ROWS)
    lines += ["\t".join("" if c is None else str(c) for c in row).rstrip("\t") for row in rows]
    if len(lines) > _ROWS:
        lines.append(f"(The first {_ROWS} rows.)")
    return "\n".join(lines), len(sheets)


def _docx(data: bytes, page: int) -> Paged:
    import defusedxml.ElementTree as ET  # noqa: N817 - its usual name

    with opened(data) as pack:
        members_of(pack, _MAX_UNPACKED)
        tree = ET.fromstring(content(pack, "word/document.xml"), forbid_dtd=True)
    told = ["".join(_word_text(one)) for one in tree.iter(f"{_WORD}p")]
    pages = max(1, -(-len(told) // _PARAGRAPHS))
    return "\n".join(told[(page - 1) * _PARAGRAPHS : page * _PARAGRAPHS]), pages


def _word_text(paragraph: Any) -> Iterator[str]:
    signs = {f"{_WORD}tab": "\t", f"{_WORD}br": "\n"}
    for part in paragraph.iter():
        if part.tag == f"{_WORD}t":
            yield part.text or ""
        elif part.tag in signs:
            yield signs[part.tag]


def _eml(data: bytes, _page: int) -> Paged:
    mail = email.message_from_bytes(data, policy=email.policy.default)
    lines = [
        f"{name}: {mail[name]}" for name in ("From", "To", "Cc", "Date", "Subject") if mail[name]
    ]
    body = mail.get_body(("plain", "html"))
    if body is not None:
        text = body.get_content()
        markup = body.get_content_subtype() == "html"
        lines += ["", _TAG.sub(" ", text) if markup else text]
    names = [part.get_filename() or "unnamed" for part in mail.iter_attachments()]
    return "\n".join([*lines, *(f"Attached: {name}" for name in names)]), 1


_KINDS: Mapping[str, Callable[[bytes, int], Paged]] = {
    "pdf": _pdf,
    "xlsx": _xlsx,
    "docx": _docx,
    "eml": _eml,
}

TOOLS = (read_document,)
