"""Holds a real answer to what the OpenAPI document says about its path and status."""

import json

import jsonschema


def check_answer(document, path, answer):
    """Fail unless the status, the content type and the body are in the document."""
    response = document["paths"][path]["get"]["responses"][str(answer.status)]
    if "$ref" in response:
        response = document["components"]["responses"][response["$ref"].rpartition("/")[2]]
    shape = response["content"][answer.headers["content-type"]]["schema"]
    schema = {**shape, "components": document["components"]}
    jsonschema.Draft202012Validator(schema).validate(json.loads(answer.body))
