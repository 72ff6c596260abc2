"""Secrets that stand after a name: ``password=…``, ``"apiKey": "…"``, ``Authorization: …``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from celery_agents.redaction.judging import (
    HIDDEN,
    LOOKED_AT,
    has_any,
    is_code,
    is_number,
    is_path,
    is_placeholder,
    is_random,
    is_word,
)


class NameKind(Enum):
    """How much a name says about what follows it."""

    #: What follows is a secret, unless it is a word of prose.
    PASSWORD = "password"  # noqa: S105 - no password
    #: The same, but it may well be a number or a word.
    KEY = "key"
    #: What follows is a secret if it looks like one.
    MAYBE = "maybe"
    #: A header: a scheme and what it asks for.
    HEADER = "header"
    COOKIE = "cookie"


#: A name, which may be quoted, and what stands between it and its value.
NAME = re.compile(
    r"""(?ix)
    (?<![\w.-]) (?P<name> [\w.-]++ )
    (?: (?>(?: \\{0,4}+["'`]|&(?:quot|\#34|\#39|\#x27);|%22|%27|\[\]|\]|\)|["']\] )?)
        \s{0,8}+
        (?P<sep> :=|=>|->|={1,2}|::?|%3d|%3a|\\u003[ad]|\||,(?=\s?[bru]?["'])|>(?=[^\s<>]) )
    | (?P<gap> \s{1,8}+(?:is|was):?\s|\s{1,4}+(?=["'`]) ) )
    """
)
FLAG = re.compile(r"(?<![\w-])(?P<name>--[A-Za-z][\w-]{1,60}+)(?P<gap>[ \t]{1,4}+)(?=[^\s-])")
#: One of these is in each name of a secret: to look for them alone is quicker.
_HINTS = (
    "pass", "pw", "psw", "secret", "token", "key", "auth", "cred", "cookie", "sig", "sess", "sid",
    "jwt", "bearer", "otp", "pin", "code", "cv", "connection", "hook", "phrase", "mnemonic", "dsn",
    "salt", "hmac", "assertion", "verifier", "wort",
)  # fmt: skip

_PASSWORD = re.compile(
    r"password|passwd|passphrase|passwort|kennwort|passcode|(?<![a-z])(?:pwd|pass|pw|psw|pswd)$|"
    r"(?:db|user|admin|root|redis|smtp|my|pg|mail|ftp|proxy|old|new|http|basic|mysql|ldap)"
    r"(?:pass|pwd|pw)$|"
    r"mnemonic|seedphrase|recoveryphrase"
)
_KEY = re.compile(
    r"secret(?!ar|i)|token(?!i[sz]|omic)|credential|connectionstring|"
    r"(?:api|access|private|account|shared|auth|encryption|decryption|signing|signature|master|"
    r"subscription|license|session|deploy|service|app|application|consumer|client|storage|hmac|"
    r"fernet|webhook|ssh|pgp|gpg|crypt|cipher|aes|jwt|admin|root|write|ingest|ingestion|security|"
    r"integration|functions|primarymaster|product|activation|cookie|csrf|registration|x)"
    r"keys?(?!board|word)|"
    r"(?:openai|anthropic|gemini|mistral|cohere|groq|stripe|twilio|sendgrid|mailgun|datadog|sentry|"
    r"github|gitlab|google|maps|azure|aws|heroku|slack|linear|algolia|vault)key$"
)
_MAYBE = re.compile(
    r"signature|^sig$|^auth$|basicauth$|httpauth$|session(?:id)?$|sess(?:id)?$|sid$|jwt|bearer|"
    r"otp$|^hmac$|^pin$|pincode|^cvv$|^cvc$|dsn$|"
    r"webhook|assertion|verifier|recoverycodes?|backupcodes?|authcode|^salt$|passkey|"
    r"authdata|^key$|^code$|accesskeyid|keyid|secretid|tokenid|keyhash|_auth$"
)
_HEADER = re.compile(r"authori[sz]ation$|^xauth$|^auth(?:header)?$")
_COOKIE = re.compile(r"cookies?$")
#: What is told about a secret, not the secret.
_ABOUT = re.compile(
    r"(?:s|es)?(?:count|limit|len|length|type|name|file|path|dir|url|uri|endpoint|expir|ttl|age|"
    r"budget|usage|used|policy|field|size|rate|hint|label|prompt|reset|strength|required|enabled|"
    r"env|var|manager|store|provider|version|algo|rotat|lastused|changed|created|updated|price|"
    r"cost|hashround|round|per|min|max|left|remaining|total|s?in|s?out|format|schema|class|method|bucket|mode|"
    r"status|state|is|valid|error|ref|attempt|retr|scope|arn|not|must|should|can|for)"
)
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]{0,60}_KEY")
_URL_ONLY = frozenset({"key", "code"})
_TIGHT = frozenset({"=", "%3d", ">", ":"})
_CODE = re.compile(r"(?i)(?:\w{0,16}_)?(?:otp|pin)$")
_DIGITS = 4
#: Between a name and a value that may as well be prose, or code.
_SAYS_LESS = frozenset({"", "is", "was", "is:", "was:", "==", "|"})
_SPACES = re.compile(r"[^a-z0-9]+")


@lru_cache(maxsize=2_048)
def kind_of(name: str) -> NameKind | None:
    """Classify a name, in any case and with any separators."""
    words = _SPACES.sub("", name.lower())
    for pattern, kind in _KINDS:
        for found in pattern.finditer(words):
            if not _ABOUT.match(words, found.end()):
                return kind
    return None


_KINDS = (
    (_COOKIE, NameKind.COOKIE),
    (_HEADER, NameKind.HEADER),
    (_PASSWORD, NameKind.PASSWORD),
    (_KEY, NameKind.KEY),
    (_MAYBE, NameKind.MAYBE),
)
#: Characters of a name that are looked at, from its end; and of words before it.
_NAME_END, _BEFORE = 80, 24
_PARTICIPLES = frozenset({"provided", "given", "used", "received", "sent", "value"})
_COMPLETING = _PARTICIPLES | {"key", "keys", "string", "phrase", "id", "code", "header"}

# Where a value ends: at blanks, and at signs that what is around it has, which it may have too.
PLAIN = re.compile(
    r"""(?x)
    (?> (?: [^\s"'`,;&<>)\]}]
    | [,;] (?! [\s,;&)\]}] | $ | \\?["'`] | [\w.-]{1,40}+\s?[=:] | -- )
    | & (?! $ | \s | (?:amp;)?[\w.%-]{1,40}+= | quot; | \#\d | lt; | gt; )
    | ["'`] (?= [^\s"'`,;&<>)\]}:] )
    | [>)\]}] (?= [\w@!#$%^*+=~-] )
    | < (?![/a-zA-Z])
    )* )
    """
)
_OPEN = re.compile(
    r"""(?x) [\s\[(]{0,8}+ (?: [bruf]{0,2} | (?:Secret\w{0,8}|str|bytes|b64decode|quote)\( )
    ( \\{0,4}+["'`] | &(?:quot|\#34|\#39|\#x27); | %22|%27 )"""
)
_SCHEME = re.compile(r"[A-Za-z][\w-]{1,40}+[ \t]{1,4}+(?=\S)")
LINE = re.compile(r"""(?>(?:[^\r\n"'\\]|\\(?![nr])|["'](?=[^\s,}\])]|,?\s?[\w-]{1,40}+=))*)""")
_PAIR = re.compile(r"[\w.%-]{1,64}+=([^\s;]{1,64}+)")
_BLANKS = re.compile(r"[ \t]{0,8}+(?:\||>-?)?(?:\r?\n[ \t]{1,16})?")
_MANY = frozenset({"digest", "oauth", "hawk", "signature", "hmac", "aws4-hmac-sha256"})


@dataclass(frozen=True, slots=True)
class _Place:
    """A name in a text, and where its value may begin."""

    text: str
    name: str
    kind: NameKind
    sep: str
    start: int
    at: int


def may_name(text: str) -> bool:
    """Return whether a secret's name may be in a text; a quick look that says yes too often."""
    return has_any(text.lower(), _HINTS)


def hide_named(text: str) -> str:
    """The text without what stands after names of secrets."""
    if not may_name(text):
        return text
    return _replaced(_replaced(text, NAME), FLAG) if "--" in text else _replaced(text, NAME)


def _replaced(text: str, pattern: re.Pattern[str]) -> str:
    out, done, at = [], 0, 0
    while found := pattern.search(text, at):
        at = found.end()
        if (place := _place(text, found)) and (span := _value(place)):
            at = max(at, span[1])
            out += [text[done : span[0]], HIDDEN]
            done = span[1]
    return "".join([*out, text[done:]]) if out else text


def _place(text: str, found: re.Match[str]) -> _Place | None:
    name = found["name"][-_NAME_END:]
    kind = kind_of(name)
    if kind is None and _VARIABLE.fullmatch(name):
        kind = NameKind.MAYBE
    if kind is None or name.lower() in _URL_ONLY:
        kind = _by_context(text, found.start(), name)
    if kind is None:
        return None
    sep = found.groupdict().get("sep") or found["gap"]
    return _Place(text, name, kind, sep, found.start(), found.end())


def _by_context(text: str, start: int, name: str) -> NameKind | None:
    """``secret access key:`` in words; ``?key=`` in a URL."""
    before = text[max(0, start - _BEFORE) : start]
    if before.endswith(("?", "&")):
        return NameKind.MAYBE if name.lower() in _URL_ONLY else None
    if name.lower() not in _COMPLETING or not before.endswith(" "):
        return None
    words = [*before.split()[-2:], name]
    if name.lower() in _PARTICIPLES:
        words.pop()
    return kind_of("".join(words[-2:]))


# ---------------------------------------------------------------- values


def _value(place: _Place) -> tuple[int, int] | None:
    """Where the secret begins and ends."""
    if opened := _OPEN.match(place.text, place.at):
        return _quoted(place, opened)
    if place.sep.isspace() and not place.name.startswith("--"):
        return None
    blanks = _BLANKS.match(place.text, place.at)
    start = blanks.end() if blanks else place.at
    if place.kind is NameKind.HEADER:
        return _header(place, start)
    if place.kind is NameKind.COOKIE:
        return _cookie(place, start)
    end = _plain_end(place.text, start)
    kept = end - start <= LOOKED_AT and _is_kept(place, place.text[start:end], start, end)
    return None if kept or end == start else (start, end)


def _plain_end(text: str, start: int) -> int:
    found = PLAIN.match(text, start)
    return found.end() if found else start


def _quoted(place: _Place, opened: re.Match[str]) -> tuple[int, int] | None:
    start = opened.end()
    end = _closing(opened[1]).match(place.text, start).end()  # type: ignore[union-attr]
    if end - start > LOOKED_AT:
        return start, end
    return None if _is_quoted_kept(place, place.text[start:end]) else (start, end)


def _is_quoted_kept(place: _Place, word: str) -> bool:
    """Return whether a value in quotes is no secret."""
    if is_placeholder(word) or word[0] in "),;]}":  # the quote was the end of a text
        return True
    if place.kind is NameKind.PASSWORD:
        return False
    if is_word(word) or word[0].isspace() or (place.kind is NameKind.COOKIE and "=" not in word):
        return True
    if place.kind is NameKind.KEY and (is_number(word) or not any(map(str.isalnum, word))):
        return True
    says_less = place.kind in {NameKind.MAYBE, NameKind.HEADER} or place.sep.strip() in _SAYS_LESS
    return says_less and not _any_random(word)


def _any_random(words: str) -> bool:
    return any(is_random(word) for word in words.split()[:8])


@lru_cache(maxsize=32)
def _closing(quote: str) -> re.Pattern[str]:
    """Up to the quote that ends it: one that no letter follows, and no backslash escapes."""
    if quote[0] in "&%":
        return re.compile(rf"(?>(?:(?!{re.escape(quote)})[^\s])*)")
    if quote[0] == "\\":
        return re.compile(rf"(?s)(?>(?:(?!{re.escape(quote)}).)*)")
    return re.compile(rf"(?s)(?>(?:[^{quote}\\]|\\.|{quote}(?=\w))*)")


def _header(place: _Place, start: int) -> tuple[int, int] | None:
    """A scheme with its token, or all that is on the line where that has parameters."""
    text = place.text
    scheme = _SCHEME.match(text, start)
    after = scheme.end() if scheme else start
    end = _plain_end(text, after)
    word = text[after : min(end, after + LOOKED_AT)]
    if scheme and (scheme[0].strip().lower() in _MANY or word.endswith(",")):
        line = LINE.match(text, start) if "=" in word else None
        return (start, line.end()) if line else None
    if len(word) == LOOKED_AT or _is_token(place, scheme, word):
        return start, end
    if scheme and is_random(scheme[0].strip()):
        return start, start + len(scheme[0].rstrip())
    return None


def _is_token(place: _Place, scheme: re.Match[str] | None, word: str) -> bool:
    """Return whether a word after a scheme, or without one, is a token."""
    if not word[:1].strip("([{<") or is_placeholder(word) or is_code(word):
        return False
    if is_word(word):
        return False
    return is_random(word) or (is_scheme(scheme[0]) if scheme else place.sep == "=")


def is_scheme(word: str) -> bool:
    """Return whether a word is one of those that stand before a header's token."""
    return word.strip().lower() in _SCHEMES


_SCHEMES = _MANY | frozenset({
    "bearer", "basic", "token", "apikey", "api-key", "negotiate", "ntlm", "dpop", "bot", "key",
    "sso-key", "genie-key", "geniekey", "splunk", "sharedkey", "sharedaccesssignature", "vapid",
    "pveapitoken", "jwt",
})  # fmt: skip


def _cookie(place: _Place, start: int) -> tuple[int, int] | None:
    first = _PAIR.match(place.text, start)
    if not first or is_placeholder(first[1]):
        return None
    line = LINE.match(place.text, start)
    return start, line.end() if line else start


def _is_kept(place: _Place, word: str, start: int, end: int) -> bool:
    """Return whether a value without quotes is no secret."""
    if is_placeholder(word) or _is_harmless(place, word):
        return True
    if place.kind is NameKind.MAYBE or place.sep.strip() in _SAYS_LESS:
        if _CODE.match(place.name) and word.isdigit():
            return len(word) < _DIGITS
        return not is_random(word) or word.startswith(("def", "http"))
    if is_random(word) or (word.isdigit() and len(word) >= _DIGITS):
        return False
    if place.sep.lower() in _TIGHT and not place.text[start - 1].isspace():
        return place.sep == ":" and place.kind is NameKind.KEY and word.isalpha()
    return not _stands_alone(place, end)


def _is_harmless(place: _Place, word: str) -> bool:
    if is_word(word) or is_path(word) or is_code(word):
        return place.kind is not NameKind.PASSWORD or not _is_tight(place, word)
    if place.kind is not NameKind.PASSWORD and is_number(word) and not _CODE.match(place.name):
        return True
    same = _SPACES.sub("", word.lower())
    return bool(same) and _SPACES.sub("", place.name.lower()).endswith(same)


def _is_tight(place: _Place, word: str) -> bool:
    """``password=/x/y``: a password, in an address or an environment."""
    pwd = place.name.lower() == "pwd"
    return place.sep == "=" and is_path(word) and not pwd


def _stands_alone(place: _Place, end: int) -> bool:
    """Return whether it is a setting on a line of its own: ``password: swordfish``."""
    text = place.text
    rest = text[end : end + 3].lstrip(" ,;\\\"'")
    last = not rest or rest[0] in "\r\n})]" or text[end : end + 2] in {"\\n", "\\r"}
    before = text[max(0, place.start - 64) : place.start].rpartition("\n")[2]
    begins = not before.strip(" \t-\"'{\\,") or before.endswith((", ", "{", "\\n"))
    compound = any(sign in place.name for sign in "_-") or not (
        place.name.islower() or place.name.istitle()
    )
    return (last or compound) and (begins or compound or place.kind is NameKind.PASSWORD)
