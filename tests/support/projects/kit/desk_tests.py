import time

import pytest

from celery_agents.errors import AgentFailedError, RateLimitedError
from celery_agents.testing import AgentTester


def until(done, seconds=20):
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def test_a_function():
    assert AgentTester("shout", modules=["desk"]).ask("hello").value == "HELLO"


def test_a_model_calls_its_tool():
    triage = AgentTester("triage", config="agents.toml")
    triage.script.calls("order", number=7).answers("It was sent on Monday.")
    told = triage.ask("Where is order 7?")
    assert told.value == "It was sent on Monday."
    assert triage.script.asked[1]["results"] == ["order 7 was sent on Monday"]
    assert told.usage.cost_usd == pytest.approx(280e-6)


def test_a_model_fails():
    triage = AgentTester("triage", config="agents.toml")
    triage.script.fails(RateLimitedError, retry_after=30)
    with pytest.raises(RateLimitedError):
        triage.ask("Hello?")


def test_the_whole_way(agents, scripted):
    scripted("triage").answers("refund")
    assert agents.ask("triage", "I was charged twice.").get(timeout=20) == "refund"
    assert scripted("triage").asked[0]["input"] == "I was charged twice."


def test_no_model_is_asked_by_accident(agents):
    with pytest.raises(AgentFailedError, match="no reply for it"):
        agents.ask("triage", "I was charged twice.").get(timeout=20)


def test_a_vote(agents, scripted):
    scripted("triage").answers("refund")
    scripted("sceptic").answers("refuse")
    voters = ["triage", "sceptic", "triage"]
    decision = agents.vote(voters, "What now?", choices=["refund", "refuse"]).get(timeout=20)
    assert (decision.option, decision.tally["refund"]) == ("refund", 2)


def test_a_fallback(agents, scripted):
    scripted("triage").fails("refused")
    scripted("sceptic").answers("in its place")
    assert agents.fallback(["triage", "sceptic"], "Hello?").get(timeout=20) == "in its place"


def test_words_as_they_come(agents, scripted):
    scripted("triage").streams("It was ", "sent.")
    run = agents.ask("triage", "Where is it?", stream=True)
    text = "".join(event.text for event in run.events(timeout=20) if event.type == "text")
    assert (text, run.get(timeout=20)) == ("It was sent.", "It was sent.")


def test_an_hour_of_retries(agents, scripted, skip):
    scripted("triage").fails(RateLimitedError, retry_after=3600).answers("at last")
    run = agents.ask("triage", "Hello?")
    skip(hours=1)
    assert run.get(timeout=20) == "at last"


def test_a_week(agents, scripted, skip):
    scripted("triage").answers("first", "second")
    run = agents.start("remind", "Ada")
    skip(weeks=1)
    assert run.get(timeout=20) == "first, second"


def test_a_killed_worker(agents, scripted, kill_worker):
    scripted("triage").answers("never told", "told", after=1.0)
    run = agents.ask("triage", "Hello?")
    until(lambda: scripted("triage").asked)
    kill_worker()
    assert run.get(timeout=20) == "told"
    assert len(scripted("triage").asked) == 2


def test_a_cassette(agents, cassette):
    with cassette("triage.jsonl"):
        assert agents.ask("triage", "Where is order 7?").get(timeout=20) == "Sent on Monday."
        with pytest.raises(AgentFailedError, match=r"The nearest .* 'Where is order 7\?'"):
            agents.ask("triage", "Where is order 8?").get(timeout=20)
