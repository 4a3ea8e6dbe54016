"""Errors as responses: one shape for all, which Ironic understands too."""

from __future__ import annotations

from flask import Response

from agent_router.schema.jsontext import dumps
from agent_router.schema.problems import RequestError


def error_response(error: RequestError) -> Response:
    return Response(dumps(error.as_json()), error.status, mimetype="application/json")


def failure_response(error: Exception) -> Response:
    """For a defect of ours."""
    return error_response(RequestError(500, "agent_defect", f"The agent failed: {type(error).__name__}: {error}"))
