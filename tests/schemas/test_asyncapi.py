"""The AsyncAPI document, held to the topics, settings and messages of the package; AsyncAPI's own parser reads it."""

import json
import re
import subprocess

import pytest
from jsonschema import Draft202012Validator
from tests.support import judges

from endpoint_analytics.agents.kubernetes.origin_header import Origin
from endpoint_analytics.schemas.asyncapi import asyncapi_document
from endpoint_analytics.schemas.brokers import MECHANISMS, PROTOCOLS
from endpoint_analytics.schemas.codec import encode
from endpoint_analytics.schemas.documents import DIRECTORY
from endpoint_analytics.schemas.identity import partition_key
from endpoint_analytics.schemas.message_schemas import MESSAGES
from endpoint_analytics.schemas.topics import AGENT_TOPICS, ORIGIN_HEADER, TOPIC_CONFIG, TOPICS

NAMED = {message.name: message for message in MESSAGES}
PACKED = "request_batch_packed"
PARSER = "@asyncapi/parser@3.6.6"
PARSE = """
const {{Parser}} = require("@asyncapi/parser");
const text = require("fs").readFileSync({path}, "utf8");
new Parser().parse(text).then(({{document, diagnostics}}) => console.log(JSON.stringify({{
  diagnostics,
  version: document?.version(),
  servers: document?.servers().all().map(each => each.id()),
  sent: document?.operations().filterBySend().map(each => each.id()),
  addresses: document?.channels().all().map(each => each.address()),
  messages: document?.allMessages().all().map(each => each.name()),
}})));
"""

MODELINA = ("@asyncapi/modelina@5.10.1", "typescript@5.9.3")
GENERATE = """
const {{TypeScriptFileGenerator}} = require("@asyncapi/modelina");
const topics = JSON.parse(require("fs").readFileSync({document}, "utf8"));
const options = {{modelType: "interface", enumType: "union", rawPropertyNames: true}};
new TypeScriptFileGenerator(options).generateToFiles(topics, {out}, {{exportType: "named"}});
"""
CONSUMER = """
import type { RequestBatch } from "./RequestBatch";
declare const process: { argv: string[] };
const batch: RequestBatch = JSON.parse(process.argv[2]);
const statuses: number[] = batch.finished?.status ?? [];
const durations: number[] = batch.finished?.duration_us ?? [];
statuses.forEach((status, row) => console.log(`${batch.replica_id} ${status} ${durations[row] / 1e3} ms`));
"""


@pytest.fixture(scope="module")
def document():
    return asyncapi_document()


def references(node):
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def resolve(document, reference):
    assert reference.startswith("#/")
    for part in reference[2:].split("/"):
        document = document[part]
    return document


def test_every_reference_leads_somewhere(document):
    found = set(references(document))
    assert found
    for reference in found:
        assert resolve(document, reference)


def test_every_topic_has_its_channel():
    channels = asyncapi_document("acme")["channels"]
    assert {name: channel["address"] for name, channel in channels.items()} == {
        topic.suffix: topic.name("acme") for topic in TOPICS
    }
    for topic in TOPICS:
        kafka = channels[topic.suffix]["bindings"]["kafka"]
        assert kafka["topicConfiguration"]["retention.ms"] == topic.retention_ms
        assert kafka["partitions"] == topic.partitions
        for name, value in TOPIC_CONFIG.items():
            assert str(kafka["topicConfiguration"][name]) == value


def test_every_message_is_in_one_channel_and_its_examples_are_valid(document):
    carried = [name for channel in document["channels"].values() for name in channel["messages"]]
    assert sorted(carried) == sorted([*NAMED, PACKED])
    for name, kind in NAMED.items():
        message = document["components"]["messages"][name]
        schema = {"$ref": message["payload"]["$ref"], "components": document["components"]}
        for example in message["examples"]:
            Draft202012Validator(schema).validate(example["payload"])
        assert resolve(document, message["payload"]["$ref"])["title"] == kind.type.__name__


def test_names_are_what_asyncapi_allows(document):
    for part in ("messages", "schemas"):
        assert all(re.fullmatch(r"[A-Za-z0-9._-]+", name) for name in document["components"][part])


def test_servers_are_the_protocols_and_logins_that_the_settings_allow(document):
    assert {server["title"] for server in document["servers"].values()} == set(PROTOCOLS)
    for server in document["servers"].values():
        schemes = [resolve(document, each["$ref"])["type"] for each in server.get("security", [])]
        is_login, is_secure = server["title"].startswith("SASL"), server["title"].endswith("SSL")
        assert server["protocol"] == ("kafka-secure" if is_secure else "kafka")
        assert len(schemes) == (len(MECHANISMS) if is_login else int(is_secure))


def test_who_sends_and_reads_which_topics(document):
    found = {}
    for name, operation in document["operations"].items():
        role, topic = name.split("_")[0], operation["channel"]["$ref"].rpartition("/")[2]
        found.setdefault((role, operation["action"]), set()).add(topic)
        assert {each["$ref"].rpartition("/")[2] for each in operation["messages"]} == {
            message.name for message in MESSAGES if message.topic.suffix == topic
        } | ({PACKED} if topic == "requests" else set())
    agents = {topic.suffix for topic in AGENT_TOPICS}
    assert found == {
        ("agent", "send"): agents,
        ("worker", "receive"): agents,
        ("worker", "send"): {"rejected"},
        ("signals", "send"): {"signals"},
        ("consumer", "receive"): {topic.suffix for topic in TOPICS},
    }


def test_the_packed_form_is_a_message_of_its_own_with_the_same_key(document):
    messages = document["components"]["messages"]
    assert messages[PACKED]["contentType"] == "application/msgpack"
    assert messages[PACKED]["bindings"] == messages["request_batch"]["bindings"]


def test_keys_are_those_that_senders_make(document):
    for name, kind in NAMED.items():
        message = document["components"]["messages"][name]
        if not kind.key:
            assert "bindings" not in message
            continue
        payload, key = message["examples"][0]["payload"], message["bindings"]["kafka"]["key"]
        made = partition_key(payload["namespace"], payload["endpoint"], payload.get("replica_id", ""))
        assert key["examples"] == [made.decode()]
        assert re.search(key["pattern"], made.decode())
        assert not re.search(key["pattern"], "acme/llm")


def test_the_header_is_the_one_of_the_agent_for_kubernetes(document):
    headers = document["components"]["messages"]["replica_state"]["headers"]
    made = {ORIGIN_HEADER: Origin("", "models").header_of("llm-0").decode()}
    Draft202012Validator(headers).validate(made)
    assert not Draft202012Validator(headers).is_valid({ORIGIN_HEADER: "llm-0"})


@pytest.mark.slow
@pytest.mark.judge
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("name", "version"), [("asyncapi.json", "3.1.0"), ("asyncapi-3.0.json", "3.0.0")])
def test_asyncapis_parser_has_no_remark(name, version):
    home = judges.node_packages("asyncapi-parser-3.6.6", PARSER)
    words = [str(judges.node()), "-e", PARSE.format(path=json.dumps(str(DIRECTORY / name)))]
    done = subprocess.run(words, cwd=home, check=True, capture_output=True, text=True)
    read = json.loads(done.stdout)
    newer = "asyncapi-latest-version"  # 3.0 is there on purpose
    assert [each for each in read["diagnostics"] if (each["code"], version) != (newer, "3.0.0")] == []
    assert read["version"] == version
    assert read["servers"] == [protocol.lower() for protocol in PROTOCOLS]
    assert len(read["sent"]) == len(AGENT_TOPICS) + 2
    assert read["addresses"] == [topic.name("endpoint-analytics") for topic in TOPICS]
    assert sorted(read["messages"]) == sorted([*NAMED, PACKED])


@pytest.mark.slow
@pytest.mark.judge
@pytest.mark.timeout(600)
def test_generated_types_compile_and_read_a_message(tmp_path):
    home = judges.node_packages("asyncapi-modelina-5.10.1", *MODELINA)
    node = str(judges.node())
    paths = {"document": json.dumps(str(DIRECTORY / "asyncapi-3.0.json")), "out": json.dumps(str(tmp_path))}
    subprocess.run([node, "-e", GENERATE.format(**paths)], cwd=home, check=True, capture_output=True)
    (tmp_path / "consumer.ts").write_text(CONSUMER)
    compiler = str(home / "node_modules/typescript/bin/tsc")
    options = ("--strict", "--module", "commonjs", "--target", "es2022", "--lib", "es2022,dom")
    built = subprocess.run(
        [node, compiler, *options, "consumer.ts"], cwd=tmp_path, check=False, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stdout
    message = encode(NAMED["request_batch"].example)
    done = subprocess.run(
        [node, "consumer.js", message.decode()], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert done.stdout == "llm-7d9fc5b8-x2x9q 429 50.9 ms\n"
