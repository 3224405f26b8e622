"""A real ClickHouse engine on one machine, behind ClickHouse's HTTP interface. See README.md."""
