from pathlib import Path

from tests.support.plugin import problems


def test_schema_refuses_parameters():
    assert problems("inspect.usb_devices", "request", {"hubs": True})


def test_schema_refuses_another_handle():
    device = {"vendor": "", "product": "", "handle": "USB:1:2", "vendor_id": "0557", "product_id": "2419"}
    assert not problems("inspect.usb_devices", "response", {"usb_devices": [device]})
    assert problems("inspect.usb_devices", "response", {"usb_devices": [{**device, "handle": "1-2"}]})


def test_this_machine(call):
    classes = [path.read_text().strip() for path in Path("/sys/bus/usb/devices").glob("*/bDeviceClass")]
    found = call("inspect.usb_devices")["usb_devices"]
    assert len(found) == len([one for one in classes if one != "09"])
