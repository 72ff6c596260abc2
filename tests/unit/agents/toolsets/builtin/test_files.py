"""Tools of files: nothing leads out of their folder, and what is written is whole."""

from __future__ import annotations

import errno
import io
import os
import struct
import subprocess
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import openpyxl
import pypdf
import pytest

from agents.tools.calls import ToolError
from agents.toolsets.builtin.files.changing import apply_patch, edit_file, write_file
from agents.toolsets.builtin.files.documents import read_document
from agents.toolsets.builtin.files.moving import archive_files
from agents.toolsets.builtin.files.reading import (
    file_info,
    find_files,
    list_files,
    read_file,
    search_files,
)
from agents.toolsets.builtin.files.root import Root
from agents.toolsets.builtin.files.writing import UNFINISHED, digest_of
from tests.unit.agents.toolsets.builtin.support import called_at, fill

SECRET = "never to be seen"


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """The root, beside a folder whose name begins like its own, with a secret."""
    outside = tmp_path / "root2"
    outside.mkdir()
    (outside / "secret.txt").write_text(SECRET)
    folder = tmp_path / "root"
    folder.mkdir()
    fill(folder)
    (folder / "link").symlink_to(outside)
    (folder / "file_link").symlink_to(outside / "secret.txt")
    (folder / "dangling").symlink_to(outside / "new.txt")
    os.link(outside / "secret.txt", folder / "hard")
    os.mkfifo(folder / "pipe")
    return folder


@pytest.fixture
def root(top: Path) -> Root:
    return Root(top)


ESCAPES = [
    *("../root2/secret.txt", "docs/../../root2/secret.txt", "/etc/passwd", "//etc/passwd"),
    *("docs//a.txt", "./docs/a.txt", "..", "docs/..", "a\0b", "x" * 300, "a/" * 50 + "b"),
    *("link/secret.txt", "link/new.txt", "link/deep/new.txt", "file_link", "dangling"),
    *("docs\\..\\a", "hard", "pipe", "docs/a.txt/b", "\udcff\ud800"),
]
ACTS: dict[str, Callable[[Root, str], Any]] = {
    "read": read_file,
    "write": lambda root, path: write_file(root, path, "x"),
    "edit": lambda root, path: edit_file(root, path, "never", "ever"),
    "list": list_files,
    "patch": lambda root, path: apply_patch(
        root, f"--- a/{path}\n+++ b/{path}\n@@ -1 +1 @@\n-{SECRET}\n+x\n"
    ),
    "make": lambda root, path: apply_patch(
        root, f"--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+x\n"
    ),
    "pack": lambda root, path: archive_files(root, "zip", "z.zip", path),
    "unpack": lambda root, path: archive_files(root, "unzip", "z.zip", path),
    "move": lambda root, path: called_at({"root": root}, "files.move_file", path=path, to="b"),
    "move to": lambda root, path: called_at(
        {"root": root}, "files.move_file", path="docs/a.txt", to=path, overwrite=True
    ),
    "delete": lambda root, path: called_at({"root": root}, "files.delete_file", path=path),
}
#: Of one name, they are moved and deleted as such, and nothing outside is touched.
ITS_OWN = {("hard", "move"), ("hard", "delete"), ("hard", "move to")}


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("path", ESCAPES, ids=repr)
def test_nothing_leads_out(top: Path, root: Root, path: str, act: str) -> None:
    (top / "z.zip").write_bytes(packed({"n.txt": b"x"}))
    begun = time.monotonic()
    if (path, act) in ITS_OWN:
        ACTS[act](root, path)
    else:
        with pytest.raises(ToolError):
            ACTS[act](root, path)
    assert time.monotonic() - begun < 5  # and a pipe holds nobody up
    assert [*(top.parent / "root2").iterdir()] == [top.parent / "root2" / "secret.txt"]
    assert (top.parent / "root2" / "secret.txt").read_text() == SECRET


def test_walks_follow_no_links(root: Root) -> None:
    listed = list_files(root, "", 9)["entries"]
    assert not [line for line in listed if "link" in line or "secret" in line]
    assert search_files(root, SECRET)["hits"] == []  # nor is a hard link read
    assert find_files(root, "**/secret*")["files"] == []
    assert file_info(root, "link")["kind"] == "link"


SWAPPER = """
import contextlib, os, shutil, sys
here, there = sys.argv[1:]
print("begun", flush=True)
while True:
    for target in (there, None):
        for one in (here + ".new", here + ".old"):
            with contextlib.suppress(OSError):
                os.unlink(one)
            shutil.rmtree(one, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.symlink(target, here + ".new") if target else os.mkdir(here + ".new")
            os.rename(here, here + ".old")
            os.rename(here + ".new", here)
"""


@pytest.fixture
def swapping(top: Path) -> Iterator[None]:
    """A process that makes a folder a link that leads out, and a folder again, in a loop."""
    (top / "swapped").mkdir()
    given = [str(top / "swapped"), str(top.parent / "root2")]
    process = subprocess.Popen([sys.executable, "-c", SWAPPER, *given], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    yield
    alive = process.poll() is None
    process.kill()
    process.wait()
    process.stdout.close()
    assert alive


@pytest.mark.usefixtures("swapping")
def test_a_link_that_is_swapped_meanwhile_leads_nowhere(top: Path, root: Root) -> None:
    (top.parent / "root2" / "plain.txt").write_text(SECRET)  # of one name: it could be read
    refused: Counter[str] = Counter()
    number = 0
    while number < 10_000 or not {"link", "no"} <= refused.keys():
        number += 1
        try:
            if not number % 10:
                write_file(root, f"swapped/{number}.txt", "x")
            elif SECRET in read_file(root, "swapped/plain.txt")["text"]:
                break
        except ToolError as error:
            refused["link" if "link" in str(error) else "no"] += 1
    assert number >= 10_000
    assert {one.name for one in (top.parent / "root2").iterdir()} == {"secret.txt", "plain.txt"}


def test_what_is_written_is_whole_and_once(top: Path, root: Root) -> None:
    first = write_file(root, "new/b.txt", "one", if_absent=True)
    again = write_file(root, "new/b.txt", "one", if_absent=True)
    assert (first["changed"], again["changed"]) == (True, False)
    with pytest.raises(ToolError, match="already"):
        write_file(root, "new/b.txt", "two", if_absent=True)
    with pytest.raises(ToolError, match="read it again"):
        write_file(root, "new/b.txt", "two", expected_sha256="0" * 64)
    (top / "new" / "b.txt").chmod(0o600)
    write_file(root, "new/b.txt", "two", expected_sha256=digest_of(b"one"))
    assert (top / "new" / "b.txt").stat().st_mode & 0o777 == 0o600
    assert [one.name for one in (top / "new").iterdir()] == ["b.txt"]


def test_a_write_that_fails_leaves_the_file(
    top: Path, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ToolError, match="disk is full"):
        write_file(root, "docs/a.txt", "other")
    assert (top / "docs" / "a.txt").read_text() == "a cat\na dog\n"
    assert not [*top.rglob(f"{UNFINISHED}*")]


def test_an_edit_replaces_what_stands_there_once(top: Path, root: Root) -> None:
    file = top / "docs" / "a.txt"
    file.write_bytes(b"\tone\r\n\xfftwo\r\n\tone more\r\n")
    before = digest_of(file.read_bytes())
    edit_file(root, "docs/a.txt", "two", "2", before)
    assert file.read_bytes() == b"\tone\r\n\xff2\r\n\tone more\r\n"
    assert not edit_file(root, "docs/a.txt", "two", "2", before)["changed"]  # a retry
    for old, word in (("one", "2 times"), ("  ", "blanks"), ("one  more", "nearest is line 3")):
        with pytest.raises(ToolError, match=word):
            edit_file(root, "docs/a.txt", old, "x")


PATCH = (
    "--- a/docs/a.txt\n+++ b/docs/a.txt\n@@ -1,2 +1,2 @@\n a cat\n-a dog\n+a cow\n"
    "--- /dev/null\n+++ b/new/c.txt\n@@ -0,0 +1 @@\n+new\n"
    "--- a/docs/mail.eml\n+++ /dev/null\n@@ -1,5 +0,0 @@\n"
    "-From: ann@example.com\n-Subject: A plan\n-Content-Type: text/plain\n-\n-See you.\n"
)
PATCHED = {"docs/a.txt": "a cat\na cow\n", "new/c.txt": "new\n"}


def texts(top: Path) -> dict[str, str]:
    return {
        str(one.relative_to(top)): one.read_text()
        for folder in ("docs", "new")
        for one in (top / folder).rglob("*")
    }


def test_a_patch_is_applied_to_all_files_or_to_none(top: Path, root: Root) -> None:
    before = texts(top)
    with pytest.raises(ToolError, match="does not fit"):
        apply_patch(root, PATCH.replace("-See you.", "-See me."))
    assert texts(top) == before
    with pytest.raises(ToolError, match="lines around"):
        apply_patch(root, "--- a/docs/a.txt\n+++ b/docs/a.txt\n@@ -0,0 +1 @@\n+x\n")
    assert [*apply_patch(root, PATCH).values()] == ["changed", "made", "deleted"]
    assert texts(top) == PATCHED
    # A retry after a worker that died in the middle.
    (top / "docs" / "a.txt").write_text("a cat\na dog\n")
    again = apply_patch(root, PATCH)
    assert [*again.values()] == ["changed", "made before", "deleted before"]
    assert texts(top) == PATCHED


def test_a_patch_whose_last_file_cannot_be_written_is_undone(
    top: Path, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, unlink = texts(top), os.unlink

    def refused(path: str, **given: Any) -> None:
        if path == "mail.eml":
            raise PermissionError(13, "Permission denied")
        unlink(path, **given)

    monkeypatch.setattr(os, "unlink", refused)
    with pytest.raises(ToolError):
        apply_patch(root, PATCH)
    assert texts(top) == before


def test_what_is_deleted_can_be_brought_back(top: Path, root: Root) -> None:
    gone = called_at({"root": root}, "files.delete_file", path="docs")["trash"]
    assert not (top / "docs").exists()
    assert not [line for line in list_files(root, "", 9)["entries"] if "a.txt" in line]
    called_at({"root": root}, "files.move_file", path=gone, to="docs")
    assert (top / "docs" / "a.txt").exists()
    with pytest.raises(ToolError, match="overwrite"):
        called_at({"root": root}, "files.move_file", path="docs/a.txt", to="docs/mail.eml")


def test_a_quota(top: Path) -> None:
    used = sum(
        one.lstat().st_size for one in top.rglob("*") if one.is_symlink() or not one.is_dir()
    )
    root = Root(top, used + 200)
    write_file(root, "b.txt", "x" * 90)
    with pytest.raises(ToolError, match="may have"):
        write_file(root, "c.txt", "x" * 150)


def test_a_search_leaves_out_what_gitignore_says(top: Path, root: Root) -> None:
    (top / ".gitignore").write_text("*.log\nbuild/\n!keep.log\n/docs/mail.*\n")
    for name in ("x.log", "keep.log", "build/x.txt", ".git/x.txt", "docs/build", "docs/a.md"):
        (top / name).parent.mkdir(exist_ok=True)
        (top / name).write_text("See this\n")
    found = {one["path"] for one in search_files(root, "see", regex=True)["hits"]}
    assert found == set()
    found = {one["path"] for one in search_files(root, "See ")["hits"]}
    assert found == {"keep.log", "docs/build", "docs/a.md"}
    assert {one["path"] for one in search_files(root, "See", glob="**/*.md")["hits"]} == {
        "docs/a.md"
    }
    assert [one["path"] for one in find_files(root, "*.md", "docs")["files"]] == ["docs/a.md"]


def test_a_file_in_another_encoding(top: Path, root: Root) -> None:
    (top / "latin.txt").write_bytes("Größe und Übergrößen für die Küche\n".encode("latin-1") * 9)
    assert "Größe" in read_file(root, "latin.txt")["text"]
    (top / "wide.txt").write_text("Größe", encoding="utf-16")
    assert read_file(root, "wide.txt")["text"] == "Größe"
    (top / "binary").write_bytes(b"\0\1\2")
    with pytest.raises(ToolError, match="no text"):
        read_file(root, "binary")


def packed(
    files: dict[str, bytes], *, link: str = "", compression: int = zipfile.ZIP_DEFLATED
) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", compression) as pack:
        for name, data in files.items():
            pack.writestr(name, data)
        if link:
            info = zipfile.ZipInfo(link)
            info.external_attr = 0o120777 << 16
            pack.writestr(info, "/etc/passwd")
    return made.getvalue()


def lying(data: bytes, size: int) -> bytes:
    """The same, whose index says that its one file has so many bytes."""
    at = data.index(b"PK\x01\x02")
    return data[: at + 24] + size.to_bytes(4, "little") + data[at + 28 :]


def of_zip64(data: bytes, *, members: int) -> bytes:
    """The same, whose size stands in ZIP64's record; the other one says so many members."""
    end = data.rindex(b"PK\x05\x06")
    count, size, start = struct.unpack_from("<HLL", data, end + 10)
    about = (44, 45, 45, 0, 0, count, count, size, start)
    record = struct.pack("<4sQHHLLQQQQ", b"PK\x06\x06", *about)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    told = struct.pack("<4sHHHHLLH", b"PK\x05\x06", 0, 0, members, members, 46 * members, start, 0)
    return data[:end] + record + locator + told


def of_two_ends(data: bytes) -> bytes:
    """The same; before its locator stands another record, which tells of one member alone."""
    whole = of_zip64(data, members=1)
    at = whole.rindex(b"PK\x06\x07")
    about = (44, 45, 45, 0, 0, 1, 1, 46, 0)
    return whole[:at] + struct.pack("<4sQHHLLQQQQ", b"PK\x06\x06", *about) + whole[at:]


#: Made where they are tried: to make them takes a second.
BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "leads out": (lambda: packed({"../out.txt": b"x"}), "leads out"),
    "absolute": (lambda: packed({"/out.txt": b"x"}), "relative"),
    "a link": (lambda: packed({"a": b"x"}, link="b"), "link"),
    "big": (lambda: packed({f"{n}": b"\0" * 9_000_000 for n in range(4)}), "30,000,000"),
    "one big": (lambda: packed({"a": b"\0" * 11_000_000}), "10,000,000"),
    "many": (lambda: packed({str(n): b"" for n in range(5_001)}), "5,000"),
    "many, hidden": (
        lambda: of_zip64(packed({str(n): b"" for n in range(5_001)}), members=1),
        "5,000",
    ),
    "many, behind another end": (
        lambda: of_two_ends(packed({str(n): b"" for n in range(5_001)})),
        "5,000",
    ),
    "half of a ZIP64": (
        lambda: of_zip64(packed({"a": b"x"}), members=1).replace(b"PK\6\6", b"PK\0\0"),
        "end",
    ),
    "garbled": (lambda: packed({"a": b"x" * 999}).replace(b"a\xab", b"a\xff", 1), "cannot be read"),
    # Of these bytes, bzip2's reader raises an OSError, as a disk does.
    "garbled bzip2": (
        lambda: packed({"a": b"x" * 999}, compression=zipfile.ZIP_BZIP2).replace(
            b"1AY&SY", b"1AY&SX"
        ),
        "cannot be read: Invalid data",
    ),
    "a lie": (lambda: lying(packed({"a": b"\0" * 9_000_000}), 10), "cannot be read"),
    "broken": (lambda: packed({"a": b"x" * 99})[:-40], "no ZIP"),
    "no zip": (lambda: b"PK\x05\x06", "no ZIP"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_archives_that_are_bombs(top: Path, root: Root, name: str) -> None:
    made, word = BOMBS[name]
    (top / "z.zip").write_bytes(made())
    begun = time.process_time()
    with pytest.raises(ToolError, match=word):
        archive_files(root, "unzip", "z.zip", "out")
    assert time.process_time() - begun < 5
    assert not (top / "out" / "0").exists()


def test_packing_and_unpacking(top: Path, root: Root) -> None:
    archive_files(root, "zip", "docs.zip", "docs")
    for _ in range(2):  # a retry writes the same
        assert archive_files(root, "unzip", "docs.zip", "copy")["files"] == 2
    assert (top / "copy" / "a.txt").read_text() == "a cat\na dog\n"
    assert archive_files(root, "list", "docs.zip")["files"][0] == "a.txt 12"
    (top / "64.zip").write_bytes(of_zip64((top / "docs.zip").read_bytes(), members=2))
    assert archive_files(root, "unzip", "64.zip", "copy64")["files"] == 2


@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "Input/output error"), OSError("a broken disk")]
)
def test_what_fails_beside_reading_the_archive_is_told_as_that(
    top: Path, root: Root, error: OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    (top / "a.zip").write_bytes(packed({"a.txt": b"x"}))

    def broken(_file: int) -> None:
        raise error

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(ToolError, match=rf"^out/a\.txt: {error.strerror or error}\.$"):
        archive_files(root, "unzip", "a.zip", "out")


def workbook() -> bytes:
    book = openpyxl.Workbook()
    assert book.active is not None
    book.active.append(["city", 5, None, True])
    made = io.BytesIO()
    book.save(made)
    return made.getvalue()


def rewritten(data: bytes, name: str, change: Callable[[bytes], bytes]) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as pack:
        files = {one: pack.read(one) for one in pack.namelist()}
    return packed({**files, name: change(files[name])})


def pdf(text: str, *, loop: bool = False) -> bytes:
    writer = pypdf.PdfWriter()
    page = writer.add_blank_page(100, 100)
    stream = pypdf.generic.DecodedStreamObject()
    stream.set_data(f"BT /F1 9 Tf 9 9 Td ({text}) Tj ET".encode())
    name = pypdf.generic.NameObject
    page[name("/Contents")] = writer._add_object(stream)
    font = {"/Type": "/Font", "/Subtype": "/Type1", "/BaseFont": "/Helvetica"}
    told = pypdf.generic.DictionaryObject({name(k): name(v) for k, v in font.items()})
    fonts = pypdf.generic.DictionaryObject({name("/F1"): told})
    page[name("/Resources")] = pypdf.generic.DictionaryObject({name("/Font"): fonts})
    if loop:
        kids: Any = writer._pages.get_object()
        kids["/Kids"].append(writer._pages)  # its own child
    made = io.BytesIO()
    writer.write(made)
    return made.getvalue()


SHEET = "xl/worksheets/sheet1.xml"
WORD = (
    '<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>'
    "<w:p><w:r><w:t>One</w:t><w:tab/><w:t>two</w:t></w:r></w:p><w:p/></w:body></w:document>"
)
DOCUMENTS: dict[str, tuple[bytes, str]] = {
    "a.xlsx": (workbook(), "# Sheet\ncity\t5\t\tTrue"),
    "cells.xlsx": (
        rewritten(
            workbook(),
            SHEET,
            lambda data: data.replace(b'ref="A1:D1"', b'ref="A1:XFD1048576"'),
        ),
        "# Sheet\ncity\t5\t\tTrue",
    ),
    "rows.xlsx": (
        rewritten(
            workbook(), SHEET, lambda data: data.replace(b'<row r="1"', b'<row r="99999999"')
        ),
        "(The first 200 rows.)",
    ),
    "a.docx": (packed({"word/document.xml": WORD.encode()}), "One\ttwo\n"),
    "a.pdf": (pdf("Hello there"), "Hello there"),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents(top: Path, root: Root, name: str) -> None:
    data, text = DOCUMENTS[name]
    (top / name).write_bytes(data)
    assert text in read_document(root, name)["text"]
    with pytest.raises(ToolError, match="has 1 pages"):
        read_document(root, name, 2)


ODD: dict[str, bytes] = {
    "bomb.docx": packed(
        {"word/document.xml": b" " * 9_999_999, "a": b" " * 9_999_999, "b": b"bbb"}
    ),
    "entities.docx": packed(
        {"word/document.xml": b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"},
    ),
    "broken.pdf": pdf("x")[:200],
    "broken.xlsx": packed({"a": b"x"}),
    "text.txt": b"x",
}


@pytest.mark.parametrize("name", ODD)
def test_documents_that_are_broken_or_bombs(top: Path, root: Root, name: str) -> None:
    (top / name).write_bytes(ODD[name])
    with pytest.raises(ToolError):
        read_document(root, name)


def test_a_document_that_loops_ends(top: Path, root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    (top / "loop.pdf").write_bytes(pdf("x", loop=True))
    begun = time.monotonic()
    with suppress(ToolError):
        read_document(root, "loop.pdf", 3)
    assert time.monotonic() - begun < 20

    def endless(_stream: Any) -> None:
        while True:
            try:
                len(repr(_stream))
                digest_of(b"")
            except Exception:  # noqa: BLE001 - as parsers do
                continue

    monkeypatch.setattr(pypdf, "PdfReader", endless)
    with pytest.raises(ToolError, match="too long"):
        read_document(root, "loop.pdf")
    assert sys.getprofile() is None
