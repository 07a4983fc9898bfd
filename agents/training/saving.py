"""Saving and reading models, policies and replay buffers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch as th
from gymnasium import spaces
from stable_baselines3.common.save_util import load_from_pkl, load_from_zip_file
from stable_baselines3.common.utils import check_for_correct_spaces, get_device

from gfn_gym.dag import DAG
from gfn_gym.observation import Observer
from gfn_gym.registration import domain_of

from ..architectures import ARCHITECTURES, architecture_of
from ..presets import policy_of
from ..vec_env import as_vec_env, check_same_structure
from .archive import Archive, SavedFileError, name_of, opened, write_archive

if TYPE_CHECKING:
    from ..base import GFNAlgorithm
    from ..policy import GFNPolicy

Model = TypeVar("Model", bound="GFNAlgorithm")
Policy = TypeVar("Policy", bound="GFNPolicy")
Saved = tuple[dict[str, Any], dict[str, Any]]
"""A model's attributes, and the state dicts of its networks and optimizers."""

DERIVED = ("observation_space", "action_space", "run")  # from the DAG; a run's id is in the head
NEEDED = ("mdp", "observation", "policy_class", "policy_kwargs", "n_envs", "seed")


# ---- models -----------------------------------------------------------------------------------


def attributes_of(model: GFNAlgorithm, exclude: Any = None, include: Any = None) -> dict[str, Any]:
    """Return what is saved of a model besides its parameters."""
    left_out = {*(exclude or ()), *model._excluded_save_params(), *DERIVED}
    left_out -= set(include or ())
    left_out |= {name.split(".")[0] for name in model._get_torch_save_params()[0]}
    attributes = {name: value for name, value in vars(model).items() if name not in left_out}
    _name_domains_policy(attributes, "policy_class", model.dag)
    return attributes


def write_model(model: GFNAlgorithm, path: Any, exclude: Any = None, include: Any = None) -> None:
    """See :meth:`GFNAlgorithm.save`."""
    attributes = attributes_of(model, exclude, include)
    attributes["structure"] = _structure(model.dag)
    head = {"algorithm": model.algorithm, "run": model.run}
    write_archive(path, "model", attributes, model.get_parameters(), **head)


def read_model(
    path: Any,
    algorithm: type[GFNAlgorithm],
    device: th.device | str,
    trusted: bool,
    custom_objects: dict[str, Any] | None = None,
    print_system_info: bool = False,
    env: Any = None,
) -> Saved:
    """Return what :func:`write_model` wrote; ``custom_objects`` take the place of saved ones.

    So does an environment, where the saved one is code and not trusted.

    Raises:
        SavedFileError: it is not a model's file, is another algorithm's, is damaged, or holds code
            and is not trusted.
    """
    given = dict(custom_objects or {})
    with opened(path) as archive:
        if archive.kind == "earlier":
            require_trust(archive.name, trusted)
        else:
            hint = ": a checkpoint is read by resume()" if archive.kind == "checkpoint" else ""
            archive.require("model", hint)
            require_algorithm(archive, algorithm)
            if print_system_info:
                archive.print_system_info()
            if env is not None and not trusted and archive.holds_code("mdp"):
                given |= {"mdp": _mdp_like(archive, env), **given}
            attributes = {**archive.values(trusted, without={*given, "structure"}), **given}
            check_attributes(archive.name, algorithm, attributes)
            return attributes, archive.parameters(get_device(device))
    return _read_earlier_model(path, algorithm, device, custom_objects)


def _name_domains_policy(attributes: dict[str, Any], name: str, dag: DAG) -> None:
    """Save the policy that was registered with the DAG, if it is that, as "auto"."""
    if attributes.get(name) not in ARCHITECTURES.values():
        domain = domain_of(dag)
        policy = None if domain is None else domain.policy_for(dag)
        if policy is not None and architecture_of(policy) is attributes.get(name):
            attributes[name] = "auto"


def _find_domains_policy(attributes: dict[str, Any], name: str, dag: DAG) -> None:
    if attributes[name] == "auto":
        attributes[name] = architecture_of(policy_of(dag))


def _mdp_like(archive: Archive, env: Any) -> Any:
    """The decision process of an environment whose states and actions are those of the file."""
    mdp = as_vec_env(env, 1).mdp
    theirs = archive.value("structure")
    if _structure(mdp.dag)["parts"] != theirs["parts"]:
        raise SavedFileError(
            f"the environment is {mdp.dag!r}, but the model in {archive.name} was made for "
            f"{theirs['dag']}: states and actions must be the same"
        )
    return mdp


def _structure(dag: DAG) -> dict[str, Any]:
    """What :func:`check_same_structure` compares, with classes by their names."""
    parts = [
        f"{part.__module__}:{part.__qualname__}" if isinstance(part, type) else part
        for part in dag.structure()
    ]
    return {"dag": repr(dag), "parts": parts}


def require_algorithm(archive: Archive, algorithm: type[GFNAlgorithm]) -> None:
    """Raise an error that names both where another algorithm wrote the file."""
    saved = archive.head.get("algorithm")
    if saved != algorithm.__name__:
        raise SavedFileError(
            f"{archive.name} was saved by {saved}, not by {algorithm.__name__}: load it there"
        )


def check_attributes(name: str, cls: type[GFNAlgorithm], attributes: dict[str, Any]) -> None:
    """See that attributes are those of a model, and take the place of no method."""
    missing = [needed for needed in NEEDED if needed not in attributes]
    wrong = [n for n in attributes if n.startswith("__") or callable(getattr(cls, n, None))]
    if missing or wrong:
        raise SavedFileError(
            f"{name} is damaged or was altered: a model has "
            + (f"also {missing}" if missing else f"methods called {wrong}, not attributes")
        )


def require_trust(name: str, trusted: bool) -> None:
    """Refuse a file of pickles unless it is trusted."""
    if not trusted:
        raise SavedFileError(
            f"{name} is a file of pickles, as Stable-Baselines3 and earlier versions of GFN Gym "
            "wrote them: opening it runs whatever code is in it. If you trust where it comes "
            "from, pass trusted=True"
        )


def _read_earlier_model(
    path: Any,
    algorithm: type[GFNAlgorithm],
    device: th.device | str,
    custom_objects: dict[str, Any] | None,
) -> Saved:
    """Read a model of pickles, which may run code."""
    attributes, parameters, _ = load_from_zip_file(
        path, device=device, custom_objects=custom_objects
    )
    name = name_of(path)
    if attributes is None:
        raise SavedFileError(f"{name} is not a model: a checkpoint is read by resume()")
    if attributes.get("algorithm") != algorithm.__name__:
        saved = attributes.get("algorithm", "another library")
        raise SavedFileError(
            f"{name} was saved by {saved}, not by {algorithm.__name__}: load it there"
        )
    return attributes, parameters


def make_model(
    algorithm: type[Model],
    name: str,
    saved: Saved,
    env: Any = None,
    device: th.device | str = "auto",
    force_reset: bool = True,
    changes: dict[str, Any] | None = None,
) -> Model:
    """Return the model that was saved in a file, on another environment if one is given.

    Raises:
        ValueError: the environment has other states or actions, or a change cannot be made.
    """
    attributes, parameters = saved
    changes = dict(changes or {})
    kwargs = attributes["policy_kwargs"]
    if "policy_kwargs" in changes and changes["policy_kwargs"] != kwargs:
        raise ValueError(
            f"policy_kwargs={changes['policy_kwargs']!r} must be those of the saved model, {kwargs}"
        )
    dag = attributes["mdp"].dag
    _find_domains_policy(attributes, "policy_class", dag)
    attributes["observation_space"] = Observer(dag, attributes["observation"]).space
    attributes["action_space"] = spaces.Discrete(dag.n_actions)
    if env is not None:
        env = as_vec_env(env, attributes["n_envs"])
        check_same_structure(dag, env.dag)
        check_for_correct_spaces(env, attributes["observation_space"], attributes["action_space"])
        attributes |= {"mdp": env.mdp, "n_envs": env.num_envs}
        if force_reset:
            attributes["_last_obs"] = None
    model: Any = algorithm
    model = model(attributes["policy_class"], env, device=device, _init_setup_model=False)
    vars(model).update({**attributes, **changes})
    model._setup_model()
    try:
        model.set_parameters(parameters, exact_match=True, device=device)
    except (ValueError, KeyError) as error:  # the file was put together of two
        raise SavedFileError(f"{name}: {error}") from error
    made: Model = model
    return made


def read_parameters(path: Any, device: th.device | str) -> dict[str, Any]:
    """Return a saved model's state dicts alone; nothing in the file is run."""
    with opened(path) as archive:
        if archive.kind != "earlier":
            return archive.parameters(get_device(device))
    parameters: dict[str, Any] = load_from_zip_file(path, load_data=False, device=device)[1]
    return parameters  # which SB3 reads with weights_only=True


# ---- policies ---------------------------------------------------------------------------------


def write_policy(policy: GFNPolicy, path: Any) -> None:
    """See :meth:`GFNPolicy.save`."""
    arguments = policy._get_constructor_parameters()
    for name in ("lr_schedule", "observation_space", "action_space"):
        del arguments[name]
    _name_domains_policy(arguments, "architecture", policy.dag)
    write_archive(path, "policy", arguments, {"policy": policy.state_dict()})


def read_policy(cls: type[Policy], path: Any, device: th.device | str, trusted: bool) -> Policy:
    """See :meth:`GFNPolicy.load`."""
    with opened(path) as archive:
        archive.require("policy")
        arguments = archive.values(trusted)
        parameters = archive.parameters(get_device(device))["policy"]
        dag = arguments["dag"]
        _find_domains_policy(arguments, "architecture", dag)
        space = Observer(dag, arguments["observation"]).space
        policy = cls(space, spaces.Discrete(dag.n_actions), lambda _: 0.0, **arguments)
        policy.load_state_dict(parameters)
    return policy.to(get_device(device))


# ---- replay buffers ---------------------------------------------------------------------------


def write_replay_buffer(buffer: Any, path: Any) -> None:
    """See :meth:`GFNAlgorithm.save_replay_buffer`."""
    values = {
        "identity": {name: getattr(buffer, name) for name in buffer.identity},
        "settings": buffer.settings(),
        "generator": buffer.generator.bit_generator.state,
        "state": buffer.state_dict(),
    }
    write_archive(path, "replay buffer", values, buffer=type(buffer).__name__)


def read_replay_buffer(path: Any, ours: Any, trusted: bool, verbose: int = 0) -> Any:
    """Return a saved replay buffer in the place of ``ours``.

    Raises:
        SavedFileError: it is of another kind, is damaged, or is a pickle and not trusted.
        ValueError: its states, actions, size or settings are not the model's.
    """
    name = name_of(path)
    if _is_pickle(path):
        require_trust(name, trusted)
        theirs: Any = load_from_pkl(path, verbose)
        _check_identity(name, ours, type(theirs).__name__, vars(theirs))
        theirs.attach(ours)
        return theirs
    with opened(path) as archive:
        archive.require("replay buffer")
        saved = archive.values(trusted=False)
        _check_identity(name, ours, archive.head["buffer"], saved["identity"])
        theirs = ours.empty(**saved["settings"])
        theirs.load_state_dict(saved["state"])
        theirs.generator.bit_generator.state = saved["generator"]
    return theirs


def _is_pickle(path: Any) -> bool:
    """Whether a file begins as pickles do since Python 3.4, and no zip does."""
    if hasattr(path, "seek"):
        start = path.read(1)
        path.seek(-len(start), 1)
        return bool(start == b"\x80")
    found = Path(path) if Path(path).exists() else Path(f"{path}.pkl")
    if not found.is_file():
        return False
    with found.open("rb") as file:
        return file.read(1) == b"\x80"


def _check_identity(name: str, ours: Any, kind: str, theirs: dict[str, Any]) -> None:
    if kind != type(ours).__name__:
        raise SavedFileError(f"{name} holds a {kind}, not a {type(ours).__name__}")
    for attribute in ours.identity:
        if getattr(ours, attribute) != theirs[attribute]:
            raise SavedFileError(
                f"the replay buffer's {attribute} is {theirs[attribute]}, but the model's is "
                f"{getattr(ours, attribute)}"
            )
