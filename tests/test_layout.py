"""Tests lie where the code they test lies."""

from graphlib import TopologicalSorter
from pathlib import Path

import grimp

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "reasonir"
WHOLE = {"scenarios", "faults", "conf", "install", "notebooks"}  # not one module of the package


def test_tests_mirror_the_package():
    for file in TESTS.rglob("test_*.py"):
        path = file.relative_to(TESTS)
        if path.parts[0] in WHOLE or path in {Path("test_layout.py"), Path("test_docs.py")}:
            continue
        module = PACKAGE / path.parent / path.name.removeprefix("test_")
        assert module.is_file(), f"{path} has no module {module.relative_to(PACKAGE.parent)}"


def test_no_files_import_each_other_in_a_circle():
    graph = grimp.build_graph("reasonir", exclude_type_checking_imports=True)
    TopologicalSorter({module: graph.find_modules_directly_imported_by(module) for module in graph.modules}).prepare()
