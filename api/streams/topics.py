"""``/topics``: messages that are told to whoever listens."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import Field
from starlette.responses import Response

from api.access import Parts
from api.operations import Limit, OfTenant
from api.principals import ReadsStreams, WritesStreams
from api.problems import JsonResponse
from api.streams.paths import own_paths
from api.streams.routes import After, written_of
from api.tasks import problems, tenant_for
from api.views import ListView
from celery_agents.contracts.base import Contract, JsonValue, Name, Tenant, Whole
from celery_agents.contracts.flows.entries import StreamEntry
from celery_agents.contracts.flows.topics import DEAD, TOPIC, TopicInfo, TopicMessage, topic_of

own_paths("topic", "/dead")
router = APIRouter(tags=["streams"])
TopicName = Annotated[Name, Path(description="The name of a topic; it may have slashes.")]


@router.get("/topics", response_model=ListView, responses=problems())
async def topics(
    services: Parts, who: ReadsStreams, tenant: OfTenant = None, limit: Limit = 100
) -> Response:
    """Topics that have messages, in the order of their names."""
    found = await services.read(services.streams.named, tenant_for(who, tenant), TOPIC, limit)
    items = [TopicInfo.of_stream(one).model_dump(mode="json") for one in found]
    return JsonResponse({"items": items})


class MessageBody(Contract):
    """A message that is to be told."""

    body: JsonValue = None
    #: Those of a lower number go first.
    priority: Annotated[int, Field(ge=0, le=9), Whole] = 5
    #: Of one key a topic has one message: said again it is the same.
    key: Name | None = None
    #: Whose the topic is: for those who may see all tenants.
    tenant: Tenant | None = None


@router.post("/topics/{name:topic}", status_code=201, responses=problems(400, 413))
async def publish(
    name: TopicName, body: MessageBody, services: Parts, who: WritesStreams
) -> Response:
    """Tell a message to all who listen to a topic, now and later; its place."""
    topic, whose = topic_of(name), tenant_for(who, body.tenant)
    written_of(TOPIC + topic)
    about: Any = {"priority": body.priority, "key": body.key, "tenant": whose}
    place = await services.ask(who, services.client.topics.publish, topic, body.body, **about)
    return JsonResponse({"topic": topic, "place": place}, 201)


@router.get("/topics/{name:path}/dead", response_model=ListView, responses=problems())
async def dead(
    *,
    name: TopicName,
    services: Parts,
    who: ReadsStreams,
    after: After = -1,
    limit: Limit = 100,
    tenant: OfTenant = None,
) -> Response:
    """Messages at which functions that listen have failed too often, and why; a page of them."""
    where = (tenant_for(who, tenant), DEAD + topic_of(name))
    return JsonResponse({"items": await services.read(services.streams.read, *where, after, limit)})


@router.get("/topics/{name:topic}", response_model=ListView, responses=problems())
async def history(
    *,
    name: TopicName,
    services: Parts,
    who: ReadsStreams,
    after: After = -1,
    limit: Limit = 100,
    tenant: OfTenant = None,
) -> Response:
    """Messages of a topic that are kept, behind a place, in the order of their coming."""
    topic = topic_of(name)
    where = (tenant_for(who, tenant), TOPIC + topic)
    found = await services.read(services.streams.read, *where, after, limit)
    told = [TopicMessage.of(topic, StreamEntry.model_validate(entry)) for entry in found]
    return JsonResponse({"items": [one.model_dump(mode="json") for one in told]})
