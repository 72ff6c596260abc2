"""What agents are asked and answer, encrypted from client to row: seen by nobody without a key."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from celery import chain
from sqlalchemy import update

from api.openai.retries import COUNT
from app.access.permissions import Role
from app.journal.schema.models import Step
from celery_agents import Client, RetryPolicy, StreamEvent
from celery_agents.errors import UnreadableValueError
from celery_agents.sealing import KEYS, key_id
from deploy.local.servers import LOOPBACK
from tests.integration.harness import FAST, SOON_S, Location, Stack, celery, eventually, watching
from tests.support.api import Asked, in_process, made_key, settings
from tests.support.drawn import is_full
from tests.support.fernet import fernet_key
from tests.support.nested import run_tests
from tests.support.postgres import ENVIRONMENT, Databases, binaries
from tests.support.receiver import SECRET as HOOK_SECRET
from tests.support.receiver import receiving
from tests.support.service import APP

pytestmark = pytest.mark.databases("postgres")

SECRET = "sentinel9Kd4Tn8Vb3Hm6"
QUICK = RetryPolicy(base_delay_s=0.05, max_attempts=3)
OLD, NEW = fernet_key("old"), fernet_key("new")


class Sealed(Stack):
    """A stack whose workers and client have keys, and one for webhooks."""

    def __init__(self, redis_url: str, database_url: str, directory: Path, *keys: str) -> None:
        env = {**FAST, "AGENTS_MODULES": '["tests.support.agents", "tests.support.discreet"]'}
        env |= {"AGENTS_WEBHOOK_SECRETS": "HOOK", "HOOK": HOOK_SECRET}
        env |= {"AGENTS_PRIVATE_HOSTS": LOOPBACK}
        super().__init__(redis_url, database_url, directory, {**env, KEYS: ",".join(keys)})
        self.client.close()
        self.client = Client(redis_url, fernet_keys=keys)


@pytest.fixture
def sealed(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Sealed]:
    made = Sealed(redis_url, database_url, tmp_path, OLD)
    yield made
    made.close()


@pytest.fixture(scope="module")
def discreet(location: Location) -> Iterator[Sealed]:
    """One with a worker, for tests that look for what nobody is to see."""
    made = Sealed(*location, OLD)
    made.worker()
    yield made
    made.close()


@contextmanager
def overhearing(stack: Stack) -> Iterator[list[str]]:
    """All that is sent to Redis meanwhile, by anybody."""
    heard: list[str] = []
    over = threading.Event()

    def listen() -> None:
        with stack.redis.monitor() as monitor:  # type: ignore[no-untyped-call]
            ready.set()
            for told in monitor.listen():
                heard.append(told["command"])
                if over.is_set():
                    return

    ready = threading.Event()
    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    assert ready.wait(SOON_S)
    try:
        yield heard
    finally:
        over.set()
        stack.redis.ping()
        thread.join(SOON_S)


def journal_of(stack: Stack) -> str:
    """The journal as somebody has it who took its files, or a dump of its server."""
    url = stack.engine.url
    if stack.engine.dialect.name == "sqlite":
        files = [Path(f"{url.database}{end}") for end in ("", "-wal")]
        return "\n".join(f.read_bytes().decode("latin-1") for f in files if f.exists())
    folder = binaries()
    assert folder is not None
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    command = [str(folder / "pg_dump"), "--dbname", plain]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def redis_of(stack: Stack) -> str:
    """What Redis has, as it writes it to its disk."""
    redis = stack.redis
    redis.config_set("rdbcompression", "no")
    redis.save()
    folder, name = (str(redis.config_get(n)[n]) for n in ("dir", "dbfilename"))
    return (Path(folder) / name).read_bytes().decode("latin-1")


class Flower:
    """Flower beside a stack, by its API."""

    def __init__(self, stack: Stack) -> None:
        self._url = stack.flower({"FLOWER_UNAUTHENTICATED_API": "1"})
        self._http = requests.Session()
        self._http.trust_env = False
        self._asked: list[str] = []
        self.process = stack.workers[-1]
        eventually(lambda: self._hears(stack), "Flower hears")

    def _hears(self, stack: Stack) -> bool:
        """Ask once more: of runs before it listened nobody tells it, of others a moment later."""
        run = stack.client.ask("noop", 1)
        run.get(timeout=SOON_S)
        self._asked.append(run.id)
        with contextlib.suppress(requests.ConnectionError):
            told = self("/api/tasks")
            return any(run_id in told for run_id in self._asked)
        return False

    def __call__(self, path: str) -> str:
        return self._http.get(f"{self._url}{path}", timeout=20).text

    def all(self, ids: Sequence[str]) -> str:
        """What it tells of these runs, once it has heard that they have ended."""

        def ended() -> bool:
            return all(json.loads(self(f"/api/task/info/{i}"))["state"] == "SUCCESS" for i in ids)

        eventually(ended, "Flower has heard of all ends")
        about = (f"{kind}/{i}" for i in ids for kind in ("/api/task/info", "/task"))
        return "\n".join([self("/api/tasks?limit=10000"), self("/tasks"), *map(self, about)])


def ask_in_every_way(client: Client) -> list[str]:
    """Runs of each kind; the ids of the first ones, which wait for nobody."""
    told: dict[str, Any] = {"a": [SECRET, 1]}
    long = f"{SECRET} {'word ' * 300}"  # which members share with their pattern
    watched = client.ask("repeats", SECRET, retry=QUICK, stream=True, instructions=SECRET)
    texts = [e.text for e in watched.events(timeout=SOON_S) if e.type == "text"]
    assert SECRET in "".join(texts)
    runs = [
        client.ask("same", told, id=f"chosen-{time.time_ns()}"),
        client.map("repeats", [SECRET, f"2 {SECRET}"], retry=QUICK, instructions=long),
        client.fallback(["bad", "same"], long),
        client.gather(["same", "shout"], long, how="concat"),
        client.vote(["yes", "no", "yes"], long, choices=["yes", "no"], instructions=SECRET),
        client.ask("kept", SECRET),
    ]
    values = [run.get(timeout=SOON_S) for run in runs]
    assert values[0] == told
    assert list(values[1].results) == [f"{SECRET}.", f"2 {SECRET}."]
    assert values[2] == long
    assert client.ask("kept", SECRET).get(timeout=SOON_S) == SECRET
    links = [client.ask.s("same", SECRET), client.ask.s("shout")]
    assert chain(*links).delay().get(timeout=SOON_S) == SECRET.upper()
    for _ in range(2):
        client.ask("same", SECRET, session="talk").get(timeout=SOON_S)
    [first, _] = client.sessions.read("talk", timeout=SOON_S)
    assert [m.text for m in first.messages] == [SECRET, SECRET]
    lasting = client.start("discreet", SECRET)
    sent = [StreamEvent(kind="sent", data={"to": SECRET})]
    client.streams.append("letters", sent, timeout=SOON_S)
    eventually(lambda: lasting.signal("go", SECRET, timeout=SOON_S) == "taken")
    assert lasting.get(timeout=SOON_S) == [SECRET, SECRET]
    assert SECRET in repr([line.value for line in lasting.history(timeout=SOON_S)])
    read = client.streams.follow("reader", of="letters", timeout=SOON_S)
    assert sorted((e.kind, *e.data.values()) for e in read) == [
        *(("noted", SECRET), ("sent", SECRET), ("told", SECRET)),
    ]
    person = client.vote(["yes", "no"], long, escalate="person", choices=["yes", "no", SECRET])
    [wish] = eventually(lambda: client.waiting(timeout=SOON_S))
    assert SECRET in (wish.choices or ())
    client.runs.approve(person.id, SECRET, key=wish.key)
    assert person.get(timeout=SOON_S).option == SECRET
    return [watched.id, *(run.id for run in runs), lasting.id, person.id]


def test_nobody_without_a_key_sees_what_is_asked_and_answered(discreet: Sealed) -> None:
    flower = Flower(discreet)
    with overhearing(discreet) as heard, watching(discreet) as seen:
        ids = ask_in_every_way(discreet.client)
        shown = [discreet.client.runs.show(i, answers=True, timeout=SOON_S) for i in ids]
        eventually(lambda: {e["uuid"] for e in seen if e["type"] == "task-succeeded"} >= {*ids})
        told_by_flower = flower.all(ids)
    assert SECRET in repr(shown)  # those with the key see it all the same
    eventually(lambda: not discreet.unsettled())
    places = {
        "redis, as it is sent": "\n".join(heard),
        "redis, its dump": redis_of(discreet),
        "events": repr(seen),
        "flower": told_by_flower,
        "journal": journal_of(discreet),
        "logs": "".join(process.logs() for process in discreet.workers),
    }
    assert all(len(told) > 1_000 for told in places.values())
    assert all("$enc" in places[place] for place in ("redis, its dump", "journal"))
    # As it is, and as JSON or Base64 of a longer text would hold it.
    hits = [place for place, told in places.items() if SECRET.casefold() in told.casefold()]
    assert hits == []
    flower.process.kill()


def test_inputs_in_pages_are_seen_by_nobody_either(discreet: Sealed) -> None:
    texts = [f"{SECRET} {n}".ljust(2_000) for n in range(160)]
    with overhearing(discreet) as heard:
        about: Any = {"max_concurrent": 20, "assign": "least_busy"}
        run = discreet.client.map(["noop", "noop"], iter(texts), **about)
        assert run.get(timeout=120).succeeded == len(texts)
        assert [outcome.value for _, outcome in run.results()] == texts
    assert "put_inputs" in "".join(heard)
    assert not [line for line in heard if SECRET in line]
    assert SECRET not in journal_of(discreet)
    panel = discreet.client.map(discreet.client.fallback.s(["noop"]), ["a"])
    assert panel.get(timeout=SOON_S).results == ("a",)


def test_a_new_key_takes_over_while_steps_run(sealed: Sealed) -> None:
    """As docs/security.md says: to the end everywhere, to the front everywhere, rotate, drop."""
    sealed.worker(env={KEYS: f"{OLD},{NEW}"})
    clients = [Client(sealed.redis_url, fernet_keys=keys) for keys in ([OLD, NEW], [NEW, OLD])]
    first = [clients[0].ask("repeats", f"{SECRET} {n}", retry=QUICK) for n in range(20)]
    failed: list[BaseException] = []
    asked: list[Any] = []
    over = threading.Event()

    def load(client: Client) -> None:
        while not over.wait(0.1):
            try:
                told = f"{SECRET} {len(asked)}"
                run: Any = client.map("repeats", [told, told], retry=QUICK)
                asked.append((run.id, told))
                assert [*run.get(timeout=SOON_S).results] == [f"{told}.", f"{told}."]
            except BaseException as error:  # noqa: BLE001 - it is looked at below
                failed.append(error)

    threads = [threading.Thread(target=load, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    sealed.worker(env={KEYS: f"{NEW},{OLD}"})
    before = sealed.workers[0]
    before.terminate()
    rotated = rotate(sealed, f"{NEW},{OLD}")
    eventually(lambda: len(asked) > 10)
    over.set()
    for thread in threads:
        thread.join(SOON_S)
    assert failed == []
    assert [run.get(timeout=SOON_S) for run in first] == [f"{SECRET} {n}." for n in range(20)]
    eventually(lambda: not sealed.unsettled())
    assert rotated["renewed"] > 0
    again = rotate(sealed, f"{NEW},{OLD}")
    assert again["left"] == {}
    sealed.workers[1].terminate()
    sealed.worker(env={KEYS: NEW})
    with Client(sealed.redis_url, fernet_keys=[NEW]) as client:
        shown = client.runs.show(first[0].id, answers=True, timeout=SOON_S)
        assert f"{SECRET} 0." in repr(shown)
    for client in clients:
        client.close()


def rotate(stack: Stack, keys: str) -> dict[str, Any]:
    done = celery(
        "-A", APP, "agents", "encryption", "rotate", "--json", env={**stack.env, KEYS: keys}
    )
    told: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode == 0) is not bool(told["left"])
    return told


def test_a_key_that_is_missing_is_told_by_worker_client_and_result(sealed: Sealed) -> None:
    sealed.worker()
    run = sealed.client.ask("same", SECRET)
    assert run.get(timeout=SOON_S) == SECRET
    blind, other = (Client(sealed.redis_url, fernet_keys=keys) for keys in ([], [NEW]))
    with blind, pytest.raises(UnreadableValueError, match=f"{key_id(OLD)}.*{KEYS}"):
        blind.runs.handle(run.id).get(timeout=SOON_S)
    with other, pytest.raises(UnreadableValueError, match=key_id(NEW)):  # no worker has it
        other.ask("same", SECRET).get(timeout=SOON_S)
    eventually(lambda: not sealed.unsettled())
    wrong = sealed.worker(env={KEYS: NEW}, ready=False)
    eventually(lambda: "which AGENTS_FERNET_KEYS has not here" in wrong.logs())
    assert f"values the key {key_id(OLD)}" in wrong.logs()
    assert OLD not in wrong.logs()


def test_a_step_whose_row_was_tampered_with_fails_and_says_so(discreet: Sealed) -> None:
    """The others go on."""
    runs = [discreet.client.ask("same", {"n": n}) for n in range(3)]
    assert [run.get(timeout=SOON_S) for run in runs] == [{"n": n} for n in range(3)]
    one, other = (discreet.row(run.id) for run in runs[:2])
    with discreet.engine.begin() as c:
        c.execute(update(Step).where(Step.id == one.id).values(outcome=other.outcome))
    discreet.redis.delete(f"celery-task-meta-{one.id}")
    shown = [discreet.client.runs.show(r.id, answers=True, timeout=SOON_S) for r in runs[:2]]
    assert "(unreadable: An encrypted value stands where it does not belong" in repr(shown[0])
    assert "'n': 1" in repr(shown[1])


def test_a_webhook_has_the_answer(discreet: Sealed) -> None:
    """Whoever is to be told it is told it in the clear, over TLS; its row has it encrypted."""
    with receiving() as receiver:
        run = discreet.client.ask("same", SECRET, webhook={"url": receiver.url, "value": True})
        told: Any = eventually(lambda: receiver.told.get(run.id))
    assert told["data"]["value"] == SECRET
    assert SECRET not in journal_of(discreet)


def test_the_api_reads_what_no_worker_has_begun(sealed: Sealed, tmp_path: Path) -> None:
    """A response in the queue, and one whose key is lost since: its model, its end, no error."""
    panel = '[panels.triage]\ntask = "fallback"\ncandidates = ["same"]\n'
    (tmp_path / "agents.toml").write_text(panel)
    key = made_key(sealed.database_url, Role.USER)
    about = {"config": tmp_path / "agents.toml", "fernet_keys": (OLD,)}
    asked = {"model": "triage", "input": SECRET, "background": True}
    for accepts in ("broker", "journal"):
        given = settings(sealed.redis_url, sealed.database_url, api_accepts=accepts, **about)
        with in_process(given) as http:
            user = Asked(http, key)
            made = user("POST", "/v1/responses", asked, status=200)
            waits = user("GET", f"/v1/responses/{made['id']}", status=200)
            assert (waits["model"], waits["status"]) == ("triage", "queued")
            if accepts == "broker":
                assert SECRET not in str(sealed.redis.hgetall("agents:intake"))
    sealed.worker()
    sealed.client.runs.handle(made["id"].removeprefix("resp_")).get(timeout=SOON_S)
    with in_process(given) as http:
        ended = Asked(http, key)("GET", f"/v1/responses/{made['id']}", status=200)
        assert ended["output"][0]["content"][0]["text"] == SECRET
        with sealed.engine.begin() as c:
            c.execute(update(Step).values(payload={"args": [], "kwargs": {"$enc": "00000000:x"}}))
        lost = Asked(http, key)("GET", f"/v1/responses/{made['id']}", status=200)
        assert (lost["model"], lost["status"]) == ("agents.fallback", "completed")


def test_what_is_made_and_tried_over_the_api_is_seen_by_nobody_without_a_key(
    discreet: Sealed,
) -> None:
    """Instructions of an agent, and an SDK's request, whose retry attaches to its run."""
    given = settings(discreet.redis_url, discreet.database_url, fernet_keys=(OLD,))
    entry = {"kind": "http", "url": "https://example.com/", "instructions": SECRET}
    asked = {"model": "same", "input": SECRET, "background": True}
    with overhearing(discreet) as heard, in_process(given) as http:
        admin = Asked(http, made_key(discreet.database_url, Role.ADMIN, tenant=None))
        admin("POST", "/agents", {"name": "posted", "entry": entry}, status=201)
        user = Asked(http, made_key(discreet.database_url, Role.USER))

        def offered() -> set[str]:
            return {one["name"] for one in user("GET", "/agents", status=200)["items"]}

        eventually(lambda: {"posted", "same"} <= offered())
        tries = [
            user("POST", "/v1/responses", asked, headers={COUNT: str(n)}, status=200)["id"]
            for n in range(2)
        ]
        [name] = discreet.redis.scan_iter("agents:api:tries:*")
    assert tries[0] == tries[1]
    assert len(name.rpartition(":")[2]) == 32, "a keyed digest"
    places = {
        "redis": redis_of(discreet),
        "sent": "\n".join(heard),
        "journal": journal_of(discreet),
    }
    assert [place for place, told in places.items() if SECRET in told] == []
    assert "posted" in places["journal"]


#: What keeps and reads values and is not asked above, or not through a kill.
PART = (
    "test_approvals.py::test_people_decide_on_each_call_of_a_reply[postgres-anthropic]",
    "test_caches.py::test_a_similar_question_has_the_same_answer",
    "test_compensation.py::test_what_was_done_is_undone_in_reverse_order[sqlite]",
    "test_deadletters.py::TestUnknownTask::test_requeued_after_its_repair",
    "test_sessions.py::test_a_killed_worker_leaves_a_whole_exchange_or_none[sqlite-goes on]",
)
#: The same stores by other ways.
OTHERS = (
    "test_api.py::test_a_wish_is_answered",
    "test_api.py::test_each_verb",
    "test_api.py::test_a_key_is_one_run",
    "test_caches.py::test_the_same_question_is_paid_once",
    "test_openai.py::test_a_response",
    "test_sessions.py::test_questions_of_a_session_remember_each_other",
    "test_sessions.py::test_a_killed_worker_leaves_a_whole_exchange_or_none[sqlite-dies]",
    "test_streams.py::test_a_worker_is_killed_in_the_middle",
    "test_teams.py::test_a_session_has_what_both_have_called[postgres]",
)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_part_of_the_tests_with_keys(postgres: Databases) -> None:
    """As ``AGENTS_FERNET_KEYS=… ./run test`` runs them: clients, workers, commands, the API."""
    env = {KEYS: OLD, ENVIRONMENT: postgres.admin.render_as_string(hide_password=False)}
    tests = PART + OTHERS if is_full() else PART
    code, said = run_tests(*(f"tests/integration/{test}" for test in tests), env=env)
    assert code == 0, said[-5_000:]
