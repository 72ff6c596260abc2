"""``celery -A app agents encryption …``: keys of the journal's values. They need no worker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from app.cli.opened import journal
from app.journal.stores.encryption import Encryption
from app.maintenance.acts import record_command
from celery_agents.client.shell import Command, Shown
from celery_agents.errors import ConfigurationError
from celery_agents.sealing import KEYS, key_id


@click.group()
def encryption() -> None:
    """Keys that encrypt what agents are asked and answer (AGENTS_FERNET_KEYS)."""


@contextmanager
def _encryption(ctx: click.Context, action: str = "") -> Iterator[Encryption]:
    """Open the journal; with an ``action``, write it down first."""
    with journal(ctx) as engine:
        found = Encryption(engine)
        if action:
            record_command(engine, ctx.obj.app.agents_settings, action, *found.ids[:1])
        yield found


@encryption.command("key", cls=Command)
def new() -> Shown:
    """Make a key and show it, this once."""
    try:
        from cryptography.fernet import Fernet
    except ImportError as error:
        raise ConfigurationError("To encrypt, install celery-agents[crypto].") from error
    key = Fernet.generate_key().decode()
    return Shown({"id": key_id(key), "key": key}, key)


@encryption.command(cls=Command)
@click.pass_context
def status(ctx: click.Context) -> Shown:
    """How many values of the journal need which key. Its exit status is 1 where one is missing."""
    with _encryption(ctx) as found:
        counts, ids = found.count(), found.ids
    rows = [{"key": key, "values": counts[key], "here": True} for key in ids]
    rows += [{"key": k, "values": n, "here": False} for k, n in counts.items() if k not in ids]
    lines = [
        f"{row['key']}  {row['values']:>10,} values  {_state(str(row['key']), ids)}" for row in rows
    ]
    none = "Nothing is encrypted, and AGENTS_FERNET_KEYS has no key."
    return Shown(rows, "\n".join(lines) or none, ok=not counts.keys() - {*ids})


def _state(key: str, ids: tuple[str, ...]) -> str:
    if key not in ids:
        return "is missing"
    return "encrypts" if key == ids[0] else "decrypts"


@encryption.command(cls=Command)
@click.pass_context
def rotate(ctx: click.Context) -> Shown:
    """Encrypt with the first key what others have encrypted, while steps run.

    Its exit status is 1 when values are left that need another key.
    """
    with _encryption(ctx, "encryption.rotate") as found:
        done, left = found.rotate()
        first = found.ids[0]
    text = f"{done:,} values were encrypted with {first}."
    if left:
        keys = ", ".join(f"{n:,} need {key}" for key, n in sorted(left.items()))
        text += f" Left: {keys}. Does every process have {first} as the first of {KEYS}?"
    return Shown({"key": first, "renewed": done, "left": dict(left)}, text, ok=not left)
