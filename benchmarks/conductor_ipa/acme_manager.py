"""A vendor's hardware manager for ironic-python-agent with one step that only waits, like the tests' acme.burn_in."""

import time

from ironic_python_agent import hardware


class AcmeHardwareManager(hardware.HardwareManager):
    HARDWARE_MANAGER_NAME = "AcmeHardwareManager"
    HARDWARE_MANAGER_VERSION = "1"

    def evaluate_hardware_support(self):
        return hardware.HardwareSupport.SERVICE_PROVIDER

    def get_clean_steps(self, node, ports):
        argument = {"seconds": {"description": "How long", "required": False}}
        step = {"step": "acme_burn_in", "interface": "deploy", "priority": 0, "reboot_requested": False}
        return [{**step, "abortable": True, "argsinfo": argument}]

    get_service_steps = get_clean_steps

    def acme_burn_in(self, node, ports, seconds=1):
        time.sleep(seconds)
        return {"seconds": seconds}
