"""Let a CUDA build of torchvision be imported beside a CPU build of torch.

The set-up copies this file into the virtual environment's site-packages, next to a `.pth` file that calls `install()`
when an interpreter starts, worker processes included. It imports neither torch nor torchvision by itself.

A CUDA torchvision cannot load its compiled library beside a CPU torch; torchvision tolerates that, except that
`torchvision._meta_registrations` describes two operators, nms and qnms, without asking whether they exist. Declaring
the missing ones just before that module runs makes torchvision's pure-torch transforms work. Calling either operator
still fails, as it should. Where torchvision is healthy nothing is missing and nothing is declared.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType

TARGET = "torchvision._meta_registrations"
SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


class _DeclareFirst(SourceFileLoader):
    """Runs the target module after declaring the operators it expects."""

    def exec_module(self, module: ModuleType) -> None:
        import torch

        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            if not hasattr(torch.ops.torchvision, operator):
                library.define(operator + SIGNATURE)
        # Declarations vanish with their library object, so the module keeps it.
        module.__dict__["_schema_stubs"] = library
        super().exec_module(module)


class _Finder:
    """Finds the target module and nothing else."""

    @staticmethod
    def find_spec(
        fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != TARGET:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _DeclareFirst(spec.loader.name, spec.loader.path)
        return spec


def install() -> None:
    """Put the finder before the interpreter's own; a second call does nothing."""
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)
