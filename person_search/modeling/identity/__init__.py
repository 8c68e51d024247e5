from . import oim, simsiam, softmax  # noqa: F401  (registers the heads)
