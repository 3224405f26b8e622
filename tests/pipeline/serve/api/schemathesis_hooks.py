"""What schemathesis also checks: a range whose values are each valid is refused only for what they are together.

It is loaded by schemathesis, in its own virtual environment: nothing of ours can be imported.
"""

import os

import schemathesis

TOGETHER = {"query parameter from", "query parameter to", "query parameter step", "query parameter since"}


@schemathesis.check
def refuses_only_combinations(_ctx, response, case):
    """A 400 for valid values names the range or its step; a 413 says how to ask for less."""
    positive = case.meta is not None and case.meta.generation.mode.is_positive
    if positive and response.status_code == 400:
        where = response.json()["where"]
        assert where in TOGETHER, f"{where} is refused although it matches its schema"


@schemathesis.hook
def before_call(_ctx, case, _kwargs):
    """Sign in with a real token where the example of the document stands."""
    if case.operation.label == "POST /session" and case.body == {"token": os.environ["EXAMPLE"]}:
        case.body = {"token": os.environ["TOKEN"]}
