"""The scraper with a real server: readings, gaps, problems logged once; and an agent with a scraper."""

from __future__ import annotations

import logging

import pytest
from tests.agents.scrape import expositions
from tests.agents.scrape.engine_server import EngineServer, reply
from tests.support.waiting import eventually

from endpoint_analytics.agents.core.config import ConfigurationError
from endpoint_analytics.agents.core.sampling import Interval
from endpoint_analytics.agents.middleware.process_agent import ProcessAgent
from endpoint_analytics.agents.replica.agent import Agent
from endpoint_analytics.agents.scrape.readings import EngineReading
from endpoint_analytics.agents.scrape.scraper import Scraper, make_engine_batch
from endpoint_analytics.agents.scrape.settings import ScrapeSettings, parse_target
from endpoint_analytics.schemas.codec import decode_engine, encode


@pytest.fixture
def engine():
    with EngineServer(expositions.VLLM) as server:
        yield server


@pytest.fixture
def scraper(engine):
    return Scraper(ScrapeSettings(parse_target(engine.url), 1.0))


def test_an_answer_is_a_reading_and_two_have_rates(engine, scraper):
    first = scraper.take(0)
    assert (first.engine, first.readings["engine_running_requests"]) == ("vllm", 12)
    engine.text = engine.text.replace("7.557572e+06", "7.557672e+06")
    second = scraper.take(0)
    assert second.readings["engine_generated_tokens_per_second"] > 0
    assert second.readings["engine_prompt_tokens_per_second"] == 0
    figures = scraper.figures
    assert (figures.engine, figures.answers, figures.failures, figures.error) == ("vllm", 2, 0, "")


def test_an_engine_that_is_away_is_a_gap_and_said_once(engine, scraper, caplog):
    caplog.set_level(logging.INFO)
    assert scraper.take(0) is not None
    engine.stop()
    assert [scraper.take(0) for _ in range(3)] == [None] * 3
    assert (scraper.figures.failures, "refused" in scraper.figures.error) == (3, True)
    engine.start()
    assert scraper.take(0).readings["engine_waiting_requests"] == 3
    assert scraper.figures.error == ""
    assert caplog.text.count("cannot scrape") == 1
    assert caplog.text.count("can be scraped again, after 3 failures") == 1


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda handler: reply(handler, 404, b"Not Found"), "status 404"),
        (lambda handler: reply(handler, 200, b"<html>hello</html>"), "none of the known metrics"),
        (lambda handler: reply(handler, 200, b""), "none of the known metrics"),
        (
            lambda handler: reply(handler, 200, b"vllm:num_requests_running x\n"),
            "none of the known metrics",
        ),
        (
            lambda handler: reply(
                handler, 200, b"".join(b'vllm:num_requests_running{n="%d"} 1\n' % n for n in range(10_001))
            ),
            "more than 10000 samples",
        ),
    ],
)
def test_bad_answers_are_counted_and_never_fatal(engine, scraper, caplog, answer, said):
    engine.answer = answer
    assert [scraper.take(0) for _ in range(2)] == [None, None]
    assert scraper.figures.failures == 2
    assert said in scraper.figures.error
    assert caplog.text.count(said) == 1


def test_lines_that_are_no_samples_leave_the_others_and_are_counted(engine, scraper, caplog):
    engine.text = "vllm:num_requests_running{x} 1\nvllm:num_requests_waiting 2\n"
    assert [scraper.take(0).readings for _ in range(2)] == [{"engine_waiting_requests": 2}] * 2
    assert scraper.figures.malformed == 2
    assert caplog.text.count("1 lines of the selected metrics are malformed") == 1


def test_a_reading_is_a_valid_batch(make_config, scraper):
    batch = make_engine_batch(make_config(), "boot-1", Interval(7, 10**15, 10**15 + 5), scraper.take(0))
    assert decode_engine(encode(batch)) == batch
    assert (batch.seq, batch.engine, batch.at_us) == (7, "vllm", [5])
    nothing = make_engine_batch(make_config(), "boot-1", Interval(0, 10**15, 10**15), EngineReading())
    assert decode_engine(encode(nothing)) == nothing


def test_an_agent_scrapes_and_ends(make_config, engine):
    agent = Agent(make_config(scrape=engine.url, scrape_interval_s=0.1, states=False), requests=False)
    assert agent.snapshot().scrape.answers == 0
    agent.start()
    eventually(agent.snapshot, lambda found: found.waiting["engine"] >= 2, 30, "batches of the engine")
    agent.stop()
    assert agent.has_stopped
    assert agent.snapshot().waiting["requests"] == agent.snapshot().waiting["replicas"] == 0


def test_of_the_agents_of_one_replica_one_scrapes(make_config, engine):
    config = make_config(scrape=engine.url, scrape_interval_s=0.1)
    first, second = Agent(config), Agent(config)
    first.start()
    eventually(first.snapshot, lambda found: found.scrape.answers >= 1, 30, "an answer")
    second.start()
    before = first.snapshot().scrape.answers
    eventually(first.snapshot, lambda found: found.scrape.answers >= before + 5, 30, "more answers")
    assert second.snapshot().scrape.answers == 0
    first.stop()
    eventually(second.snapshot, lambda found: found.scrape.answers >= 1, 30, "the other takes over")
    second.stop()


def test_an_address_that_cannot_be_is_reported_at_once(make_config):
    for make in (Agent, ProcessAgent):
        with pytest.raises(ConfigurationError, match="scrape is 'ftp://x'"):
            make(make_config(scrape="ftp://x"))
