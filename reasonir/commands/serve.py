"""Serve a model over HTTP until it is interrupted or terminated."""

from __future__ import annotations

import logging
import socket
from pathlib import Path

from omegaconf import DictConfig

from reasonir.cli.configuration import build
from reasonir.cli.startup import quiet_libraries
from reasonir.errors import InputError
from reasonir.hardware import Hardware
from reasonir.inference import load
from reasonir.inference.index_cache import open_corpus
from reasonir.inference.loading import run_of
from reasonir.inference.retriever import Retriever
from reasonir.publishing.answers import Answers

log = logging.getLogger(__name__)


def serve(config: DictConfig) -> None:
    """Serve `config.run`.

    Raises:
        InputError: an option, the model, the corpus, the address or the port can't be used.
    """
    import uvicorn

    from reasonir.publishing.server import Server

    quiet_libraries()
    limits, hardware = build(config.limits), build(config.hardware)
    assert isinstance(hardware, Hardware)
    with _listening(str(config.host), config.port) as listener:
        device = hardware.resolve().torch_device
        model = load(str(config.run), device=device, trust_remote_code=config.trust_remote_code)
        if config.corpus is not None:
            if not isinstance(model, Retriever):
                raise InputError(f"corpus={config.corpus}: run={config.run} is no retriever: omit corpus=")
            open_corpus(model, str(config.corpus), Path(config.home))
        name = _name(str(config.run))
        log.info(
            "Serving %s at http://%s:%d (/invocations, /v1/embeddings, /rerank); Ctrl-C stops it",
            name,
            config.host,
            config.port,
        )
        application = Server(Answers(model, limits, name=name)).application()
        settings = uvicorn.Config(application, log_config=None, access_log=False, timeout_graceful_shutdown=5)
        uvicorn.Server(settings).run(sockets=[listener])


def _name(path: str) -> str:
    """Return a model's name for clients: a run's or folder's without its place, or a hub id."""
    folder = run_of(path) or Path(path).expanduser()
    return folder.resolve().name if folder.exists() else path


def _listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address.

    Raises:
        InputError: the address or port can't be used.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except (OSError, OverflowError) as error:
        raise InputError(f"host={host} port={port} can't be listened on ({error}): give another port or host") from None
    return listener
