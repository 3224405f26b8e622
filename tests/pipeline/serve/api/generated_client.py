"""Reads figures with a client made from the OpenAPI document; test_openapi_judges.py makes it and runs this."""

import json
import os

from endpoint_figures import AuthenticatedClient
from endpoint_figures.api.figures import get_series, get_summary
from endpoint_figures.api.scraping import scrape_endpoint

client = AuthenticatedClient(base_url=os.environ["URL"], token=os.environ["TOKEN"])
series = get_series.sync(
    "acme", "llm", client=client, from_="now-1h", series="requests", include="summary", details=True
)
text = scrape_endpoint.sync("acme", "llm", client=client, name_query=["http_requests", "replica_state"])
problem = get_summary.sync("acme", "lm", client=client)
print(json.dumps({"statuses": series.summary.statuses.to_dict(), "text": text, "status": problem.status}))
