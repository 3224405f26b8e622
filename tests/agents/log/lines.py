"""Log lines for tests: as nginx writes them in the format of docs/instrument/nginx.md."""

from __future__ import annotations


def nginx_line(
    end_s: float,
    status: int = 200,
    duration_s: float = 0.1,
    header: str = "0.080",
    response: str = "0.100",
    ok="OK",
    sent=500,
    request="POST /predict HTTP/1.1",
) -> str:
    return (
        f'10.0.0.1 - - [24/Nov/2026:20:03:15 +0000] "{request}" {status} 15 "-" "client/1.0" '
        f"msec={end_s:.3f} rt={duration_s:.3f} uht={header} urt={response} sent={sent} ok={ok}"
    )
