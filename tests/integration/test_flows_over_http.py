"""Flows over HTTP: started, told something, read, tried again, by who may."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.access.permissions import Role
from app.journal.schema.engine import connect
from app.journal.stores.audit import AuditLog
from tests.integration.harness import Stack, eventually, lines
from tests.integration.test_flows import flows  # noqa: F401 - a fixture
from tests.support.api import Asked, in_process, made_key, settings

pytestmark = pytest.mark.databases("sqlite")


class Desk:
    """An API on the stack, asked under keys of roles."""

    def __init__(self, stack: Stack, http: Any) -> None:
        self.stack, self.http = stack, http
        self.keys: dict[str, str] = {}
        self.user = self.of("user", Role.USER)

    def of(self, name: str, role: Role, **about: Any) -> Asked:
        """Somebody with a key of his own."""
        key = self.keys[name] = made_key(self.stack.database_url, role, **about)
        return Asked(self.http, key)

    def start(self, flow: str, told: Any, **options: Any) -> str:
        """The id of a run of a flow."""
        body = {"task": "start", "flow": flow, "input": told, **options}
        return str(self.user("POST", "/tasks", body, status=202)["id"])


@pytest.fixture(scope="module")
def _http(flows: Stack) -> Iterator[Any]:  # noqa: F811 - as above
    with in_process(settings(flows.redis_url, flows.database_url)) as http:
        yield http


@pytest.fixture
def desk(flows: Stack, _http: Any) -> Desk:  # noqa: F811 - as above
    return Desk(flows, _http)


def kinds(who: Asked, run_id: str) -> list[str]:
    return [line["kind"] for line in who("GET", f"/tasks/{run_id}/history", status=200)["items"]]


def test_a_flow_is_told_something_and_read(desk: Desk, tmp_path: Path) -> None:
    user, path = desk.user, str(tmp_path / "lines")
    run_id = desk.start("refund", {"path": path})
    eventually(lambda: len(kinds(user, run_id)) == 3)
    place = f"/tasks/{run_id}/signals"
    program = desk.of("service", Role.SERVICE)
    other = desk.of("other", Role.USER, tenant="other")
    body = {"name": "approve", "value": True, "id": "click"}
    assert desk.of("reader", Role.READONLY)("POST", place, body).status_code == 403
    assert other("POST", place, body).status_code == 404
    narrow = desk.of("narrow", Role.USER, agents=["shout"])
    assert narrow("POST", place, body).status_code == 403  # it may ask anybody
    program("POST", place, {"name": "unheard of", "value": 7}, status=200)
    assert program("POST", place, body, status=200) == {"id": run_id, "signal": "taken"}
    assert program("POST", place, body, status=200)["signal"] == "known"
    assert user.end(run_id)["value"] == {"facts": ["crm", "ledger"], "paid": True}
    late = program("POST", place, {**body, "id": "late"})
    assert (late.status_code, late.json()["kind"]) == (409, "too_late")
    sent = user("GET", place, status=200)["items"]
    assert [(one["name"], one["value"]) for one in sent] == [("unheard of", 7), ("approve", True)]
    assert [one["told"] for one in sent] == [True, True]
    assert user("GET", f"{place}?since=1", status=200)["items"] == sent[1:]
    found = user("GET", f"/tasks/{run_id}/history?since=1&limit=2", status=200)["items"]
    assert [line["seq"] for line in found] == [1, 2]
    told = user("GET", f"/tasks/{run_id}/history", status=200)["items"]
    assert [line["value"] for line in told if line["kind"] == "unread"] == [[["unheard of", 7]]]
    assert other("GET", f"/tasks/{run_id}/history").status_code == 404
    asked = user.ask("shout", "a")["id"]
    for method, what in (("GET", "history"), ("GET", "signals"), ("POST", "fork")):
        told = user(method, f"/tasks/{asked}/{what}", {} if method == "POST" else None)
        assert (told.status_code, told.json()["kind"]) == (409, "no_flow"), what
    engine = connect(desk.stack.database_url)
    acts = [act for act in AuditLog(engine).newest(40) if act["action"] == "run.signal"]
    engine.dispose()
    assert {act["actor"] for act in acts} == {desk.keys["service"].split("_")[1]}


def test_one_that_failed_goes_on_where_it_did(desk: Desk, tmp_path: Path) -> None:
    user, path = desk.user, tmp_path / "lines"
    order = {"lines": str(path), "mended": str(tmp_path / "mended")}
    run_id = desk.start("mending", order)
    assert user.end(run_id)["state"] == "failed"
    (tmp_path / "mended").touch()
    place = f"/tasks/{run_id}/fork"
    narrow = desk.of("narrow", Role.USER, agents=["noted"])
    assert narrow("POST", place, {}).status_code == 403
    assert desk.of("reader", Role.READONLY)("POST", place, {}).status_code == 403
    wrong = user("POST", place, {"after": "nothing"})
    assert (wrong.status_code, wrong.json()["kind"]) == (409, "conflict")
    made = user("POST", place, {}, headers={"Idempotency-Key": "again"}, status=202)
    told = user("POST", place, {}, headers={"Idempotency-Key": "again"})
    assert (told.json()["id"], told.headers["idempotency-replayed"]) == (made["id"], "true")
    assert made["id"] != run_id
    assert user.end(made["id"])["value"] == ["first", "second"]
    assert lines(path).count("first") == 1
    assert lines(path)[-1] == "second"


@pytest.mark.parametrize(
    ("who", "told", "status"),
    [
        ({"agents": ["*"]}, {"flow": "child", "input": 1}, 403),
        ({}, {"flow": "agents.workflow", "input": {"steps": 1}}, 422),
        ({}, {"flow": "agents.workflow", "input": {"steps": [{"key": "a", "task": "x.y"}]}}, 403),
        (
            {},
            {
                "flow": "agents.workflow",
                "input": {"steps": [{"key": "a", "task": "agents.ask", "queue": "others"}]},
            },
            403,
        ),
        (
            {},
            {
                "flow": "agents.workflow",
                "input": {
                    "steps": [
                        {"key": "a", "task": "agents.flow", "kwargs": {"flow": "agents.workflow"}}
                    ]
                },
            },
            403,
        ),
    ],
)
def test_what_is_not_started(
    stack: Stack, who: dict[str, Any], told: dict[str, Any], status: int
) -> None:
    with in_process(settings(stack.redis_url, stack.database_url)) as http:
        asked = Asked(http, made_key(stack.database_url, Role.USER, **who))
        assert asked("POST", "/tasks", {"task": "start", **told}).status_code == status


def test_a_workflow_and_roles_that_are_asked(desk: Desk) -> None:
    user = desk.user
    step = {"task": "agents.ask", "kwargs": {"agent": "shout"}}
    plan = {"steps": [{"key": "a", "args": ["x"], **step}, {"key": "b", "takes": "a", **step}]}
    assert user.end(desk.start("agents.workflow", plan))["value"] == "X"
    run_id = desk.start("asking", ["role:admin"])

    def wish() -> Any:
        found = user("GET", "/waiting", status=200)["items"]
        return next((one for one in found if one["run_id"] == run_id), None)

    eventually(wish)
    answer = {"choice": "no", "key": wish()["key"]}
    refused = user("POST", f"/tasks/{run_id}/approve", answer)
    assert (refused.status_code, refused.json()["kind"]) == (403, "forbidden")
    page = {"key": answer["key"], "choice": '"no"'}
    told = user("POST", f"/ui/runs/{run_id}/approve", data=page)
    assert told.status_code == 403
    admin = desk.of("admin", Role.ADMIN)
    admin("POST", f"/tasks/{run_id}/approve", answer, status=200)
    assert user.end(run_id)["state"] == "succeeded"
