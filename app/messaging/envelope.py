"""The checks that a message must pass before Celery may touch it.

Plain kombu lets a malformed envelope end the worker, and a body of the wrong form hang a slot.
Whatever fails here becomes a dead letter; a complaint names the place, never the value.
"""

from __future__ import annotations

import base64
import zlib
from typing import Annotated, Any, Literal

from kombu.utils.json import dumps
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from app.messaging.json_codec import loads
from celery_agents.contracts.base import Id, Tenant
from celery_agents.wire.shown import shown_args, shown_kwargs

Text = Annotated[str, Field(min_length=1)]
#: Ids and names of queues: some of them stand in rows, beside the payload and its limit.
Short = Annotated[str, Field(max_length=500)]


class MalformedError(Exception):
    """A message that nobody can run, with the cause as a word and the reason for people."""

    def __init__(self, cause: str, reason: str) -> None:
        super().__init__(reason)
        self.cause = cause


class _Part(BaseModel):
    model_config = ConfigDict(strict=True)  # of the rest nothing is kept: they are only checked


class _Properties(_Part):
    delivery_info: dict[str, Any]
    body_encoding: Literal["base64", "utf-8"] | None = None
    correlation_id: Short | None = None
    reply_to: Short | None = None


class _Envelope(_Part):
    headers: dict[str, Any]
    properties: _Properties
    body: str
    content_type: Annotated[str | None, Field(alias="content-type")] = None
    content_encoding: Annotated[str | None, Field(alias="content-encoding")] = None


class _Headers(_Part):
    """Headers of task messages (protocol 2), as far as Celery would stumble over them."""

    task: Text
    id: Id
    root_id: Short | None = None
    parent_id: Short | None = None
    group: Short | None = None
    group_index: int | None = None
    shadow: str | None = None
    eta: str | None = None
    expires: str | None = None
    retries: int | None = None
    timelimit: list[float | None] | None = Field(default=None, min_length=2, max_length=2)
    argsrepr: str | None = None
    kwargsrepr: str | None = None
    origin: str | None = None
    ignore_result: bool | None = None
    agents_tenant: Tenant | None = None  # names.TENANT
    agents_actor: Short | None = None  # names.ACTOR
    stamps: dict[str, Any] | None = None
    stamped_headers: list[str] | None = None
    replaced_task_nesting: int | None = None


class _Embed(_Part):
    callbacks: list[dict[str, Any]] | None = None
    errbacks: list[dict[str, Any]] | None = None
    chain: list[dict[str, Any]] | None = None
    chord: dict[str, Any] | None = None


_ENVELOPE: TypeAdapter[_Envelope] = TypeAdapter(_Envelope)
_HEADERS: TypeAdapter[_Headers] = TypeAdapter(_Headers)
_BODY: TypeAdapter[tuple[list[Any], dict[str, Any], _Embed | None]] = TypeAdapter(
    tuple[list[Any], dict[str, Any], _Embed | None]  # args, kwargs, embed
)
#: What kombu's producers name zlib, the only compression whose result can be bounded here.
_ZLIB = {"application/x-gzip", "gzip", "zlib"}


def read_envelope(raw: bytes, limit_bytes: int) -> dict[str, Any]:
    """The message in these bytes, as kombu's channel takes it.

    Raises:
        MalformedError: it is none, or its body could not be decoded within the limit.
    """
    try:
        envelope = loads(raw)
    except Exception as error:  # whatever json, its hooks or a deep nesting raise
        raise MalformedError("not_json", f"Not JSON: {type(error).__name__}.") from error
    if not isinstance(envelope, dict):
        raise MalformedError("not_an_object", "The message is no JSON object.")
    _check(_ENVELOPE, envelope, "bad_envelope")
    body = envelope["body"].encode("utf-8", "replace")
    if envelope["properties"].get("body_encoding") == "base64":
        try:
            body = base64.b64decode(body, validate=True)
        except ValueError as error:
            raise MalformedError("bad_base64", "The body is not base64.") from error
    if compression := envelope["headers"].get("compression"):
        _check_compressed(body, compression, limit_bytes)
    return envelope


def _check_compressed(body: bytes, compression: object, limit_bytes: int) -> None:
    if not isinstance(compression, str) or compression not in _ZLIB:
        raise MalformedError("bad_compression", "The body is compressed, and not with zlib.")
    try:
        inflate = zlib.decompressobj()
        inflate.decompress(body, limit_bytes)
    except zlib.error as error:
        raise MalformedError("bad_compression", "The body is not zlib data.") from error
    if inflate.unconsumed_tail:
        raise MalformedError("oversized", f"The body inflates to over {limit_bytes:,} bytes.")
    if not inflate.eof:
        raise MalformedError("bad_compression", "The zlib data breaks off.")


def check_task(message: Any) -> None:
    """Check that a kombu message is a task that Celery can read; decodes its body.

    One of Celery's protocol 1 becomes one of protocol 2, as all else expects them.

    Raises:
        MalformedError: it is none.
    """
    if "task" not in message.headers:
        _raise_protocol(message)
    _check(_HEADERS, message.headers, "bad_headers")
    try:
        body = message.decode()
    except Exception as error:
        name = type(error).__name__
        raise MalformedError(
            "unreadable_body", f"The body is not of an accepted content type: {name}."
        ) from error
    if not isinstance(body, list):
        raise MalformedError("bad_body", "The body is no list of [args, kwargs, embed].")
    _check(_BODY, body, "bad_body")


#: Headers that stand in the body by protocol 1.
_IN_BODY = ("task", "id", "group", "group_index", "retries", "eta", "expires", "timelimit")


def _raise_protocol(message: Any) -> None:
    try:
        told = message.decode()
    except Exception:  # noqa: BLE001 - it has no headers either: that is told
        return
    if not isinstance(told, dict) or "task" not in told:
        return
    args, kwargs = told.get("args") or [], told.get("kwargs") or {}
    embed = {name: told.get(name) for name in ("callbacks", "errbacks", "chord")}
    about = {name: told.get(name) for name in _IN_BODY} | {"root_id": told.get("id")}
    if isinstance(args, list) and isinstance(kwargs, dict):
        about |= {"argsrepr": shown_args(args), "kwargsrepr": shown_kwargs(kwargs)}
    message.headers = {"lang": "py", **message.headers, **about}
    message._decoded_cache = [args, kwargs, embed]  # noqa: SLF001 - what decode() gives from now on
    message.body = dumps(message._decoded_cache)  # noqa: SLF001


def _check(form: TypeAdapter[Any], value: object, cause: str) -> None:
    try:
        form.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(str(p) for p in first["loc"])[:100]
        raise MalformedError(cause, f"{place}: {first['msg']}.") from None
