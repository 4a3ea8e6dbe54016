from agent_router.storage.udev import udev


def test_the_properties_of_a_device(tmp_path):
    block = tmp_path / "sys/class/block/sda"
    block.mkdir(parents=True)
    (block / "dev").write_text("8:0\n")
    (tmp_path / "b8:0").write_text("S:disk/by-id/x\nE:ID_SERIAL_SHORT=S3\nE:ID_X=a=b\n")
    assert udev("sda", tmp_path, tmp_path / "sys") == {"ID_SERIAL_SHORT": "S3", "ID_X": "a=b"}


def test_without_udev_there_are_no_properties(tmp_path):
    assert udev("sda", tmp_path, tmp_path) == {}
