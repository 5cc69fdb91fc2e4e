"""What a wrong command imports before it is answered."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "lightning", "transformers", "mlflow", "sentence_transformers", "datasets")
CODE = """
import sys
import reasonir.{command}
sys.argv = ["reasonir", *{arguments}]
try:
    reasonir.{command}.main()
finally:
    print(*sorted({heavy} & set(sys.modules)))
"""


def imported(command, *arguments):
    """Run a wrong command in a process of its own; return its message and the heavy libraries that it imported."""
    code = CODE.format(command=command, arguments=list(arguments), heavy=set(HEAVY))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    return done.stderr, set(done.stdout.split())


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        ("train", ["model=tinny"], "model=tinny: there is no such option (did you mean 'tiny'?)"),
        ("train", ["model=minilm", "hardware=cpu", "optim.lrr=1"], "optim has no 'lrr' (did you mean 'lr'?)"),
        ("evaluate", ["eval=brigth"], "eval=brigth: there is no such option (did you mean 'bright'?)"),
        ("search", ["qery=x"], "the configuration has no 'qery' (did you mean 'query'?)"),
    ],
)
def test_a_misspelt_word_is_answered_without_heavy_imports(command, arguments, message):
    told, heavy = imported(command, *arguments)
    assert message in told
    assert heavy == set()


def test_a_value_out_of_range_is_answered_without_lightning_and_transformers():
    told, heavy = imported("train", "model=minilm", "data=triplets", "data.path=x", "optim.lr=-1")
    assert "optim.lr=-1: give a number above 0" in told
    assert heavy <= {"torch"}
