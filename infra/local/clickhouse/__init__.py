"""A real ClickHouse engine on one machine, behind the HTTP interface of ClickHouse."""
