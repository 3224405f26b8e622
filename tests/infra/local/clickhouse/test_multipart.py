import pytest

from endpoint_analytics.infra.local.clickhouse.errors import ClickHouseError
from endpoint_analytics.infra.local.clickhouse.multipart import external_tables, parse_form, split_types

TYPE = "multipart/form-data; boundary=XX"
BODY = (
    b'--XX\r\nContent-Disposition: form-data; name="query"\r\n\r\nSELECT 1\r\n'
    b'--XX\r\nContent-Disposition: form-data; name="t"; filename="f"\r\nContent-Type: text/plain\r\n\r\n1\r\n2\n\r\n'
    b"--XX--\r\n"
)


def test_fields_and_files_are_distinguished():
    form = parse_form(TYPE, BODY)
    assert form.fields == {"query": "SELECT 1"}
    assert form.files == {"t": b"1\r\n2\n"}


def test_a_truncated_form_is_an_error():
    for content_type, body in ((TYPE, BODY[:-10]), ("multipart/form-data", BODY), (TYPE, b"")):
        with pytest.raises(ClickHouseError):
            parse_form(content_type, body)


def test_tables_by_structure_and_by_types():
    files = {"t": b"1\n", "u": b"2\n"}
    described = {"t_structure": "x UInt8", "t_format": "CSV", "u_types": "UInt8, Map(String, UInt8)"}
    first, second = external_tables(files, described)
    assert (first.structure, first.data_format) == ("x UInt8", "CSV")
    assert (second.structure, second.data_format) == ("_1 UInt8, _2 Map(String, UInt8)", "TabSeparated")
    with pytest.raises(ClickHouseError):
        external_tables(files, {})


@pytest.mark.parametrize(
    "described",
    [
        {"t_structure": "x UInt8) ENGINE = Null AS SELECT (1"},
        {"t_structure": "x UInt8; DROP TABLE y"},
        {"t_types": "UInt8, (UInt8"},
        {"t_structure": "x UInt8", "t_format": "CSV 1"},
    ],
)
def test_an_invalid_list_of_columns_is_refused(described):
    with pytest.raises(ClickHouseError, match="t_structure, t_types or t_format"):
        external_tables({"t": b""}, described)


def test_types_are_split_outside_brackets():
    assert split_types("UInt8,Map(String, UInt8) ,Array(Tuple(A, B))") == [
        "UInt8",
        "Map(String, UInt8)",
        "Array(Tuple(A, B))",
    ]
