"""Imports run one way: read from the source; and what needs no torch is imported without it."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = "person_search"
FILES = sorted((REPOSITORY / PACKAGE).rglob("*.py"))

LEAVES = {"command", "errors", "files", "labels", "protocols", "registry", "structures", "tally"}
"""What every room may import, and what imports no room but leaves."""

ROOMS = {
    "": {"config"},
    "config": {"config_files", "data", "engine", "evaluation", "modeling", "precision"},
    "config_files": {"errors"},
    "command": {"errors"},
    "errors": set(),
    "files": {"errors"},
    "labels": set(),
    "protocols": {"errors"},
    "registry": {"errors"},
    "structures": {"errors"},
    "tally": {"errors"},
    "images": {"errors", "data"},  # data: pictures inside of containers alone
    "precision": {"errors"},
    "layers": set(),
    "modeling": {"layers", "precision"},
    "data": {"images", "importing"},  # coco_style reads what importing wrote
    "street": {"data", "images"},
    "importing": {"data", "images"},
    "evaluation": {"data", "images"},
    "engine": {
        "config_files", "data", "evaluation", "layers", "modeling", "packs", "precision",
    },
    "packs": {"images"},
    "__main__": {"gallery"},
    "gallery": {
        "",
        "config",
        "data",
        "engine",
        "evaluation",
        "images",
        "importing",
        "layers",
        "modeling",
        "packs",
        "precision",
    },
}
"""Room -> the rooms it may import, beside itself and the leaves."""

NOBODY_IMPORTS = {
    "train_net": "programs import the package, not the other way round",
    "tools": "programs import the package, not the other way round",
    "detectron2.model_zoo": "needs pkg_resources, which setuptools 82 removed",
    "detectron2.utils.testing": "imports detectron2.model_zoo",
}
LAYERS_IMPORT = {"torch", "torchvision", "detectron2.layers", "detectron2.utils.comm"}
"""Layers are pure torch; detectron2 where ranks must agree, and its thin layers."""

NUMPY_ONLY = (
    "segments adaptation results galleries metrics cbgm detection reid sweep zheng report matches "
    "open_set"
).split()
"""Modules of evaluation that need neither a model nor detectron2."""


def imported(source: str, module: str) -> set[str]:
    """Absolute names of all that the source of ``module`` imports, wherever it does.

    ``from a import b`` gives "a.b", which is right whether b is a module or a name in one.
    """
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".")[: -node.level] if node.level else []
            base += [node.module] if node.module else []
            names |= {".".join([*base, alias.name]) for alias in node.names}
    return names


def imported_at_once(source: str, module: str) -> set[str]:
    """Those that are imported as soon as the module is: not those inside of functions."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [ast.Pass()]
    return imported(ast.unparse(tree), module)


def circle(sources: dict[str, str]) -> list[str]:
    """Modules that import each other in a circle, if there are any.

    Args:
        sources: by module, as of :func:`module_name`.
    """
    known = {module.removesuffix(".__init__") for module in sources}
    graph = {}
    for module, source in sources.items():
        here = module.removesuffix(".__init__")
        # "a.b.c" is the module of that name, or the name c in the module a.b.
        names = imported_at_once(source, module)
        found = {name if name in known else name.rpartition(".")[0] for name in names}
        graph[here] = found & known - {here}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def module_name(path: Path) -> str:
    """Dotted name; that of a package ends in ``__init__``, so relative imports resolve alike."""
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)


def room(module: str) -> str:
    """ "person_search.data.build" -> "data"; "" for the package itself and its names."""
    name = (module.split(".") + [""])[1]
    return name if name in ROOMS else ""


def is_within(name: str, modules) -> bool:
    return any(name == m or name.startswith(f"{m}.") for m in modules)


def forbidden(source: str, module: str) -> list[str]:
    """The imports of a module that the house does not allow."""
    names = imported(source, module)
    here = room(module)
    bad = [name for name in names if is_within(name, NOBODY_IMPORTS)]
    of_package = {name for name in names if is_within(name, [PACKAGE])}
    allowed = ROOMS[here] if here in LEAVES else LEAVES | ROOMS[here] | {here}
    bad += [name for name in of_package if room(name) not in allowed]
    others = {n for n in names - of_package if n.split(".")[0] not in sys.stdlib_module_names}
    if here == "layers":
        bad += [name for name in others if not is_within(name, LAYERS_IMPORT)]
    if here == "evaluation" and module.split(".")[-1] in NUMPY_ONLY:
        bad += [name for name in others if not is_within(name, ["numpy", "scipy"])]
    return sorted(set(bad))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(REPOSITORY / PACKAGE)))
def test_a_module_imports_only_what_its_room_may(path):
    assert forbidden(path.read_text(encoding="utf-8"), module_name(path)) == []


def test_no_modules_import_each_other_in_a_circle():
    sources = {module_name(path): path.read_text(encoding="utf-8") for path in FILES}
    assert circle(sources) == []


@pytest.mark.parametrize(
    "sources, found",
    [
        ({"p.a": "from .b import x", "p.b": "from p.a import y"}, {"p.a", "p.b"}),
        ({"p.a": "from . import b", "p.b": "from . import c", "p.c": "import p.a"}, set("abc")),
        ({"p.a": "from .b import x", "p.b": "def f():\n    from .a import y"}, set()),
        ({"p.a.__init__": "from .b import x", "p.a.b": "from ..a import y"}, {"p.a", "p.a.b"}),
        ({"p.__init__": "", "p.a": "from . import b", "p.b": "import p"}, set()),
    ],
)
def test_the_test_sees_circles(sources, found):
    assert set(circle(sources)) == {n if "." in n else f"p.{n}" for n in found}


WITHOUT_TORCH = """
import importlib, pkgutil, sys
for name in ("torch", "torchvision", "detectron2"):
    sys.modules[name] = None  # importing it fails, as where it is not installed
for room in sys.argv[1].split(","):
    package = importlib.import_module(f"person_search.{room}")
    for module in pkgutil.walk_packages(package.__path__, f"person_search.{room}."):
        if module.name not in sys.argv[2].split(","):
            importlib.import_module(module.name)
"""
NEED_TORCH = [
    "person_search.gallery.detectron2_searcher",
    "person_search.gallery.torch_parts",
    *(
        f"person_search.evaluation.{m}"
        for m in "build regions reid_evaluator run_searcher search_evaluator".split()
    ),
]


def test_packs_galleries_and_metrics_need_no_torch():
    arguments = ("gallery,packs,evaluation", ",".join(NEED_TORCH))
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_every_folder_is_a_known_room():
    folders = {path.parent.name for path in (REPOSITORY / PACKAGE).glob("*/__init__.py")}
    assert folders and folders <= ROOMS.keys()


def test_tools_and_train_net_leave_the_traps_alone():
    traps = [name for name in NOBODY_IMPORTS if name.startswith("detectron2")]
    for path in [REPOSITORY / "train_net.py", *(REPOSITORY / "tools").rglob("*.py")]:
        names = imported(path.read_text(encoding="utf-8"), path.stem)
        assert not [name for name in names if is_within(name, traps)], path


@pytest.mark.parametrize(
    "module, source, found",
    [
        ("data.build", "from person_search.modeling import x", "person_search.modeling.x"),
        ("data.build", "def f():\n    from ..modeling import x", "person_search.modeling.x"),
        ("data.build", "from .. import modeling", "person_search.modeling"),
        ("data.__init__", "from ..evaluation import x", "person_search.evaluation.x"),
        ("modeling.identity.oim", "from ...data import x", "person_search.data.x"),
        ("modeling.identity.oim", "import person_search.data.build", "person_search.data.build"),
        ("evaluation.metrics", "import person_search.modeling", "person_search.modeling"),
        ("evaluation.metrics", "import detectron2", "detectron2"),
        ("layers.oim", "import numpy", "numpy"),
        ("layers.oim", "from detectron2.data import x", "detectron2.data.x"),
        ("layers.oim", "from ..modeling import x", "person_search.modeling.x"),
        ("errors", "from . import labels", "person_search.labels"),
        ("engine.hooks", "from train_net import Trainer", "train_net.Trainer"),
        ("engine.hooks", "from detectron2 import model_zoo", "detectron2.model_zoo"),
        ("gallery.index", "import detectron2.utils.testing", "detectron2.utils.testing"),
    ],
)
def test_the_test_sees_forbidden_imports(module, source, found):
    assert forbidden(source, f"{PACKAGE}.{module}") == [found]


@pytest.mark.parametrize(
    "module, source",
    [
        ("data.build", "from .mappers import x\nfrom ..errors import ConfigError\nimport cv2"),
        ("modeling.identity.oim", "from ...layers.ibn import IBN\nfrom detectron2.data import x"),
        ("evaluation.search_evaluator", "from person_search.data.build import x\nimport torch"),
        ("layers.oim", "import math\nimport torch.nn.functional as F\nfrom ..labels import x"),
        ("engine.hooks", "from ..modeling.backbone import x\nfrom person_search import data"),
    ],
)
def test_the_test_lets_allowed_imports_pass(module, source):
    assert forbidden(source, f"{PACKAGE}.{module}") == []
