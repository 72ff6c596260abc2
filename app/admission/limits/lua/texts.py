"""All scripts of limits by their names, each with the functions that it uses."""

from __future__ import annotations

from app.admission.limits.lua import requests, views, waiting
from app.admission.limits.lua.queues import QUEUES
from app.admission.limits.lua.rules import GRANTS, REFUSALS, RULES

#: What runs before a script that lets steps wait, or wakes some.
COMMON = RULES + REFUSALS + GRANTS + QUEUES

#: Whoever asks wakes nobody.
SCRIPTS = {
    "ASK": RULES + REFUSALS + requests.ASK,
    "RENEW": RULES + requests.RENEW,
    "TELL": RULES + requests.TELL,
    "PARK": COMMON + waiting.PARK,
    "PUMP": COMMON + waiting.PUMP,
    "REVOKE": COMMON + waiting.REVOKE,
    "PAUSE": COMMON + waiting.PAUSE,
    "QUEUES": RULES + views.NAMES,
    "PLACES": RULES + views.PLACES,
    "LOOK": RULES + views.LOOK,
}
