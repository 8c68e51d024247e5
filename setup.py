from pathlib import Path

from setuptools import find_packages, setup

# detectron2 is on no package index: the Makefile (or GETTING_STARTED.md) installs it from its
# repository. It is therefore not among the requirements here.
setup(
    name="person_search",
    version="0.1.0",
    description="Person search for detectron2: find one person in a gallery of whole scene images",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=[
        *find_packages(include=["person_search", "person_search.*"]),
        "person_search.configs",
    ],
    package_dir={"person_search.configs": "configs"},  # a name finds them from any folder
    # What a gallery searched with a pack needs; training needs the extra "train" and detectron2.
    install_requires=[
        "matplotlib",
        "numpy",
        "opencv-python",
        "pillow",
        "pyyaml",
        "scipy",
        "tabulate",
        "tqdm",
    ],
    extras_require={
        "datasets": ["h5py", "lmdb"],  # CUHK03; LUPerson's LMDB
        "dev": ["hypothesis", "mypy", "pytest", "ruff"],
        "export": ["onnx"],  # tools/export.py
        "gallery": ["av", "lancedb", "pymilvus"],  # video; galleries; those on a Milvus server
        "heif": ["pillow-heif", "pillow>=11.3"],  # pictures of phones: .heic, .avif
        "openvino": ["openvino"],  # packs whose networks are OpenVINO files
        # Ready models, and galleries of pictures and video to search with them: no torch.
        "packs": ["av", "lancedb", "onnxruntime>=1.20", "pooch", "requests"],
        "safetensors": ["safetensors"],  # MODEL.WEIGHTS of that format
        "serve": ["gradio>=6.31,<7"],  # the local web page
        "train": ["fvcore", "pycocotools", "torch>=2.2", "torchvision"],
        "tsne": ["scikit-learn"],  # tools/visualize_tsne.py
    },
    entry_points={"console_scripts": ["person-search = person_search.gallery.cli:main"]},
    package_data={
        "person_search.configs": ["*.yaml", "*/*.yaml"],
        "person_search.gallery.report": ["*.html", "*.css", "*.js"],
        "person_search.gallery.serve": ["*.css", "*.js"],
        "person_search.packs": ["ready/*.yaml"],
    },
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
)
