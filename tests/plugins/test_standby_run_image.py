from tests.support.fake_ramdisk import EndsTheMachine


class TestRunImage(EndsTheMachine):
    name, word = "standby.run_image", "reboot"
