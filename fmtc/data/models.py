"""Networks by name or from a user's file, with weights, ready to evaluate."""

from __future__ import annotations

import importlib.util
import inspect
import pickle
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from ..extras import require

AUXILIARY_PREFIXES = ("AuxLogits.", "aux1.", "aux2.")


def load_model(
    name: str,
    weights: str | Path | None = None,
    num_classes: int | None = None,
    seed: int = 0,
) -> nn.Module:
    """A float32 network in evaluation mode.

    name: a torchvision classification model such as ``mobilenet_v2``, or a function in a file,
        ``path/to/file.py:function``, that returns the network when called without arguments.
    weights: a state_dict in a .safetensors or .pth file (any float precision), "DEFAULT" for
        torchvision's own download, "none" for the weights as initialised (random for a torchvision
        name). None is "DEFAULT" for a torchvision name and "none" for a file's function.
    num_classes: of a torchvision model that is not ImageNet's; a file's function knows it itself.
    seed: of random weights.

    inception_v3 and googlenet are built as torchvision builds them for its own weights, which take
    the usual ImageNet mean and std (transform_input=True), with the auxiliary heads that the state
    dict has. FileNotFoundError; ValueError: unknown name, weights that do not fit; ImportError: a
    torchvision name without torchvision.
    """
    weights = weights or ("none" if ":" in name else "DEFAULT")
    if str(weights) == "DEFAULT":
        return _with_default_weights(name, num_classes).eval()
    state = None if str(weights) == "none" else read_state_dict(weights)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        build = _from_function if ":" in name else _from_torchvision
        model = build(name, num_classes, state).float().eval()
    if state is not None:
        load_weights(model, state, source=str(weights))
    return model


def _from_function(
    name: str, num_classes: int | None, state: Mapping[str, Tensor] | None
) -> nn.Module:
    """Call the function in a user's file."""
    if num_classes is not None:
        raise ValueError(
            f"{name} itself says how many classes its network has; leave out --num-classes"
        )
    file, _, function = name.rpartition(":")
    if not Path(file).is_file():
        raise FileNotFoundError(f"no such file: {file} (--model {name})")
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    if spec is None or spec.loader is None:
        raise ValueError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(Path(file).resolve().parent))  # the file may import its neighbours
    spec.loader.exec_module(module)
    build = getattr(module, function, None)
    if not callable(build) or isinstance(build, nn.Module):
        kind = "" if build is None else f", but a {type(build).__name__}"
        raise ValueError(f"{file} has no function {function!r}{kind}: it must return the network")
    try:
        inspect.signature(build).bind()
    except TypeError as error:
        raise ValueError(f"{name} is called without arguments: {error}") from None
    model = build()
    if not isinstance(model, nn.Module):
        raise ValueError(f"{name} returned {type(model).__name__}, not a torch.nn.Module")
    return model


def _from_torchvision(
    name: str, num_classes: int | None, state: Mapping[str, Tensor] | None
) -> nn.Module:
    """torchvision's network with weights as initialised, able to take `state`."""
    builder = _builder(name)
    options: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes}
    if name in ("inception_v3", "googlenet"):
        auxiliary = state is not None and any(k.startswith(AUXILIARY_PREFIXES) for k in state)
        options |= {"aux_logits": auxiliary, "init_weights": False, "transform_input": True}
    return builder(weights=None, **options)


def _with_default_weights(name: str, num_classes: int | None) -> nn.Module:
    if ":" in name:
        raise ValueError(f"--weights DEFAULT is for torchvision's models, not for {name}")
    if num_classes not in (None, 1000):
        raise ValueError(
            f"torchvision's weights for {name} have 1000 classes, not {num_classes}; give "
            "--weights FILE or --weights none"
        )
    try:
        return _builder(name)(weights="DEFAULT")
    except OSError as error:
        raise OSError(
            f"cannot download torchvision's weights for {name} ({error}); download them elsewhere "
            "and give --weights FILE"
        ) from error


def _builder(name: str) -> Any:
    models = require("torchvision.models", "eval")
    known = models.list_models(module=models)
    if name not in known:
        raise ValueError(
            f"unknown model {name!r}; give path/to/file.py:function or one of torchvision's: "
            + ", ".join(known)
        )
    return models.get_model_builder(name)


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """State dict of a .safetensors or .pth/.pt file; tensors only, no code is run.

    A checkpoint's ``state_dict`` or ``model`` entry and a DataParallel's ``module.`` are unwrapped.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such weights file: {path}")
    state: Any
    try:
        if path.suffix == ".safetensors":
            state = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (safetensors.SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"{path} cannot be read as weights: {_first_line(error)}") from error
    for wrapper in ("state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"{path} holds no state_dict (names and tensors)")
    if all(name.startswith("module.") for name in state):
        return {name.removeprefix("module."): tensor for name, tensor in state.items()}
    return dict(state)


def load_weights(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load a state dict that fits exactly; ValueError names some of what does not fit.

    Counters of batches that old checkpoints lack (``num_batches_tracked``) may be missing.
    """
    own = model.state_dict()
    missing = [k for k in own if k not in state and not k.endswith("num_batches_tracked")]
    unexpected = [k for k in state if k not in own]
    reshaped = [
        f"{k} ({_shape(state[k])} in the file, {_shape(own[k])} in the model)"
        for k in own
        if k in state and not _fits(state[k], own[k])
    ]
    problems = [
        f"{what} {', '.join(keys[:3])}{f' and {len(keys) - 3} more' if len(keys) > 3 else ''}"
        for what, keys in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape", reshaped),
        )
        if keys
    ]
    if problems:
        raise ValueError(f"{source} does not fit the model: {'; '.join(problems)}")
    model.load_state_dict(state, strict=False)


def _fits(tensor: Tensor, own: Tensor) -> bool:
    """Old files keep a scalar (num_batches_tracked) as one element, which torch accepts too."""
    return tensor.shape == own.shape or (own.dim() == 0 and tensor.shape == (1,))


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
