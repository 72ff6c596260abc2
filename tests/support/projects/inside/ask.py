"""A step, then a task of the project, then a step: from the project's own app."""

from celery import chain

from celery_agents import Client
from tasks import note

client = Client()
run = chain(client.ask.s("whose", "x"), note.s(), client.ask.s("whose"))()
print(run.get(timeout=30), "|", run.parent.get(timeout=30))
