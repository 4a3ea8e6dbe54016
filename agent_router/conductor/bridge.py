"""Translate Ironic's step commands and flows into plugin calls.

clean.get_clean_steps and the like are answered from the manifests; clean.execute_clean_step and the like become a
call of the plugin whose manifest offers that step.
"""

import re
from typing import Any

from agent_router import __version__
from agent_router.catalogue import steps
from agent_router.catalogue.registry import Registry
from agent_router.commands.calls import Answer, Batch, Translated
from agent_router.conductor import flow
from agent_router.ipc.messages import ResultShape
from agent_router.schema.pointer import resolve
from agent_router.schema.problems import Problem, RequestError

COMMAND = re.compile(r"(clean|deploy|service)\.(get|execute)_(clean|deploy|service)_steps?")
OURS = "agent-router"
# One step at a time, as Ironic expects: a repeated POST of a running step is refused as busy.
LOCK = "ironic:step"


def translate(registry: Registry, name: str, params: dict[str, Any]) -> Answer | Translated | Batch | None:
    """What `name` stands for; None if it is an ordinary plugin."""
    if name == flow.COMMAND:
        return flow.expand(params)
    match = COMMAND.fullmatch(name)
    if match is None or match[1] != match[3]:
        return None
    phase = match[1]
    if name == f"{phase}.get_{phase}_steps":
        return Answer(step_list(registry, phase))
    if name == f"{phase}.execute_{phase}_step":
        return _execute(registry, phase, params)
    return None


def step_list(registry: Registry, phase: str) -> dict[str, Any]:
    found = steps.catalogue(registry)[phase]
    shown = [{key: value for key, value in step.items() if key != "method"} for step in found]
    return {f"{phase}_steps": {OURS: shown}, "hardware_manager_version": version(registry)}


def version(registry: Registry) -> dict[str, str]:
    """Changes when a plugin with steps is added, removed or modified: Ironic then asks for the list again."""
    return {OURS: f"{__version__}+{steps.digest(registry)}"}


def _execute(registry: Registry, phase: str, params: dict[str, Any]) -> Answer | Translated:
    step = params.get("step")
    if not isinstance(step, dict) or not isinstance(step.get("step"), str):
        raise _invalid("$.params.step", 'must be an object with "step" and "interface", as get_*_steps lists them')
    interface, wanted = step.get("interface", "deploy"), step["step"]
    given = params.get(f"{phase}_version")
    # In deploy a mismatch would make Ironic skip the step, even write_image, and consider the node deployed.
    if phase != "deploy" and given is not None and given != version(registry):
        return Answer(None, status="CLEAN_VERSION_MISMATCH")
    offer = steps.find(registry, phase, str(interface), wanted)
    if offer is None:
        offered = ", ".join(f"{one['interface']}.{one['step']}" for one in steps.catalogue(registry)[phase])
        raise _invalid(
            "$.params.step",
            f"no plugin in this ramdisk offers the {phase} step {interface}.{wanted}; it offers: {offered or 'none'}",
        )
    arguments = step.get("args") or {}
    if not isinstance(arguments, dict):
        raise _invalid("$.params.step.args", "must be an object")
    arguments = _one_config_drive(arguments)
    whole = {"step": step, "node": params.get("node"), "ports": params.get("ports")}
    request = {}
    for key, pointer in offer.step.get("input", {}).items():
        value = resolve(whole, pointer)
        if value is not None:
            request[key] = value
    # The answer omits the arguments: they may hold an image's credentials or a config drive of 64 MiB.
    echo = {key: value for key, value in step.items() if key != "args"}
    command, beside = f"{phase}.execute_{phase}_step", {f"{phase}_step": echo}
    pointer = offer.step.get("result", "")
    shown: ResultShape = {"name": command, "key": f"{phase}_result", "beside": beside, "pointer": pointer}
    return Translated(offer.method, {**request, **arguments}, shown, LOCK)


def _one_config_drive(arguments: dict[str, Any]) -> dict[str, Any]:
    """Ironic passes write_image the config drive twice; drop one copy of up to 85 MiB of base64."""
    image = arguments.get("image_info")
    if not isinstance(image, dict) or "configdrive" not in arguments:
        return arguments
    if image.get("configdrive") != arguments["configdrive"]:
        return arguments
    return {**arguments, "image_info": {key: value for key, value in image.items() if key != "configdrive"}}


def _invalid(path: str, message: str) -> RequestError:
    return RequestError(400, "request_invalid", f"{path} {message}", [Problem(path, message)])
