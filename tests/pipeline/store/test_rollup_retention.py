import uuid

import pytest

from endpoint_analytics.pipeline.store.connect import connect
from endpoint_analytics.pipeline.store.migrate import migrate
from endpoint_analytics.pipeline.store.rollup_levels import (
    TABLES,
    TTLS,
    Retention,
    environment_retention,
    parse_ttls,
    stored_retention,
)
from endpoint_analytics.pipeline.store.rollup_retention import apply_retention
from endpoint_analytics.schemas.configuration.settings import ConfigurationError


def test_the_environment_names_the_days():
    assert environment_retention({}) == Retention(7, 30, 400)
    days = {
        f"ENDPOINT_ANALYTICS_RETENTION_{name}_DAYS": days for name, days in (("10S", "5"), ("1MIN", "60"))
    }
    assert environment_retention(days) == Retention(5, 60, 400)


@pytest.mark.parametrize(
    ("days", "said"),
    [
        ("x", "expected a whole number of days"),
        ("2", "expected 4 to 10000"),
        ("31", "at least as long as a finer one"),
    ],
)
def test_what_cannot_be_kept_is_refused(days, said):
    with pytest.raises(ConfigurationError, match=said):
        environment_retention({"ENDPOINT_ANALYTICS_RETENTION_10S_DAYS": days})


def test_migrate_sets_the_ttl_of_every_level_when_it_is_another(server):
    config = server.config(f"k_{uuid.uuid4().hex[:8]}")
    migrate(config, Retention(7, 30, 400))
    client = connect(config)

    def stored():
        return stored_retention(parse_ttls(client.query(TTLS, parameters={"tables": TABLES}).result_rows))

    assert stored() == Retention(7, 30, 400)
    assert apply_retention(client, Retention(7, 30, 400)) == ()
    assert apply_retention(client, Retention(5, 30, 500)) == (
        "request_windows",
        "hardware_windows",
        "engine_windows",
        "outcome_windows",
        "request_hours",
        "hardware_hours",
        "engine_hours",
        "outcome_hours",
    )
    assert stored() == Retention(5, 30, 500)
    migrate(config, Retention(6, 31, 90))
    assert stored() == Retention(6, 31, 90)
    client.close()
