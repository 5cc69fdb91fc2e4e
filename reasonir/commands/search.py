"""Search with a pipeline: one query, a file of queries, or queries from a prompt or standard input.

A terminal shows passages as readable text. Other outputs get one line per passage: query, rank, score, id and pruned
text, separated by tabs. A file of queries is answered in results.jsonl (texts) and run.trec (rankings).
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from omegaconf import DictConfig

from reasonir.cli.configuration import build
from reasonir.cli.startup import quiet_libraries
from reasonir.data.files.queries import read_queries
from reasonir.errors import InputError
from reasonir.eval.trec import write_run
from reasonir.hardware import Hardware
from reasonir.inference.index_cache import open_corpus
from reasonir.inference.loading import read_encoder, run_of
from reasonir.inference.pipeline import BM25, Answer, Pipeline, Stages
from reasonir.inference.retriever import Retriever
from reasonir.inference.search_engine import SearchEngine
from reasonir.model.download import locate
from reasonir.runs.plain_values import plain_values
from reasonir.tracking.database import address_of, refuse_unusable
from reasonir.tracking.model_registry import package
from reasonir.tracking.open import tracked
from reasonir.tracking.outbox import PATIENCE
from reasonir.types import Text
from reasonir.utils.files import atomic_path
from reasonir.utils.progress import progress

log = logging.getLogger(__name__)
_SHOWN = 600
"""Characters of a passage on a terminal."""


def search(config: DictConfig, folder: Path) -> None:
    """Search `config.corpus`; results of a file of queries go to `folder`.

    Raises:
        InputError: an option, a model, the corpus or the queries can't be used.
    """
    quiet_libraries()
    if config.package:
        if not config.logger.mlflow:
            raise InputError("package=true logs the model to MLflow: give logger=mlflow")
        refuse_unusable(Path(config.home), config.experiment_name, patience=PATIENCE)
    questions = _questions(config)
    pipeline = _pipeline(config)
    index = open_corpus(pipeline.retriever, str(config.corpus), Path(config.home))
    if config.package:
        _package(config, pipeline.retriever, index, folder)
        return
    session = SearchSession(pipeline, config.top_k)
    if config.query is not None:
        session.show(str(config.query))
    elif questions is not None:
        session.write(questions, folder, str(config.run))
    elif sys.stdin.isatty():
        session.prompt()
    else:
        session.pipe()


def _questions(config: DictConfig) -> Mapping[str, Text] | None:
    """Queries of the file `config.queries`, read and checked before anything is loaded; None without a file."""
    if config.query is not None and config.queries is not None:
        raise InputError(f"query={config.query} and queries={config.queries}: give one of them")
    if config.query is not None and not str(config.query).strip():
        raise InputError("query is empty: give a query, or omit it for a prompt")
    return None if config.queries is None else read_queries(Path(str(config.queries)).expanduser())


def _pipeline(config: DictConfig) -> Pipeline:
    hardware: Hardware = build(config.hardware)
    device = hardware.resolve().torch_device
    trust = config.trust_remote_code
    stages = Stages(config.reranker, config.pruner, config.threshold, trust)
    encoder = None if config.run == BM25 else read_encoder(str(config.run), device=device, trust_remote_code=trust)
    if encoder is not None and encoder.head.reads_pairs:
        log.info("run=%s is a %s: BM25 finds its candidates", config.run, encoder.head.kind)
    pipeline = replace(stages.open(encoder, device=device), candidates=config.candidates)
    if pipeline.reranker is not None and config.candidates < config.top_k:
        raise InputError(
            f"candidates={config.candidates} is below top_k={config.top_k}: rerank as many documents as are shown"
        )
    return pipeline


def _package(config: DictConfig, retriever: SearchEngine, index: Path | None, folder: Path) -> None:
    """Log the retriever and its index as an MLflow model; rerankers and pruners need no index."""
    if index is None or not isinstance(retriever, Retriever):
        raise InputError(f"package=true: run={config.run} is no retriever: give a retriever")
    path, home = str(config.run), Path(config.home)
    run = run_of(path)
    with tracked(
        build(config.logger),
        home,
        experiment_name=config.experiment_name,
        name=f"search-{folder.name}",
        folder=folder,
        tags={key: str(value) for key, value in plain_values(config.tags).items()},
    ) as tracking:
        trust = config.trust_remote_code
        export = run / "model" if run else locate(path, trust_remote_code=trust)
        device = retriever.encoder.device.type
        address = package(home, str(tracking.run_id), export, run=run, index=index, device=device)
    log.info(
        "Serve it: MLFLOW_TRACKING_URI=%s mlflow models serve --env-manager local -m %s",
        shlex.quote(address_of(home)),
        shlex.quote(address),
    )


@dataclass(frozen=True, slots=True)
class SearchSession:
    """Queries to a pipeline, with results on standard output or in files.

    Attributes:
        pipeline: with its documents.
        top_k: passages per query.
    """

    pipeline: Pipeline
    top_k: int

    def prompt(self) -> None:
        """Answer queries typed at a prompt, until Ctrl-D."""
        from rich.console import Console

        console = Console()
        console.print(f"{len(self.pipeline.retriever):,} documents. Type a query; Ctrl-D quits.", style="dim")
        try:
            while True:
                if question := console.input("> ").strip():
                    self.show(question)
        except (EOFError, KeyboardInterrupt):
            console.print()

    def pipe(self) -> None:
        """Answer each line of standard input as it arrives.

        Raises:
            InputError: a line isn't UTF-8.
        """
        try:
            for line in sys.stdin:
                if question := line.strip():
                    self.show(question)
        except UnicodeDecodeError as error:
            raise InputError(f"standard input isn't UTF-8 ({error}): convert it") from error

    def show(self, question: str) -> None:
        """Print the passages of a query."""
        answer = self.pipeline.search(question, self.top_k)
        if sys.stdout.isatty():
            _print(answer)
            return
        try:
            for rank, passage in enumerate(answer.passages, 1):
                cells = (question, rank, repr(passage.score), passage.id, passage.kept)
                sys.stdout.write("\t".join(" ".join(str(cell).split()) for cell in cells) + "\n")
            sys.stdout.flush()
        except BrokenPipeError:  # the reader has closed the pipe
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(0) from None

    def write(self, questions: Mapping[str, Text], folder: Path, name: str) -> None:
        """Write the passages of all queries to `folder`, as a TREC run called `name` and as JSON lines."""
        self._warn_of_instructions(questions)
        run: dict[str, dict[str, float]] = {}
        with atomic_path(folder / "results.jsonl") as partial, partial.open("w", encoding="utf-8") as stream:
            for query_id, question in progress(questions.items(), "Searching", total=len(questions)):
                passages = self.pipeline.search(question, self.top_k).passages
                run[query_id] = {passage.id: passage.score for passage in passages}
                row = {"id": query_id, "query": question.text, "hits": [passage._asdict() for passage in passages]}
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")
        write_run(run, folder / "run.trec", Path(name).name)
        log.info("Results of %d queries are in %s", len(run), folder)

    def _warn_of_instructions(self, questions: Mapping[str, Text]) -> None:
        retriever = self.pipeline.retriever
        if not any(question.instruction for question in questions.values()) or not isinstance(retriever, Retriever):
            return
        if not retriever.encoder.head.tokenizer.prompts.takes_instructions:
            log.warning("The queries' instructions are ignored: the model's query prompt has no {instruction}")


def _print(answer: Answer) -> None:
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text as Styled

    console = Console()
    for rank, passage in enumerate(answer.passages, 1):
        console.print(Styled.assemble((f"{rank:>2}  ", "bold"), (passage.id, "cyan"), f"  {passage.score:.4f}"))
        kept = textwrap.shorten(passage.kept, _SHOWN, placeholder=" …")
        shown = Styled(kept) if kept else Styled("no sentence kept", "dim")
        console.print(Padding(shown, (0, 0, 1, 4)))
    if not answer.passages:
        console.print("No passages found.", style="dim")
    times = ", ".join(f"{stage} {1000 * seconds:.0f} ms" for stage, seconds in answer.seconds.items())
    console.print(times, style="dim")
