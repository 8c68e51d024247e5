from . import convnext, resnet, shufflenet  # noqa: F401  (registers the architectures)
