"""Addresses of people and of their machines: e-mail, IPv4, IPv6."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address

from agents.guarding.finding import Finding, matches

#: Local parts and labels as people have them, in any script (RFC 6531); no quoted ones.
_EMAIL = re.compile(
    r"(?<![\w.+%-])[\w.+%'-]{0,63}[\w+%-]@(?:[\w-]{1,63}\.){1,8}[^\W\d_][\w-]{0,61}[^\W_](?!@)"
)
#: ``icon@2x.png``; ``git@host:path``; a password before a host.
_SCALE = re.compile(r"@\dx\.")
_USER_INFO = re.compile(r"://[^\s/@]{0,200}$")

_IPV4 = re.compile(r"(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])")
#: What makes four small numbers a version or a chapter, and what makes them an address.
_VERSION = re.compile(
    r"(?i)(?:\bv|version|release|build|firmware|driver|section|chapter|clause|§|kapitel|upgrade|"
    r"ver\.?|rev\.?)[ :=]{0,2}(?:to |no\. )?$"
)
_ADDRESS = re.compile(r"(?i)\b(?:ip|ipv4|addr|address|adresse|host|from|client|server|login)\b")
_NEAR = 24
#: Characters before an ``@``, behind it with those that end it, and of an IP.
_LOCAL, _DOMAIN, _IP = 65, 580, 44
#: Groups of an IPv6 address that are written; with fewer, ``a::b`` is a name of some language.
_GROUPS = 3
_SMALL = 10


def emails(text: str) -> Iterator[Finding]:
    """Addresses of e-mail."""
    if "@" not in text:
        return
    for match in matches(_EMAIL, text):
        start, end = match.span()
        shown = match.group()
        remote = text[end : end + 1] == ":" and text[end + 1 : end + 2].strip() != ""
        behind = text[max(0, start - 200) : start]
        if ".." in shown or _SCALE.search(shown) or remote or _USER_INFO.search(behind):
            continue
        yield Finding(start, end, "email")


def open_email(text: str) -> int:
    """Return from where on an address of e-mail may still begin, or become another one."""
    at = len(text)
    least = max(0, at - _LOCAL)
    while at > least and _is_local(text[at - 1]):
        at -= 1
    # Behind an @ the domain may go on, and the two characters behind it say whether it is one.
    ended, least = max(0, len(text) - 2), max(0, len(text) - _DOMAIN)
    if (place := text.find("@", ended)) >= 0:
        at = min(at, place - _LOCAL)
    while ended > least and _is_label(text[ended - 1]):
        ended -= 1
    if ended and text[ended - 1] == "@":
        at = min(at, ended - 1 - _LOCAL)
    return max(0, at)


def open_ip(text: str) -> int:
    """Return from where on an address of a machine may still begin, or become another one."""
    at, least = len(text), max(0, len(text) - _IP)
    while at > least and not text[at - 1].isspace():
        at -= 1
    return at


def _is_local(character: str) -> bool:
    return character.isalnum() or character in "_.+%'-"


def _is_label(character: str) -> bool:
    return character.isalnum() or character in "_.-"


def ips(text: str) -> Iterator[Finding]:
    """Addresses of machines that may be somebody's: no loopback, no mask, no version."""
    if text.count(".") > 2:  # noqa: PLR2004 - an address has three
        for match in _IPV4.finditer(text):
            if _is_somebodys(match.group()) and not _is_version(text, match):
                yield Finding(*match.span(), "ip")
    if ":" in text:
        for match in _IPV6.finditer(text):
            groups = [group for group in match.group().split(":") if group]
            counted = len(groups) >= _GROUPS and any(map(str.isdecimal, match.group()))
            if counted and _is_somebodys(match.group()):
                yield Finding(*match.span(), "ip")


def _is_somebodys(told: str) -> bool:
    try:
        found = ip_address(told)
    except ValueError:
        return False
    nobodys = found.is_loopback or found.is_multicast or found.is_unspecified
    return not (nobodys or (found.version == 4 and found.is_reserved))  # noqa: PLR2004 - IPv4


def _is_version(text: str, match: re.Match[str]) -> bool:
    before = text[max(0, match.start() - _NEAR) : match.start()]
    if _VERSION.search(before):
        return True
    small = all(int(part) < _SMALL for part in match.group().split("."))
    return small and not _ADDRESS.search(before)
