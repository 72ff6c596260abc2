"""A conversation, as it is given to an agent: messages of four roles, with texts, images, files."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from celery_agents.contracts.base import Contract, JsonValue, Name

#: Calls of one message, and messages of one conversation.
CALLS_MAX, MESSAGES_MAX = 100, 10_000
Role = Literal["system", "user", "assistant", "tool"]
#: Of a part that is no text: its type and subtype, as HTTP has them.
MediaType = Annotated[str, Field(pattern=r"^[a-z]+/[a-z0-9.+-]{1,100}$", max_length=110)]


class Text(Contract):
    """A text within a message."""

    kind: Literal["text"]
    text: str


class Attachment(Contract):
    """An image or a file within a message: by reference, or its bytes in base64.

    Bytes count in ``payload_limit_bytes``. Which media types a model takes, its provider says.
    """

    kind: Literal["image", "file"]
    media_type: MediaType
    url: Annotated[str, Field(pattern=r"^https?://\S+$", max_length=2_000)] | None = None
    data: str | None = None
    name: Annotated[str, Field(min_length=1, max_length=200)] | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.url is None) == (self.data is None):
            raise ValueError("an attachment has a url or its data")
        if self.data is not None:
            try:
                base64.b64decode(self.data, validate=True)
            except (binascii.Error, ValueError):
                raise ValueError("data is not base64") from None
        return self


Part = Annotated[Text | Attachment, Field(discriminator="kind")]


def _form(content: object) -> str:
    """Name the form of a content, so that its mistakes are told as that form's alone."""
    return "text" if isinstance(content, str) else "parts"


Content = Annotated[
    Annotated[str, Tag("text")] | Annotated[tuple[Part, ...], Tag("parts")], Discriminator(_form)
]


class ToolUse(Contract):
    """A tool that an assistant called, in a message of it."""

    id: Annotated[str, Field(min_length=1, max_length=200)]
    name: Name
    arguments: JsonValue = None


class ChatMessage(Contract):
    """One message of a conversation.

    ``tool_calls`` are an assistant's; a ``tool`` message is the result of one of them, which
    ``call_id`` names.
    """

    role: Role
    content: Content = ""
    tool_calls: Annotated[tuple[ToolUse, ...], Field(max_length=CALLS_MAX)] = ()
    call_id: str | None = None

    @model_validator(mode="after")
    def _suits_its_role(self) -> Self:
        if self.tool_calls and self.role != "assistant":
            raise ValueError("only an assistant calls tools")
        if (self.call_id is not None) != (self.role == "tool"):
            raise ValueError("call_id belongs to a message of a tool, which has one")
        if self.attachments and self.role != "user":
            raise ValueError("images and files are a user's")
        if not (self.content or self.tool_calls or self.role == "tool"):
            raise ValueError("the message says nothing")
        return self

    @property
    def parts(self) -> tuple[Text | Attachment, ...]:
        """Its content as parts; an empty text is none."""
        if isinstance(self.content, str):
            return (Text(kind="text", text=self.content),) if self.content else ()
        return self.content

    @property
    def text(self) -> str:
        """The texts of its content, line after line."""
        return "\n".join(part.text for part in self.parts if isinstance(part, Text))

    @property
    def attachments(self) -> tuple[Attachment, ...]:
        """The images and files of its content."""
        return tuple(part for part in self.parts if isinstance(part, Attachment))


def checked(messages: tuple[ChatMessage, ...]) -> tuple[ChatMessage, ...]:
    """Return the messages, if any provider could take them in this order.

    Raises:
        ValueError: an assistant's tool call has no result right behind it, or a result no call.
    """
    open_calls: dict[str, None] = {}
    for place, message in enumerate(messages):
        if message.role == "tool":
            if message.call_id not in open_calls:
                raise ValueError(f"message {place}: no open call has the id {message.call_id!r}")
            del open_calls[message.call_id]
            continue
        if open_calls:
            raise ValueError(f"message {place}: the call {next(iter(open_calls))!r} has no result")
        open_calls = {call.id: None for call in message.tool_calls}
        if len(open_calls) < len(message.tool_calls):
            raise ValueError(f"message {place}: two of its calls have one id")
    if open_calls:
        raise ValueError(f"the call {next(iter(open_calls))!r} has no result")
    return messages


#: A conversation that any provider could take; see :func:`checked`.
Conversation = Annotated[
    tuple[ChatMessage, ...], Field(max_length=MESSAGES_MAX), AfterValidator(checked)
]
