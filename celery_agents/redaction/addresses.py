"""Secrets in URLs: what stands before the host, and paths that are passwords."""

from __future__ import annotations

import re

from celery_agents.redaction.judging import HIDDEN, is_random

#: Up to the last ``@`` of what may be one URL: passwords hold ``/`` and ``@``, too.
BEFORE_HOST = re.compile(r"""://((?>(?:[^\s"'<>@]{0,256}+@)+))""")
_USER = re.compile(r"[^:/?#]*+")
_PORT = re.compile(r"\d{1,5}+(?![\w@])")
#: Whoever has the URL may write there.
HOOK = re.compile(
    r"""(?x)
    ( hooks\.slack\.com/(?:services|workflows|triggers)/
    | discord(?:app)?\.com/api/(?:v\d{1,2}/)?webhooks/
    | (?:webhook|outlook)\.office(?:365)?\.com/webhook(?:b2)?/
    | hooks\.zapier\.com/hooks/catch/
    | open\.(?:feishu|larksuite)\.(?:cn|com)/open-apis/bot/v2/hook/
    | maker\.ifttt\.com/trigger/[\w-]{1,64}+/with/key/
    | api\.telegram\.org/(?:file/)?bot
    )
    [^\s"'<>]++
    """
)
_LONG_USER = 16


def hide_in_addresses(text: str) -> str:
    """The text without passwords in URLs."""
    if "://" not in text:
        return HOOK.sub(rf"\1{HIDDEN}", text) if "/hooks/" in text or ".com/" in text else text
    out, done, at = [], 0, 0
    while found := BEFORE_HOST.search(text, at):
        start, end = _secret(text, found)
        at = max(end, found.start(1))
        if end > start:
            out += [text[done:start], HIDDEN]
            done = end
    return HOOK.sub(rf"\1{HIDDEN}", "".join([*out, text[done:]]))


def _secret(text: str, found: re.Match[str]) -> tuple[int, int]:
    """Where the password stands, else the user that is one; an empty span if there is none."""
    start, end = found.start(1), found.end(1) - 1
    user = _USER.match(text, start, end)
    stop = user.end() if user else start
    if stop == end:  # no password
        alone = is_random(text[start:end]) and end - start >= _LONG_USER
        return (start, end) if alone else (start, start)
    if text[stop] != ":" or (stop > start and _PORT.match(text, stop + 1)):
        return start, start
    if is_random(text[start:stop]) and stop - start >= _LONG_USER:
        return start, end
    return stop + 1, end
