"""Principals as routes name them: the one table of what routes need, for programs and pages."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from api.access import May
from app.access.permissions import Permission, Principal

_P = Permission
CreatesRuns = Annotated[Principal, Depends(May(_P.RUNS_CREATE))]
AsksForRun = Annotated[Principal, Depends(May(_P.RUNS_CREATE, asks=True))]
ReadsRuns = Annotated[Principal, Depends(May(_P.RUNS_READ))]
CancelsRuns = Annotated[Principal, Depends(May(_P.RUNS_CANCEL))]
SignalsRuns = Annotated[Principal, Depends(May(_P.RUNS_SIGNAL))]
ApprovesRuns = Annotated[Principal, Depends(May(_P.RUNS_APPROVE))]
ReadsSessions = Annotated[Principal, Depends(May(_P.SESSIONS_READ))]
WritesSessions = Annotated[Principal, Depends(May(_P.SESSIONS_WRITE))]
ReadsAgents = Annotated[Principal, Depends(May(_P.AGENTS_READ))]
WritesAgents = Annotated[Principal, Depends(May(_P.AGENTS_WRITE))]
ReadsLetters = Annotated[Principal, Depends(May(_P.LETTERS_READ))]
WritesLetters = Annotated[Principal, Depends(May(_P.LETTERS_WRITE))]
ReadsSchedules = Annotated[Principal, Depends(May(_P.SCHEDULES_READ))]
WritesSchedules = Annotated[Principal, Depends(May(_P.SCHEDULES_WRITE))]
ReadsStreams = Annotated[Principal, Depends(May(_P.STREAMS_READ))]
WritesStreams = Annotated[Principal, Depends(May(_P.STREAMS_WRITE))]
DeletesStreams = Annotated[Principal, Depends(May(_P.STREAMS_DELETE))]
WritesSubscriptions = Annotated[Principal, Depends(May(_P.SUBSCRIPTIONS_WRITE))]
ReadsStats = Annotated[Principal, Depends(May(_P.STATS_READ))]
ReadsMetrics = Annotated[Principal, Depends(May(_P.METRICS_READ))]
ReadsAudit = Annotated[Principal, Depends(May(_P.AUDIT_READ))]
ReadsKeys = Annotated[Principal, Depends(May(_P.KEYS_READ))]
WritesKeys = Annotated[Principal, Depends(May(_P.KEYS_WRITE))]
