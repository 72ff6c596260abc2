"""``python3 deploy/make_secrets.py [FOLDER]``: the secrets of ``deploy/compose.yaml``, one a file.

Files are named after the variables that they stand for (``AGENTS_SECRETS_DIR``). The folder is its
owner's alone. The files in it are not: containers read them under users of their own, and the
folder's mode keeps everybody else from them. What is there stays: nothing is made anew over data
that was made with it.
"""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

#: Users, and names of hosts, of compose.yaml.
_REDIS, _POSTGRES = "agents:{redis}@valkey:6379/0", "agents:{postgres}@postgres:5432/agents"
FILES = {
    "REDIS_URL": f"redis://{_REDIS}",
    "DATABASE_URL": f"postgresql://{_POSTGRES}",
    "POSTGRES_PASSWORD": "{postgres}",
    # Whoever knows no password may only be told so, and a probe see that somebody answers.
    "valkey.acl": "user default off\nuser agents on >{redis} ~* &* +@all\n",
    "FLOWER_BASIC_AUTH": "admin:{flower}",
    "GRAFANA_PASSWORD": "{grafana}",
    # agents keys create prometheus --role readonly --tenant '*'
    "prometheus.key": "",
}
_PASSWORDS = ("redis", "postgres", "flower", "grafana")
_OF_ONE_PASSWORD = (("REDIS_URL", "valkey.acl"), ("DATABASE_URL", "POSTGRES_PASSWORD"))


def make(folder: Path) -> list[str]:
    """Make the files that are not there; their names."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    for one, other in _OF_ONE_PASSWORD:
        if (folder / one).exists() is not (folder / other).exists():
            sys.exit(f"{folder}: {one} and {other} have one password; keep both, or delete both.")
    values = {name: secrets.token_urlsafe(24) for name in _PASSWORDS}
    made = [name for name in FILES if not (folder / name).exists()]
    for name in made:
        (folder / name).write_text(FILES[name].format(**values), encoding="utf-8")
        (folder / name).chmod(0o444 if FILES[name] else 0o644)  # an empty one is filled later
    return made


if __name__ == "__main__":
    where = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("secrets")
    print(f"{where}: {', '.join(make(where)) or 'all were there'}")
