from . import pretrainer  # noqa: F401  (registers it)
