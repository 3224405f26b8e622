"""Apache Superset, in an environment of its own: a database by clickhouse-connect's dialect, datasets, charts.

Arguments: a directory for Superset's own database, and the questions as JSON. Prints one line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote


def main(home: Path, questions: dict[str, str]) -> None:
    os.environ["SUPERSET_SECRET_KEY"] = os.urandom(24).hex()
    os.environ["SUPERSET_HOME"] = str(home)
    from superset.app import create_app

    app = create_app()
    with app.app_context():
        found = ask(questions)
    print(json.dumps(found, default=str), flush=True)
    os._exit(0)


def ask(questions: dict[str, str]) -> dict[str, object]:
    from flask_appbuilder import Model
    from superset import db
    from superset.connectors.sqla.models import SqlaTable, SqlMetric
    from superset.models.core import Database
    from superset.sql.parse import Table

    Model.metadata.create_all(db.engine)
    database_name = os.environ["JUDGE_DATABASE"]
    database = Database(
        database_name="Endpoint Analytics",
        sqlalchemy_uri=f"clickhousedb://{os.environ['JUDGE_USER']}:XXXXXXXXXX@{os.environ['JUDGE_HOST']}:"
        f"{os.environ['JUDGE_PORT']}/{quote(database_name)}",
    )
    database.set_sqlalchemy_uri(
        f"clickhousedb://{os.environ['JUDGE_USER']}:{quote(os.environ['JUDGE_PASSWORD'], safe='')}"
        f"@{os.environ['JUDGE_HOST']}:{os.environ['JUDGE_PORT']}/{quote(database_name)}"
    )
    db.session.add(database)
    db.session.commit()
    catalog = None
    tables = {table for table, *_ in database.get_all_table_names_in_schema(catalog, database_name)}
    views = {view for view, *_ in database.get_all_view_names_in_schema(catalog, database_name)}
    columns = database.get_columns(Table("requests", database_name, catalog))
    found: dict[str, object] = {
        "tables": sorted(tables | views),
        "columns": {column["column_name"]: str(column["type"]) for column in columns},
    }
    for name, sql in questions.items():  # SQL Lab
        values = database.get_df(sql, catalog, database_name).iloc[:, 0].tolist()
        if name == "replicas":
            found[name] = values
        elif name == "first_minute":
            found[name] = values[0].strftime("%Y-%m-%dT%H:%M:%SZ")
        else:
            found[name] = values[0]
    # A chart: requests by minute and by hour, from the dataset's own columns, with a metric of the docs.
    charts: dict[str, object] = {}
    now = datetime.now(UTC).replace(tzinfo=None)
    for view, label, expression in (
        ("requests", "arrived", "SUM(arrived)"),
        ("latencies", "p95", "quantileExactWeighted(0.95)(seconds, requests)"),
    ):
        dataset = SqlaTable(table_name=view, schema=database_name, database=database)
        db.session.add(dataset)
        db.session.flush()
        dataset.fetch_metadata()
        dataset.metrics.append(SqlMetric(metric_name=label, expression=expression))
        db.session.commit()
        charts[f"{view}_time_column"] = dataset.main_dttm_col
        for grain in ("PT1M", "PT1H"):
            answer = dataset.query(
                {
                    "granularity": "minute",
                    "from_dttm": now - timedelta(hours=3),
                    "to_dttm": now + timedelta(hours=1),
                    "is_timeseries": True,
                    "groupby": [],
                    "columns": [],
                    "metrics": [label],
                    "filter": [{"col": "measure", "op": "==", "val": "latency"}]
                    if view == "latencies"
                    else [],
                    "extras": {"time_grain_sqla": grain},
                    "row_limit": 10_000,
                    "orderby": [],
                }
            )
            assert answer.error_message is None, answer.error_message
            charts[f"{view} {grain}"] = {
                str(at): float(value)
                for at, value in zip(answer.df["__timestamp"], answer.df[label], strict=True)
            }
    found["charts"] = charts
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
