"""ClickHouse: migrations, writing rows, the queries."""
