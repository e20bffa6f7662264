"""A CUDA device that computes on the CPU: operations refuse tensors of different devices, and results are the CPU's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

FAR, CPU = torch.device("cuda", 0), torch.device("cpu")
INDEXES = ("aten.index.", "aten.index_put", "aten._index_put")
"""The operations whose indices may lie on the CPU."""
READS = (Tensor.tolist, Tensor.item)


class FarTensor(Tensor):
    """A tensor on the far device, held on the CPU in `near`. For PyTorch's own code it lies on the CPU too."""

    near: Tensor

    @staticmethod
    def __new__(cls, near: Tensor) -> FarTensor:
        made: FarTensor = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, near.shape, strides=near.stride(), storage_offset=near.storage_offset(), dtype=near.dtype,
            requires_grad=near.requires_grad)
        made.near = near.detach()
        return made

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func == Tensor.device.__get__:  # type: ignore[attr-defined]
            return FAR if isinstance(args[0], FarTensor) else CPU
        if func in READS:
            return getattr(args[0].near, func.__name__)()
        if func in (Tensor.to, Tensor.cpu):
            return _moved(args[0], (CPU,) if func is Tensor.cpu else args[1:], dict(kwargs))
        if func is Tensor.numpy:
            raise TypeError(f"can't convert {FAR} device type tensor to numpy. Use Tensor.cpu() first")
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **kwargs)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


@contextmanager
def far_device() -> Iterator[None]:
    """Offer one CUDA device in a `with` block."""
    with (patch.object(torch.__future__, "_overwrite_module_params_on_conversion", True),
          patch.object(torch.cuda, "is_available", lambda: True),
          patch.object(torch.cuda, "device_count", lambda: 1), patch.object(torch.cuda, "_lazy_init", lambda: None),
          patch.object(torch, "tensor", _made(torch.tensor)), patch.object(torch, "as_tensor", _made(torch.as_tensor)),
          patch.object(torch, "inference_mode", torch.no_grad),  # wrappers have no version there
          _Mode()):
        yield


def _made(function: Any) -> Any:
    """Make a tensor on the CPU, then move it: PyTorch hides the move of these functions from modes."""
    def make(*args: Any, device: Any = None, **kwargs: Any) -> Tensor:
        made: Tensor = function(*args, **kwargs)
        return made if device is None else made.to(device)
    return make


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _moved(value: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Compute `value.to(...)`, where the value or the other tensor is far."""
    copy = kwargs.pop("copy", False)
    if args and isinstance(args[0], Tensor):
        device, dtype = args[0].device, args[0].dtype
    else:
        device, dtype, *_ = torch._C._nn._parse_to(*args, **kwargs)  # type: ignore[attr-defined]
    there = isinstance(value, FarTensor)
    goes = there if device is None else device == FAR
    if goes == there and dtype in (None, value.dtype) and not copy:
        return value
    near = value.near if isinstance(value, FarTensor) else value
    made = near.to(dtype or near.dtype, copy=True)
    return FarTensor(made) if goes else made


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    name = str(func)
    leaves = tree_leaves((args, kwargs))
    far = {id(value.near): value for value in leaves if isinstance(value, FarTensor)}
    if not name.startswith("aten.copy_"):
        checked = tree_leaves(args[0] if name.startswith(INDEXES) else (args, kwargs))
        if far and any(isinstance(value, Tensor) and not isinstance(value, FarTensor) and value.ndim for value in checked):
            raise RuntimeError(f"Expected all tensors to be on the same device, but {name} got {FAR} and cpu")
    goes_far = bool(far)
    args, kwargs = tree_map(lambda value: value.near if isinstance(value, FarTensor) else value, (args, kwargs))
    if "device" in kwargs and kwargs["device"] is not None:
        goes_far = goes_far or torch.device(kwargs["device"]) == FAR
        kwargs["device"] = CPU
    found = func(*args, **kwargs)

    def placed(value: Any) -> Any:
        if not isinstance(value, Tensor) or not goes_far:
            return value
        return far[id(value)] if id(value) in far else FarTensor(value)

    return tree_map(placed, found)
