"""Secrets that are known by their looks alone: vendors' prefixes, PEM blocks, JSON web tokens."""

from __future__ import annotations

import re

from celery_agents.redaction.judging import HIDDEN, has_any, is_key_like, is_random

#: A key to its end, or to the text's: PEM, OpenSSH, PGP; with newlines as they are or as ``\n``.
BLOCK = re.compile(
    r"-----BEGIN(?=[A-Z0-9 ]{0,40}PRIVATE KEY)[A-Z0-9 ]{0,60}+-----"
    r"(?>(?:[^-]|-(?!----END))*)(?:-----END[A-Z0-9 ]{0,60}+-----)?"
)
#: Pieces in which a key may stand; what is shorter is none.
PIECE = re.compile(r"[A-Za-z0-9_.~+/=$%:|-]{12,}+")
#: By prefix; a tail of so many characters makes it a key.
_PREFIXES = r"""
    A(?:KIA|SIA|GPA|IDA|ROA|IPA|NPA|NVA|BIA|CCA|PKA|KID)[A-Z0-9]{12,}+ | LTAI[A-Za-z0-9]{12,}+
  | ABSK[A-Za-z0-9+/=]{20,}+ | bedrock-api-key-[\w+/=-]{16,}+
  | AIza[\w-]{16,}+ | GOCSPX-[\w-]{10,}+ | ya29\.[\w.-]{10,}+ | 1//0[\w-]{16,}+
  | gh[pousr]_\w{16,}+ | github_pat_\w{16,}+ | v1\.[0-9a-f]{40}
  | gl(?:pat|dt|rt|cbt|ptt|ft|soat|imt|agent|ffct|oas|rtr|wt)-[\w.-]{12,}+ | GR1348941[\w-]{12,}+
  | AT(?:ATT|CTT|BB|OA)[\w=.+/-]{16,}+ | bb[dp]c-[\w+/=]{16,}+
  | (?:gsk|tgp_v1|jina|figd|sbp|sb_secret|rubygems|duffel_(?:test|live)|lin_api|lin_oauth
      |dop_v1|doo_v1|dor_v1|glsa|glc|gls|sntrys|sntryu|bkua|essu|phc|phx|phs|xau)_[\w=+/-]{12,}+
  | (?:pscale_(?:tkn|pw|oauth|otkn)|dckr_(?:pat|oat)|shp(?:at|ca|pa|ss|tka|ua))_[\w.-]{12,}+
  | ca_[0-9a-z]{8}_[\w-]{20,}+ | (?:shippo|fo1|fm[12]|lsv2_(?:pt|sk)|whsec|wandb_v1)_[\w+/=-]{12,}+
  | (?:pplx|nvapi|tvly|pcsk|CFPAT|CCIPAT|CLOJARS)[-_][\w-]{16,}+
  | (?:pypi|tskey|pat-(?:na|eu|ap)[0-9]|PMAK|HRKU|NR(?:AK|JS|II|RA|AL)
      |FLWSECK(?:_TEST)?)-[\w.-]{12,}+
  | (?:sdk|mob|api|live|test|access-(?:sandbox|production|development))-[0-9a-f]{8}-[0-9a-f-]{16,}+
  | SG\.[\w.-]{16,}+ | key-[0-9a-f]{16,}+ | [0-9a-f]{32}-us[0-9]{1,2} | SK[0-9a-f]{32}
  | xox[a-z](?:\.xox[a-z])?-[\w-]{8,}+ | xapp-[\w-]{8,}+ | xwfp-[\w-]{8,}+
  | sq0(?:atp|csp|idp)-[\w-]{10,}+ | EAAA[\w+/=-]{40,}+ | EAA[A-Z][A-Za-z0-9]{40,}+
  | hv[sbr]\.[\w-]{12,}+ | dapi[0-9a-f]{16,}+ | dp\.[a-z]{2,5}\.[\w.-]{12,}+
  | dt0[a-z][0-9]{2}\.[\w.-]{12,}+
  | pat[A-Za-z0-9]{14}\.[0-9a-f]{16,}+ | pat\.[\w-]{10,30}\.[\w.-]{16,}+ | sl\.[\w-]{16,}+
  | AKCp[A-Za-z0-9]{16,}+ | cmVm[A-Za-z0-9+/=]{16,}+ | AQVN[\w-]{20,}+ | t1\.[A-Z0-9a-z-_]{16,}+
  | AGE-SECRET-KEY-1[A-Z0-9]{16,}+ | p8e-[\w-]{16,}+ | oy2[a-z0-9]{43} | BBFF-\w{16,}+
  | EZ[AT]K[A-Za-z0-9]{16,}+ | ico-[A-Za-z0-9]{16,}+ | fio-u-[\w=-]{16,}+ | A3-[A-Z0-9-]{16,}+
  | access_token\$(?:production|sandbox)\$[\w$]{16,}+ | FlyV1[\ ]f[\w+/=,-]{16,}+
  | [A-Za-z0-9]{14}\.atlasv1\.[\w-]{16,}+ | [\w.~-]{3}[0-9]Q~[\w.~-]{16,}+
  | [MNO][\w-]{22,27}\.[\w-]{6}\.[\w-]{16,}+ | (?:bot)?[0-9]{8,10}:A[\w-]{30,}+
  | eyJ[\w.=+/-]{16,}+ | A{20}[\w%]{20,}+
"""
#: These begin words of ours, too, so that their tails have to look like keys.
_WEAK = r"""
    (?P<weak>
      (?: (?:sk|pk|rk|xai|csk|sgp|fc|pa|up|sess|rdme|ops)[-_] | key-
        | (?:hf|r8|fw|re|pul|pnu|sgp|tgp|napi|rnd|ntn|nf[pcu]|fig[ou]|api_org|secret|npm|tfp|lip
            |easypost|clerk|vc[kpiar]|cio|ubi)_ )
      (?P<tail> [\w-]{12,}+ ) )
"""
#: A word begins: after no letter or digit, unless those are an escape's.
_BEGINS = r"(?:(?<![A-Za-z0-9])|(?<=\\[nrt])|(?<=%[0-9A-F]{2}))"
KEY = re.compile(rf"(?x){_BEGINS}(?:{_PREFIXES}|{_WEAK})")
#: What a scheme, a flag or a command says is a secret.
SAID = re.compile(
    r"""(?ix)
    (?P<says> (?<![A-Za-z0-9])(?:bearer|basic|apikey|token|password|secret|key)
        (?:[\ ](?:token|key))?(?>(?:\s|%20|\+){1,3})["'(`]? )
    (?P<word> [^\s"'<>,;(){}\[\]`]{8,}+ )
    | (?P<login> \blogin\s{1,3}\S{1,64}+\s{1,3}password\s{1,3}|\bsshpass\s{1,3}-p\s?
        |\bmysql(?:dump)?(?>(?:\s{1,3}+(?!-p)\S{1,64}+){0,6})\s{1,3}+-p(?=\S)
        |\s(?:-u|--user|--proxy-user|-U)[\s=]["']?[A-Za-z][\w.@-]{0,64}+:
        |:[0-9]{4,5}:[\w*-]{1,64}+:[\w*-]{1,64}+: )
    (?P<after> [^\s"']++ )
    |  \$(?:2[abxy]?|[1567]|y|apr1|argon2(?:id?|d)|scrypt|pbkdf2-sha\d{1,3})\$
    [\w./$,=+-]{16,}+ | \{S?(?:SHA|MD5)\d{0,3}\}[\w./+=-]{16,}+
    """
)
_SURE = 16
_HINTS = (
    "bearer",
    "basic",
    "key",
    "token",
    "passw",
    "secret",
    " -u",
    " -p",
    "user",
    "$",
    "{s",
    "{m",
)
#: A line of a file of passwords: the only thing that has none of those.
_FIELDS = re.compile(r":[0-9]{4,5}:")


def hide_blocks(text: str) -> str:
    """The text without private keys that stand in blocks."""
    return BLOCK.sub(HIDDEN, text) if "-----BEGIN" in text else text


def hide_looks(text: str) -> str:
    """The text without keys that are known by their looks."""
    hidden = PIECE.sub(_in_piece, text)
    if has_any(hidden.lower(), _HINTS) or _FIELDS.search(hidden):
        return SAID.sub(_said, hidden)
    return hidden


def _in_piece(piece: re.Match[str]) -> str:
    return KEY.sub(_key, piece[0])


def _key(found: re.Match[str]) -> str:
    if found["weak"] and not is_key_like(found["tail"]):
        return found[0]
    return HIDDEN


def _said(found: re.Match[str]) -> str:
    if found["login"]:
        return f"{found['login']}{HIDDEN}"
    if found["says"] is None:
        return HIDDEN
    says, word = found["says"], found["word"]
    scheme = says[:2].lower() in {"be", "ba"}
    is_secret = (is_random(word) or word.endswith("=")) if scheme else _is_surely_one(word)
    return f"{says}{HIDDEN}" if is_secret else found[0]


def _is_surely_one(word: str) -> bool:
    return len(word) >= _SURE and is_key_like(word) and "/" not in word
