"""A thousand inputs that attack: every reader refuses or reads them, in bounded time, and runs nothing of them.

Each input is made from a number, so a failure names what to try again. `tried` inputs were given, `held` of them were
read or refused in one message; `lost` ones hung, crashed or ran code.
"""

import contextlib
import gzip
import io
import json
import random
import signal
import traceback
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml

import reasonir
from reasonir.cli.arguments import config_errors
from reasonir.cli.command import with_saved_overrides
from reasonir.data.files.queries import read_queries
from reasonir.data.files.raw_documents import read_texts
from reasonir.data.files.records import id_of, read, text_of
from reasonir.errors import InputError
from reasonir.eval.trec import read_judgements, read_run
from reasonir.model.remote_code import refuse_remote_code
from reasonir.runs.folder import exported_model, saved_data, saved_eval, untrained_model
from reasonir.utils.parsing import read_yaml
from tests.hostile import Hostile
from tests.running import run

LIMIT = 20
"""Seconds for one input."""
TARGETS = ("builtins.open", "torch.load", "os.system", "subprocess.run", "pickle.loads", "builtins.eval", "evil.Evil")


class TooLongError(Exception):
    """An input took more than `LIMIT` seconds."""


@contextlib.contextmanager
def limit():
    def stop(*_):
        raise TooLongError

    previous = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def text(draw: random.Random) -> str:
    """A value that some reader may trip over."""
    return draw.choice(
        [
            *(
                "",
                " ",
                "\x00",
                "\ufeff",
                "\\ud800",
                "\r",
                "\n\n",
                '"',
                "'",
                "[",
                "]",
                "{",
                "}",
                ",",
                "\t",
                "=1+1",
                "${a}",
            ),
            *("${oc.env:HOME}", "../../../etc/passwd", "/dev/zero", "/proc/self/mem", "NaN", "1e999", "9" * 5000, "-0"),
            *("True", "null", "x" * 100_000, " " * 100_000, "\n" * 50_000, "[" * 5000, "{" * 5000, "Q0 " * 30_000),
            *('"' * 50_000, "\\" * 50_000, "1" + ":59" * 50_000, "é" * 1000, "😀" * 1000, "\u202e", "a\x1b[2J"),
            *("!!python/object/apply:os.system ['true']", "*a", "&a [*a]", "<<: *a", "? [1]", "2001-99-99", "0x_"),
        ]
    )


def value(draw: random.Random, depth: int = 0):
    """A value of JSON."""
    kind = draw.randrange(9 if depth < 4 else 6)
    if kind > 6:
        return {text(draw)[:50]: value(draw, depth + 1) for _ in range(draw.randrange(4))}
    if kind == 6:
        return [value(draw, depth + 1) for _ in range(draw.randrange(4))]
    return draw.choice([None, True, -1, 10**400, 1.5, float("nan"), text(draw), text(draw)])


def deep(draw: random.Random) -> str:
    depth = draw.choice([90, 110, 500, 900, 1100, 100_000])
    opening, closing = draw.choice([("[", "]"), ('{"a":', "}"), ('[{"query":', "}]")])
    return opening * depth + draw.choice(["", "1", "1" + closing * depth])


def bomb(draw: random.Random) -> str:
    """YAML that expands beyond all memory."""
    levels, width = draw.choice([(30, 10), (60, 2), (200, 1)])
    form = draw.choice(["[{}]", "{{<<: [{}]}}", "{{k: [{}]}}"])
    lines = [f"a{n}: &a{n} " + form.format(", ".join([f"*a{n - 1}"] * width)) for n in range(1, levels)]
    return "\n".join(["a0: &a0 {k: 1}", *lines])


def damaged(raw: bytes, draw: random.Random) -> bytes:
    """Bytes with some flipped, cut, doubled or removed."""
    raw = bytearray(raw)
    for _ in range(draw.choice([1, 1, 3, 20])):
        if not raw:
            break
        at = draw.randrange(len(raw))
        how = draw.randrange(4)
        if how == 0:
            raw[at] ^= 1 << draw.randrange(8)
        elif how == 1:
            del raw[at:]
        elif how == 2:
            raw[at:at] = raw[: draw.randrange(200)]
        else:
            del raw[at : at + draw.randrange(50)]
    return bytes(raw)


def packed(raw: bytes, draw: random.Random) -> bytes:
    if draw.randrange(6):
        return gzip.compress(raw, 1)
    return draw.choice([gzip.compress(gzip.compress(raw)), gzip.compress(raw)[:-5], b"\x1f\x8b" + raw])


def rows(draw: random.Random) -> list[dict]:
    keys = ["query", "text", "_id", "positive", "negative", "label", text(draw)[:20]]
    return [{key: value(draw) for key in draw.sample(keys, draw.randrange(7))} for _ in range(draw.randrange(1, 5))]


def content(suffix: str, draw: random.Random) -> bytes:
    """A file of a kind."""
    if suffix in (".parquet", ".arrow"):
        table, stream = pa.table({"query": ["a", "b"], "text": [["x"], ["y"]], "label": [1, 2]}), io.BytesIO()
        if suffix == ".parquet":
            pq.write_table(table, stream)
        else:
            with pa.ipc.new_stream(stream, table.schema) as writer:
                writer.write_table(table)
        return damaged(stream.getvalue(), draw)
    if suffix in (".json", ".jsonl"):
        lines = [json.dumps(row) for row in rows(draw)]
        good = "\n".join(lines) if suffix == ".jsonl" else f"[{','.join(lines)}]"
        chosen = draw.choice([good, good, deep(draw), f'{{"a": 1, "a": {deep(draw)}', text(draw)])
    elif suffix in (".csv", ".tsv"):
        separator = "," if suffix == ".csv" else "\t"
        chosen = "\n".join(separator.join(text(draw) for _ in range(3)) for _ in range(4))
        chosen = draw.choice([chosen, f"query,text\n{chosen}", 'query,text\n"' + text(draw), "query,query\n1,2"])
    elif suffix == ".yaml":
        nodes = {"_target_": draw.choice(TARGETS), "data": value(draw), text(draw)[:20]: value(draw)}
        chosen = draw.choice(
            [bomb(draw), deep(draw), text(draw), yaml.safe_dump(nodes), f"- {text(draw)}\n- {text(draw)}"]
        )
    else:
        cells = [draw.choice(["1", "Q0", "0", "d", "0.5", text(draw)]) for _ in range(draw.randrange(1, 12))]
        chosen = "\n".join(draw.choice([" ", "\t", "  "]).join(cells) for _ in range(3))
    raw = chosen.encode(draw.choice(["utf-8", "utf-8", "utf-8", "utf-16", "utf-32"]), "replace")
    return damaged(raw, draw) if draw.randrange(3) == 0 else raw


def every_row(file: Path) -> None:
    for record in read(file):
        with contextlib.suppress(InputError):
            text_of(record, "query")
        with contextlib.suppress(InputError):
            id_of(record, ("_id", "query"), number=1)


KINDS = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
FILES = {
    **{f"rows{suffix}": (suffix, every_row) for suffix in (*KINDS, ".arrow")},
    "run": (".trec", read_run),
    "judgements": (".qrels", read_judgements),
    "queries": (".txt", read_queries),
    "queries.jsonl": (".jsonl", read_queries),
    "documents": (".txt", lambda file: list(read_texts(file))),
    "yaml": (".yaml", lambda file: read_yaml(file, remedy="copy it again")),
}


def of_a_file(name: str, number: int, hostile: Hostile) -> None:
    draw = random.Random(f"{name} {number}")
    suffix, reader = FILES[name]
    raw = content(suffix, draw)
    if draw.randrange(8) == 0:
        raw = (hostile.place / "payload.pkl").read_bytes()
    if suffix in KINDS and draw.randrange(4) == 0:
        raw, suffix = packed(raw, draw), f"{suffix}.gz"
    file = hostile.place / f"{number}{suffix}"
    file.write_bytes(raw)
    try:
        reader(file)
    finally:
        file.unlink()


def node(draw: random.Random, hostile: Hostile) -> dict:
    """A part of a run's configuration that would call something."""
    call = draw.choice(
        [hostile.calls(draw.choice(TARGETS)), {"_target_": draw.choice(TARGETS), "_args_": [text(draw)]}]
    )
    key = draw.choice(["head", "prompts", "lora", "shape", "path", "source", "_args_", "collection", text(draw)[:20]])
    inner = draw.choice([call, [call], {"a": {"b": call}}, value(draw)])
    own = ["reasonir.model.backbone.Model", "reasonir.data.demo.Demo", "reasonir.eval.bright.Bright", *TARGETS]
    return {"_target_": draw.choice(own), key: inner}


def of_a_run(number: int, hostile: Hostile) -> None:
    draw = random.Random(f"run {number}")
    folder = hostile.place / f"run_{number}"
    folder.mkdir()
    config = {part: draw.choice([node(draw, hostile), value(draw)]) for part in ("model", "data", "eval")}
    raw = yaml.safe_dump(config).encode()
    code = f"model: !!python/object/apply:open ['{hostile.marker}', 'w']\n".encode()
    (folder / "config.yaml").write_bytes(draw.choice([raw, raw, raw, damaged(raw, draw), code, content(".yaml", draw)]))
    for opened in (untrained_model, saved_data, saved_eval, exported_model):
        with contextlib.suppress(InputError):
            opened(folder)


def of_a_command(number: int, hostile: Hostile) -> None:
    """Overrides that a run's folder saved, and words of a command line."""
    draw = random.Random(f"command {number}")
    folder = hostile.place / f"resumed_{number}"
    (folder / ".hydra").mkdir(parents=True)
    keys = [
        "model",
        "data.path",
        "loss._target_",
        "+callbacks.x._target_",
        "hydra.searchpath",
        "hydra/launcher",
        "~seed",
    ]
    words = [f"{draw.choice(keys)}={draw.choice([text(draw), *TARGETS])}" for _ in range(3)]
    raw = draw.choice([yaml.safe_dump(words).encode(), content(".yaml", draw)])
    (folder / ".hydra" / "overrides.yaml").write_bytes(raw)
    with contextlib.suppress(InputError):
        with_saved_overrides([f"resume={folder}"])
    name = draw.choice(["train", "evaluate", "search", "mine"])
    for error in config_errors(name, ["model=tiny", *(word[:2000] for word in words if "_target_" not in word)]):
        assert isinstance(error, str)


def of_a_checkpoint(number: int, hostile: Hostile) -> None:
    draw = random.Random(f"checkpoint {number}")
    folder = hostile.place / f"checkpoint_{number}"
    folder.mkdir()
    (folder / "evil.py").write_text(hostile.code)
    names = ["config.json", "modules.json", "tokenizer_config.json", "sentence_bert_config.json", "adapter_config.json"]
    modules = ["Dense", "Router", "Transformer", "Pooling"]
    for name in (*draw.sample(names, 3), "router_config.json"):
        kind = draw.choice([*TARGETS, *(f"sentence_transformers.models.{module}" for module in modules)])
        path = draw.choice(["", ".", text(draw)[:50], value(draw)])
        known = {
            "model_type": draw.choice(["bert", value(draw)]),
            "architectures": value(draw),
            "hidden_size": value(draw),
        }
        own = {"auto_map": {"AutoModel": "evil.Evil"}, "types": value(draw), "tokenizer_class": value(draw)}
        stated = draw.choice([known, {**known, **own}, {"types": {text(draw)[:9]: kind}}, {"types": value(draw)}])
        listed = [{"type": kind, "path": path, "name": value(draw), "idx": 0}]
        chosen = draw.choice([json.dumps(listed), json.dumps(stated), json.dumps(value(draw)), deep(draw)])
        (folder / name).write_bytes(chosen.encode("utf-8", "replace"))
    if draw.randrange(2):
        torch.save(hostile, folder / "pytorch_model.bin")
    with contextlib.suppress(InputError):
        refuse_remote_code(folder)
    reasonir.load(folder)


def of_preparation(number: int, hostile: Hostile) -> None:
    """A whole command on a hostile file."""
    draw = random.Random(f"preparation {number}")
    suffix = draw.choice(KINDS)
    file = hostile.place / f"rows_{number}{suffix}"
    file.write_bytes(content(suffix, draw))
    done = run("prepare", "data=triplets", f"data.path={file}", home=hostile.place / "home")
    assert "Traceback" not in done.err


INPUTS = [
    *((name, lambda number, hostile, name=name: of_a_file(name, number, hostile), 55) for name in FILES),
    ("a run's configuration", of_a_run, 150),
    ("a command line", of_a_command, 80),
    ("a checkpoint", of_a_checkpoint, 120),
    ("a preparation", of_preparation, 40),
]


@pytest.mark.slow
def test_a_thousand_hostile_inputs_are_read_or_refused(tmp_path, capsys):
    hostile, tried, lost = Hostile(tmp_path), Counter(), []
    for name, give, count in INPUTS:
        for number in range(count):
            tried[name] += 1
            try:
                with limit():
                    give(number, hostile)
            except InputError:
                pass
            except TooLongError:
                lost.append(f"{name} {number} hung")
            except BaseException:
                lost.append(f"{name} {number} crashed: {traceback.format_exc(limit=-3)}")
            if hostile.done:
                lost.append(f"{name} {number} ran code")
    with capsys.disabled():
        held = tried.total() - len(lost)
        print(f"\nhostile inputs: tried {tried.total()}, held {held}, lost {len(lost)} ({dict(tried)})")
    assert not lost, "\n".join(lost[:40])
    assert tried.total() >= 1000
