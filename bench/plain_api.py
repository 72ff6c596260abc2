"""Plain FastAPI and Celery, as tutorials write it: the contestant of ``bench/api.py``."""

from __future__ import annotations

import os

from celery import Celery
from fastapi import FastAPI
from pydantic import BaseModel

_URL = os.environ.get("REDIS_URL", "")
celery = Celery("plain", broker=_URL, backend=_URL)
app = FastAPI()


class Body(BaseModel):
    """A question to an agent."""

    agent: str
    input: str


@celery.task(name="plain.run")
def run(agent: str, text: str) -> str:
    """Answer it."""
    return f"{agent}: {text}"


@app.post("/tasks", status_code=202)
def create(body: Body) -> dict[str, str]:
    """Send it."""
    return {"id": run.apply_async(args=[body.agent, body.input], queue="plain").id}
