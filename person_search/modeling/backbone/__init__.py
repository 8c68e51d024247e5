from . import convnext, resnet, shufflenet, split_fpn  # noqa: F401  (registers the architectures)
