"""HTTP server of a retriever, reranker or pruner, by the protocol of MLflow's scoring server.

`POST /invocations` takes {"dataframe_records": [...], "params": {...}} (see `reasonir.publishing.answers`) and answers
{"predictions": [...]}; `GET /ping`, `/health` and `/version` tell that it lives. A mistake is answered by one JSON
object of `error_code` and `message`, without a stack trace: 400 for a wrong request, 404 and 405 for another address,
413 for a body that is too large, 415 for one that isn't JSON, 503 if too many wait, 504 if the time is over, 500 for a
fault of the server, whose trace is in its log. A client that leaves ends its request's work.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from reasonir.errors import InputError
from reasonir.publishing.answers import Answers
from reasonir.publishing.turns import GoneError, TooLateError
from reasonir.utils.parsing import parse_json

log = logging.getLogger(__name__)
_WAITING = 64
"""Requests worked on or waiting; further ones are turned away."""
_LOOK_AGAIN_S = 0.1
_CODES = {400: "BAD_REQUEST", 413: "REQUEST_LIMIT_EXCEEDED", 503: "TEMPORARILY_UNAVAILABLE", 504: "DEADLINE_EXCEEDED"}
_LEFT = 499
"""Status of a request whose client has left, which nobody reads (nginx's)."""


class RefusedError(InputError):
    """A request that isn't answered, with its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Server:
    """The web application of a model's answers."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._pool = ThreadPoolExecutor(_WAITING, thread_name_prefix="request")
        self._working = 0

    def application(self) -> Starlette:
        """Return the application, for an ASGI server."""
        routes = [
            Route("/ping", _alive),
            Route("/health", _alive),
            Route("/version", _version),
            Route("/invocations", self._invocations, methods=["POST"]),
        ]
        return Starlette(routes=routes, exception_handlers={HTTPException: _no_such_address, Exception: _fault})

    async def _invocations(self, request: Request) -> Response:
        try:
            body = await self._body(request)
            records, params = _parsed(body)
            return JSONResponse({"predictions": await self._work(request, records, params)})
        except (ClientDisconnect, GoneError):
            return Response(status_code=_LEFT)
        except InputError as error:
            return _error(error.status if isinstance(error, RefusedError) else 400, str(error))
        except TooLateError:
            return _error(504, f"no answer within {self._answers.limits.seconds:g} seconds: give fewer documents")

    async def _body(self, request: Request) -> bytes:
        """Return the body, read no further than the limit."""
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise RefusedError(415, "give Content-Type: application/json")
        most, body = self._answers.limits.bytes, bytearray()
        stated = request.headers.get("content-length", "0")
        if not stated.isdecimal() or int(stated) > most:
            raise RefusedError(413, f"a body of {stated} bytes, at most {most:,} in a request: split it")
        try:
            async with asyncio.timeout(self._answers.limits.seconds):
                async for part in request.stream():
                    body += part
                    if len(body) > most:
                        raise RefusedError(413, f"a body of more than {most:,} bytes: split it")
        except TimeoutError:
            raise TooLateError from None
        return bytes(body)

    async def _work(self, request: Request, records: list[Mapping[str, Any]], params: Mapping[str, Any]) -> Any:
        """Return the answers, computed in a thread until they are there or the client leaves."""
        if self._working >= _WAITING:
            raise RefusedError(503, f"{_WAITING} requests wait: try again later")
        deadline = self._answers.limits.deadline()
        self._working += 1
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._pool, self._answers.answer, records, params, deadline)
        try:
            while not work.done():
                await asyncio.wait([work], timeout=_LOOK_AGAIN_S)
                if await request.is_disconnected():
                    deadline.give_up()
            return work.result()
        finally:
            deadline.give_up()
            self._working -= 1


def _parsed(body: bytes) -> tuple[list[Mapping[str, Any]], Mapping[str, Any]]:
    """Return a request's records and parameters.

    Raises:
        InputError: the body isn't a request.
    """
    request = parse_json(body, "the body", remedy="send a JSON object")
    if not isinstance(request, dict) or not isinstance(records := request.get("dataframe_records"), list):
        raise RefusedError(400, 'give {"dataframe_records": [{"query": ..., "documents": [...]}], "params": {...}}')
    if unknown := sorted(set(request) - {"dataframe_records", "params"}):
        raise RefusedError(
            400, f"the body has {', '.join(map(repr, unknown))}: give dataframe_records and params alone"
        )
    params = request.get("params") or {}
    if not isinstance(params, dict) or not all(isinstance(record, dict) for record in records):
        raise RefusedError(400, "every record, and params, has to be an object")
    return records, {name: value for name, value in params.items() if value is not None}


async def _alive(request: Request) -> Response:
    return PlainTextResponse("\n")


async def _version(request: Request) -> Response:
    return PlainTextResponse(metadata.version("reasonir"))


async def _no_such_address(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(error.status_code, f"{error.detail}: POST /invocations, GET /ping, /health or /version")


async def _fault(request: Request, error: Exception) -> Response:
    return _error(500, "the server failed: its log has the reason")


def _error(status: int, message: str) -> Response:
    code = _CODES.get(status, "INTERNAL_ERROR" if status == 500 else "BAD_REQUEST")
    closing = {"Connection": "close"}  # what is left of a body isn't read
    return JSONResponse({"error_code": code, "message": message}, status_code=status, headers=closing)
