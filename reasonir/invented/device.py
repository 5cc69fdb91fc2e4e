"""Invented device: an accelerator without hardware, on which the package's real code runs.

Its tensors are wrappers (`DeviceTensor`) of tensors that have values, on the CPU, or are hollow, shapes only, on
torch's meta device. Within `Tracing`, operations on wrappers are executed on what is inside, and three things are
watched that otherwise only a GPU shows:

- an operation on tensors of two devices fails, as it would on a GPU;
- a read of a value, or of a size that depends on values, which on a GPU waits for the device (`.item()`, `.cpu()`,
  `nonzero`, boolean masks), is reported to `on_read`;
- allocations are counted, from the first tensor of a storage to the last (`Allocations`).

Autograd, autocast (`invented/autocast.py`), attention (`invented/attention.py`) and Lightning take the device for a
real one. Kernels, speed and rounding of a GPU can't be seen here. Hollow wrappers may also claim to be on the CPU, for
the code paths of a CPU.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from reasonir.invented import attention, autocast, sizes
from reasonir.invented.guard import Guard, errors_of_backward
from reasonir.utils.devices import INVENTED

_ATEN: Any = torch.ops.aten
_BLOCK = 512
"""Bytes of which CUDA's allocator gives multiples."""
_READS = {_ATEN._local_scalar_dense.default, _ATEN.equal.default}
_PINNING: dict[Any, Any] = {_ATEN.is_pinned.default: lambda tensor: False, _ATEN._pin_memory.default: torch.clone}
"""Operations on pinned memory, which is like any other here."""
_TRANSFERS = {_ATEN._to_copy.default, _ATEN.copy_.default}
_INDEXING = {_ATEN.index.Tensor, _ATEN.index_put.default, _ATEN.index_put_.default, _ATEN._index_put_impl_.default}


class Allocations:
    """Bytes in use on the device, by purpose, and the largest total so far.

    Attributes:
        purpose: of the allocations to come.
        used: present bytes by purpose.
        total: present bytes.
        peak: largest total so far.
    """

    def __init__(self) -> None:
        self.purpose = "other"
        self.used: dict[str, int] = {}
        self.total = 0
        self.reset()

    def reset(self) -> None:
        """Measure the peak from here on."""
        self.peak = self.total

    def add(self, purpose: str, size: int) -> None:
        """Count an allocation, or with a negative size its end."""
        self.used[purpose] = self.used.get(purpose, 0) + size
        self.total += size
        self.peak = max(self.peak, self.total)

    @contextmanager
    def of(self, purpose: str) -> Iterator[None]:
        """Count the allocations of the block as `purpose`."""
        before, self.purpose = self.purpose, purpose
        try:
            yield
        finally:
            self.purpose = before


class _Allocation:
    """Bytes of one storage, in use as long as any tensor refers to this object."""

    __slots__ = ("__weakref__", "counted", "purpose", "size")

    def __init__(self, counted: Allocations, size: int) -> None:
        self.counted, self.size, self.purpose = counted, size, counted.purpose
        counted.add(self.purpose, size)

    def __del__(self) -> None:
        self.counted.add(self.purpose, -self.size)


class DeviceTensor(Tensor):
    """Tensor on the invented device, or hollow on the CPU: a wrapper of `content`."""

    content: Tensor
    allocation: _Allocation | None

    @staticmethod
    def __new__(cls: Any, content: Tensor, device: torch.device, allocation: _Allocation | None = None) -> DeviceTensor:
        """Wrap a tensor."""
        wrapper: DeviceTensor = Tensor._make_wrapper_subclass(
            cls,
            content.shape,
            strides=content.stride(),
            storage_offset=content.storage_offset(),
            dtype=content.dtype,
            device=device,
        )
        wrapper.content, wrapper.allocation = content, allocation
        return wrapper

    def __init__(self, *args: Any) -> None:
        super().__init__()

    def __repr__(self) -> str:  # type: ignore[override]
        """Name shape, type and device: hollow tensors have no values."""
        return f"DeviceTensor({tuple(self.shape)}, {self.dtype}, {self.device})"

    def __format__(self, spec: str) -> str:
        """Format a scalar's value, which waits for the device."""
        return format(self.item(), spec) if not self.dim() else repr(self)

    def tolist(self) -> Any:
        """Return the values, which waits for the device; torch has this for its own class only."""
        return self.cpu().tolist()

    def untyped_storage(self) -> torch.UntypedStorage:
        """Return the storage of the content: libraries tell shared tensors by it."""
        return self.content.untyped_storage()

    def storage(self) -> Any:
        """See `untyped_storage`."""
        return self.content.storage()  # type: ignore[no-untyped-call]

    def data_ptr(self) -> int:
        """Return the address of the content."""
        return self.content.data_ptr()

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        """Return a copy, a parameter of a parameter."""
        copied: Tensor = self.detach().clone()
        if isinstance(self, nn.Parameter):
            copied = nn.Parameter(copied, requires_grad=self.requires_grad)
        memo[id(self)] = copied
        return copied

    def __tensor_flatten__(self) -> tuple[list[str], Any]:
        """Name the content: modules swap such parameters when they are moved."""
        return ["content"], (self.device, self.allocation)

    @staticmethod
    def __tensor_unflatten__(parts: Mapping[str, Tensor], context: Any, size: Any, stride: Any) -> DeviceTensor:
        """Return the wrapper again."""
        return DeviceTensor(parts["content"], *context)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Compute outside of `Tracing`, without watching anything."""
        return Tracing(hollow=False, on_read=lambda name: None).__torch_dispatch__(func, types, args, kwargs)


class Tracing(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within the block the invented device exists.

    Args:
        hollow: whether tensors that come to the device have shapes only.
        on_read: called with the name of every operation that waits for the device.

    Attributes:
        allocations: bytes in use.
        read: number that is read from hollow tensors.
        on_operation: called with every operation, its arguments and its result, without wrappers.
    """

    def __init__(self, *, hollow: bool, on_read: Callable[[str], None] = lambda name: None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        set_up()
        self.hollow, self.on_read = hollow, on_read
        self.allocations = Allocations()
        self.read = 0
        self.on_operation: Callable[[Any, Any, Any], None] = lambda func, args, out: None
        self._known: weakref.WeakValueDictionary[int, _Allocation] = weakref.WeakValueDictionary()
        self._entered = ExitStack()

    def __enter__(self) -> Tracing:
        """Begin to trace."""
        self._entered.enter_context(autocast.cleared_by_torch())
        self._entered.enter_context(errors_of_backward())
        # Autograd has a thread for each device that it saw at its first backward pass, which may be long ago.
        self._entered.enter_context(torch.autograd.set_multithreading_enabled(False))
        torch.get_device_module(INVENTED).allocations = self.allocations
        lifts = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)  # `torch.tensor(..., device=)` then comes here too
        self._entered.callback(torch._C._set_only_lift_cpu_tensors, lifts)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        """End the trace."""
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._entered.close()

    def __torch_dispatch__(  # noqa: PLR0911
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run an operation on what is inside the wrappers."""
        kwargs = kwargs or {}
        leaves = _leaves(args, kwargs)
        wrappers = [leaf for leaf in leaves if isinstance(leaf, DeviceTensor)]
        wanted = kwargs.get("device")
        wanted = None if wanted is None else torch.device(wanted)
        if func in _PINNING:
            return _PINNING[func](args[0])
        if not wrappers and (wanted is None or wanted.type != INVENTED):
            return func(*args, **kwargs)
        device = wanted or _device(func, args, leaves, wrappers)
        if self._waits(func, args, kwargs, wrappers, device):
            self.on_read(func.overloadpacket.__name__)
        hollow = self.hollow or any(wrapper.content.is_meta for wrapper in wrappers)
        if hollow and func in _READS:
            return func(*(torch.full((), self.read, dtype=leaf.dtype) for leaf in leaves if isinstance(leaf, Tensor)))
        inside = partial(_inside, hollow=hollow)
        contents, options = tuple(map(inside, args)), {name: inside(value) for name, value in kwargs.items()}
        if wanted is not None:
            options["device"] = torch.device("meta" if hollow else "cpu")
        out = _on_shapes(func, contents, options) if hollow else _kernel(func)(*contents, **options)
        self.on_operation(func, contents, out)
        if device.type == "cpu" and any(wrapper.device.type == INVENTED for wrapper in wrappers):
            return self._arrived(func, args, out)
        owners = {id(wrapper.content): wrapper for wrapper in wrappers}
        if isinstance(out, Tensor):
            return self.wrap(out, device, owners)
        if isinstance(out, list | tuple):
            return type(out)(self.wrap(part, device, owners) if isinstance(part, Tensor) else part for part in out)
        return out

    def wrap(self, content: Tensor, device: torch.device, owners: Mapping[int, DeviceTensor] | None = None) -> Tensor:
        """Return the wrapper of a tensor: one of `owners`, if an operation returned its argument."""
        if owners and (owner := owners.get(id(content))) is not None:
            return owner
        storage = content.untyped_storage()
        allocation = self._known.get(storage._cdata)
        if allocation is None:
            size = -(-storage.nbytes() // _BLOCK) * _BLOCK
            allocation = self._known[storage._cdata] = _Allocation(self.allocations, size)
        return DeviceTensor(content, _numbered(device), allocation)

    def _arrived(self, func: Any, args: Any, out: Tensor) -> Tensor:
        """Return what an operation brought from the device to the CPU, with values."""
        values = torch.zeros_like(out, device="cpu") if out.is_meta else out
        if func is _ATEN.copy_.default:
            target: Tensor = args[0]
            return target if isinstance(target, DeviceTensor) else target.copy_(values)
        return values

    def _waits(self, func: Any, args: Any, kwargs: Any, wrappers: list[DeviceTensor], device: torch.device) -> bool:
        """Return whether a GPU would make the host wait for this operation."""
        if func in _TRANSFERS:
            asynchronous = len(args) > 2 and args[2] if func is _ATEN.copy_.default else kwargs.get("non_blocking")
            source = args[1] if func is _ATEN.copy_.default else args[0]
            return (source.device.type == INVENTED) != (device.type == INVENTED) and not asynchronous
        if not any(wrapper.device.type == INVENTED for wrapper in wrappers):
            return False
        if func is _ATEN.repeat_interleave.Tensor:
            return kwargs.get("output_size") is None
        if func in _READS or func.overloadpacket in sizes.DEPENDENT:
            return True
        if func in _INDEXING:
            indices = [index for index in args[1] if index is not None]
            return any(index.dtype in (torch.bool, torch.uint8) for index in indices) or not all(
                isinstance(index, DeviceTensor) for index in indices
            )
        return False


def _device(func: Any, args: Any, leaves: Any, wrappers: list[DeviceTensor]) -> torch.device:
    """Return the device of an operation's result.

    Raises:
        RuntimeError: its tensors are on different devices, as a GPU's kernels say it.
    """
    if func is _ATEN.copy_.default:
        return torch.device(args[0].device)
    device = next((w.device for w in wrappers if w.device.type == INVENTED), wrappers[0].device)
    if device.type == INVENTED and func not in _INDEXING:
        for leaf in leaves:
            if isinstance(leaf, Tensor) and leaf.device.type != INVENTED and leaf.dim():
                raise RuntimeError(
                    f"Expected all tensors to be on the same device, but {func.overloadpacket.__name__} got "
                    f"{device} and {leaf.device} (shape {tuple(leaf.shape)})"
                )
    return device


def _leaves(args: Any, kwargs: Any) -> list[Any]:
    """Return arguments, and what is in those that are lists."""
    leaves: list[Any] = []
    for argument in (*args, *kwargs.values()):
        if isinstance(argument, list | tuple):
            leaves.extend(argument)
        else:
            leaves.append(argument)
    return leaves


def _inside(argument: Any, *, hollow: bool) -> Any:
    """Return what an operation gets in place of an argument."""
    if isinstance(argument, DeviceTensor):
        return argument.content
    if isinstance(argument, list | tuple):
        return [_inside(part, hollow=hollow) for part in argument]
    if hollow and isinstance(argument, Tensor) and argument.dim():
        return argument.to("meta")
    return argument


def _kernel(func: Any) -> Any:
    return attention.KERNELS.get(func, func)


_known_shapes: dict[Any, Any] = {}


def _on_shapes(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the result of an operation on hollow tensors; results that own their storage are computed once."""
    if func._schema.is_mutable and func._schema.arguments[0].is_write and len(func._schema.returns) == 1:
        return args[0]  # in place: nothing changes
    if func.is_view or func._schema.is_mutable:
        return _kernel(func)(*args, **kwargs)
    kernel = sizes.LARGEST.get(func) or _kernel(func)
    key = (func, *map(_described, args), *((name, _described(value)) for name, value in kwargs.items()))
    try:
        known = _known_shapes.get(key)
    except TypeError:  # an argument that can't be compared
        return kernel(*args, **kwargs)
    if known is None:
        out = kernel(*args, **kwargs)
        tensors = _leaves((out,), {})
        owns = not {id(leaf) for leaf in _leaves(args, kwargs)} & {id(part) for part in tensors}
        if owns and all(isinstance(part, Tensor) and not part._is_view() for part in tensors):
            shapes = [(tuple(part.shape), part.stride(), part.dtype) for part in tensors]
            _known_shapes[key] = (type(out), shapes)
        return out
    kind, shapes = known
    made = [torch.empty_strided(shape, stride, dtype=dtype, device="meta") for shape, stride, dtype in shapes]
    return made[0] if kind is Tensor else kind(made)


def _described(argument: Any) -> Any:
    if isinstance(argument, Tensor):
        return (tuple(argument.shape), argument.stride(), argument.dtype, argument.device.type)
    return tuple(map(_described, argument)) if isinstance(argument, list) else (type(argument), argument)


@cache
def _numbered(device: torch.device) -> torch.device:
    """Return a device with its index: autograd compares them."""
    return torch.device(device.type, 0) if device.type == INVENTED else device


class _Event:
    """Moment of a stream: it has always passed."""

    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        """Return at once."""


class _Stream:
    """Queue of the device, which computes at once."""

    def record_event(self) -> _Event:
        return _Event()


class _Backend:
    """What torch, and code for CUDA, ask a device's module for."""

    def __init__(self) -> None:
        self.allocations = Allocations()
        """Those of the last `Tracing`."""

    def is_initialized(self) -> bool:
        return True

    def is_available(self) -> bool:
        return True

    def current_device(self) -> int:
        return 0

    def device_count(self) -> int:
        return 1

    def current_stream(self) -> _Stream:
        return _Stream()

    def memory_allocated(self, device: Any = None) -> int:
        return self.allocations.total

    def max_memory_allocated(self, device: Any = None) -> int:
        return self.allocations.peak

    def reset_peak_memory_stats(self, device: Any = None) -> None:
        self.allocations.reset()

    def manual_seed_all(self, seed: int) -> None:
        """Do nothing: the CPU's generator draws."""

    def _is_in_bad_fork(self) -> bool:
        return False

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.float16, torch.bfloat16]


@cache
def set_up() -> None:
    """Register the device with torch, once a process."""
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

    _setup_privateuseone_for_python_backend(INVENTED, backend_module=_Backend(), device_guard=Guard())
    autocast.register()
    attention.register()


def hollow_(module: nn.Module, tracing: Tracing, device: torch.device) -> None:
    """Replace the parameters and buffers of a module by hollow ones on `device`; within `tracing`."""

    def hollow(tensor: Tensor) -> Tensor:
        tied = isinstance(tensor, DeviceTensor)  # met a second time
        return tensor if tied else tracing.wrap(tensor.to("meta"), device)

    module._apply(hollow)  # type: ignore[no-untyped-call]
