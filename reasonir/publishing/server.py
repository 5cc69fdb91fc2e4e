"""HTTP server of a retriever, reranker or pruner, in the formats of MLflow, OpenAI, Cohere and TEI.

`POST /invocations` takes {"dataframe_records": [...], "params": {...}} (see `reasonir.publishing.answers`) and answers
{"predictions": [...]}, as MLflow's scoring server; `POST /v1/embeddings` and `/rerank` are described in
`reasonir.publishing.embeddings` and `reranking`. `GET /ping`, `/health` and `/version` tell that it lives, `/v1/models`
names the model. A mistake is answered by one JSON object in the format of its address, without a stack trace: 400 for a
wrong request, 404 and 405 for another address, 413 for a body that is too large, 415 for one that isn't JSON, 503 if
too many wait, 504 if the time is over, 500 for a fault of the server, whose trace is in its log. A client that leaves
ends its request's work.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from reasonir.errors import InputError
from reasonir.publishing.answers import Answers, refuse_unknown
from reasonir.publishing.embeddings import embeddings
from reasonir.publishing.reranking import rerank
from reasonir.publishing.turns import Deadline, GoneError, TooLateError
from reasonir.utils.parsing import parse_json

log = logging.getLogger(__name__)
Answer = Callable[[Answers, Mapping[str, Any], Deadline], Any]
"""Answers the fields of a body."""
_WAITING = 64
"""Requests worked on or waiting; further ones are turned away."""
_LOOK_AGAIN_S = 0.1
_CODES = {400: "BAD_REQUEST", 413: "REQUEST_LIMIT_EXCEEDED", 503: "TEMPORARILY_UNAVAILABLE", 504: "DEADLINE_EXCEEDED"}
_LEFT = 499
"""Status of a request whose client has left, which nobody reads (nginx's)."""
_GIVE = {
    "/invocations": '{"dataframe_records": [{"query": ..., "documents": [...]}], "params": {...}}',
    "/v1/embeddings": '{"input": [...], "model": ...}',
    **dict.fromkeys(("/rerank", "/v1/rerank", "/v2/rerank"), '{"query": ..., "documents": [...]}'),
}
"""Bodies by address."""
_GET = ("/ping", "/health", "/version", "/v1/models")


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
        self._started = int(time.time())

    def application(self) -> Starlette:
        """Return the application, for an ASGI server."""
        answers = {"/invocations": _invocations, "/v1/embeddings": embeddings}
        routes = [
            Route("/ping", _alive),
            Route("/health", _alive),
            Route("/version", _version),
            Route("/v1/models", self._models),
            *(Route(path, self._answering(path, answers.get(path, rerank)), methods=["POST"]) for path in _GIVE),
        ]
        return Starlette(routes=routes, exception_handlers={HTTPException: _no_such_address, Exception: _fault})

    async def _models(self, request: Request) -> Response:
        model = {"id": self._answers.name, "object": "model", "created": self._started, "owned_by": "reasonir"}
        return JSONResponse({"object": "list", "data": [model]})

    def _answering(self, path: str, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
        """Return the endpoint of an address, which answers bodies by `answer`."""

        def work(body: bytes, deadline: Deadline) -> Response:
            return JSONResponse(answer(self._answers, _parsed(body, path), deadline))

        async def endpoint(request: Request) -> Response:
            try:
                return await self._work(request, work, await self._body(request))
            except (ClientDisconnect, GoneError):
                return Response(status_code=_LEFT)
            except InputError as error:
                return _error(path, error.status if isinstance(error, RefusedError) else 400, str(error))
            except TooLateError:
                late = f"no answer within {self._answers.limits.seconds:g} seconds: give fewer documents"
                return _error(path, 504, late)

        return endpoint

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

    async def _work(self, request: Request, answer: Callable[[bytes, Deadline], Response], body: bytes) -> Response:
        """Return the answer, computed in a thread until it is there or the client leaves."""
        if self._working >= _WAITING:
            raise RefusedError(503, f"{_WAITING} requests wait: try again later")
        deadline = self._answers.limits.deadline()
        self._working += 1
        work = asyncio.get_running_loop().run_in_executor(self._pool, answer, body, deadline)
        try:
            while not work.done():
                await asyncio.wait([work], timeout=_LOOK_AGAIN_S)
                if await request.is_disconnected():
                    deadline.give_up()
            return work.result()
        finally:
            deadline.give_up()
            self._working -= 1


def _parsed(body: bytes, path: str) -> Mapping[str, Any]:
    """Return a body's fields without those that are null.

    Raises:
        InputError: the body isn't a JSON object.
    """
    request = parse_json(body, "the body", remedy="send a JSON object")
    if not isinstance(request, dict):
        raise InputError(f"give {_GIVE[path]}")
    return {name: value for name, value in request.items() if value is not None}


def _invocations(answers: Answers, body: Mapping[str, Any], deadline: Deadline) -> dict[str, Any]:
    """Answer a request in MLflow's format.

    Raises:
        InputError: the body isn't a request.
    """
    if not isinstance(records := body.get("dataframe_records"), list):
        raise InputError(f"give {_GIVE['/invocations']}")
    refuse_unknown(body, ("dataframe_records", "params"), "the body")
    params = body.get("params", {})
    if not isinstance(params, dict) or not all(isinstance(record, dict) for record in records):
        raise InputError("every record, and params, has to be an object")
    given = {name: value for name, value in params.items() if value is not None}
    return {"predictions": answers.answer(records, given, deadline)}


async def _alive(request: Request) -> Response:
    return PlainTextResponse("\n")


async def _version(request: Request) -> Response:
    return PlainTextResponse(metadata.version("reasonir"))


async def _no_such_address(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    there = f"POST {', '.join(_GIVE)}, GET {', '.join(_GET)}"
    return _error(request.url.path, error.status_code, f"{error.detail}: {there}")


async def _fault(request: Request, error: Exception) -> Response:
    return _error(request.url.path, 500, "the server failed: its log has the reason")


def _error(path: str, status: int, message: str) -> Response:
    """Return an error in the format of its address: Cohere's and TEI's in one, OpenAI's or MLflow's."""
    body: dict[str, Any]
    if path.endswith("/rerank"):
        kind = "Overloaded" if status == 503 else "Validation" if status < 500 else "Backend"
        body = {"message": message, "error": message, "error_type": kind}
    elif path.startswith("/v1/"):
        kind = "invalid_request_error" if status < 500 else "server_error"
        body = {"error": {"message": message, "type": kind, "param": None, "code": None}}
    else:
        body = {
            "error_code": _CODES.get(status, "INTERNAL_ERROR" if status == 500 else "BAD_REQUEST"),
            "message": message,
        }
    closing = {"Connection": "close"}  # what is left of a body isn't read
    return JSONResponse(body, status_code=status, headers=closing)
