from tests.support.fake_ramdisk import EndsTheMachine


class TestPowerOff(EndsTheMachine):
    name, word = "standby.power_off", "poweroff"
