from agent_router.hardware import usb


def device(sys, name, **files):
    directory = sys / "bus/usb/devices" / name
    directory.mkdir(parents=True)
    for file, text in files.items():
        (directory / file).write_text(text + "\n")


def machine(sys):
    device(sys, "usb1", bDeviceClass="09", busnum="1", devnum="1", manufacturer="Linux", product="xHCI Host Controller")
    device(sys, "1-4", bDeviceClass="09", busnum="1", devnum="2")
    device(
        sys,
        "1-4.1",
        bDeviceClass="00",
        busnum="1",
        devnum="10",
        idVendor="0557",
        idProduct="2419",
        manufacturer="Example",
        product="Virtual Keyboard and Mouse",
    )
    device(sys, "1-4.1:1.0", bInterfaceClass="03")
    device(sys, "1-5", bDeviceClass="00", busnum="1", devnum="9", idVendor="0781", idProduct="5583")
    return sys


def test_devices_without_hubs_and_interfaces_in_the_order_of_their_numbers(tmp_path):
    assert usb.devices(machine(tmp_path)) == [
        {"vendor": "", "product": "", "handle": "USB:1:9", "vendor_id": "0781", "product_id": "5583"},
        {
            "vendor": "Example",
            "product": "Virtual Keyboard and Mouse",
            "handle": "USB:1:10",
            "vendor_id": "0557",
            "product_id": "2419",
        },
    ]


def test_a_device_that_was_pulled_out_meanwhile(tmp_path):
    device(tmp_path, "1-2", bDeviceClass="ff")
    (found,) = usb.devices(tmp_path)
    assert (found["vendor"], found["handle"]) == ("", "USB:0:0")


def test_a_machine_without_usb(tmp_path):
    assert usb.devices(tmp_path) == []
