import pytest

from agent_router.plugin import InvalidRequest
from agent_router.storage.hints import matches, split

GIB = 1 << 30
DISK = {
    "name": "/dev/sda", "size": 100 * GIB + 5, "rotational": True, "model": "Acme SSD 900", "vendor": None,
    "serial": ["S1", "Acme_S1"], "wwn": ["0x5000c500", "0x5000c500aa"], "hctl": "0:0:1:0", "by_path": [],
}  # fmt: skip


@pytest.mark.parametrize("hints", [
    {}, {"size": ">= 100"}, {"size": "= 99"}, {"size": "> 100"}, {"size": "< 101"}, {"size": "!= 100"},
    {"size": "<range-in> [ 100 200 ]"}, {"size": "<range-in> ( 100 101 )"},
    {"rotational": True}, {"rotational": "yes"},
    {"model": "acme ssd 900"}, {"model": "s== Acme SSD 900"}, {"model": "s!= x"}, {"model": "<in> SSD"},
    {"model": "<all-in> acme 900"}, {"model": "<or> x <or> acme ssd 900"}, {"model": "s> acme"},
    {"model": "s< b"}, {"model": "s>= acme"}, {"model": "s<= acme%20ssd%20901"},
    {"serial": "s1"}, {"serial": "acme_S1"}, {"wwn": "0x5000C500"}, {"wwn": "s== 0x5000c500aa"},
    {"hctl": "0:0:1:0"}, {"name": "/dev/sda"}, {"name": "s== /dev/sda", "size": ">= 10", "rotational": "true"},
])  # fmt: skip
def test_fits(hints):
    assert matches(DISK, hints)


@pytest.mark.parametrize("hints", [
    {"size": 100}, {"size": "== 100"}, {"size": ">= 101"}, {"size": "<= 100"}, {"size": "<or> 10 <or> 20"},
    {"size": "<range-in> ( 101 200 ]"}, {"rotational": False}, {"rotational": "off"},
    {"model": "acme"}, {"model": "s!= acme ssd 900"}, {"model": "<in> hdd"}, {"model": "<all-in> acme 800"},
    {"model": "<or> acme <or> ssd"}, {"model": "= 5"}, {"vendor": "acme"}, {"vendor": "s!= acme"},
    {"serial": "s2"}, {"by_path": "x"}, {"name": "/dev/sda", "size": ">= 1000"},
])  # fmt: skip
def test_does_not_fit(hints):
    assert not matches(DISK, hints)


def test_a_whole_size_is_compared_exactly():
    assert matches({**DISK, "size": 100 * GIB}, {"size": 100})
    assert matches({**DISK, "size": 100 * GIB}, {"size": "<or> 99 <or> 100"})


@pytest.mark.parametrize(("hints", "said"), [
    ({"colour": "red"}, "is not one of"), ({"size": "big"}, "number of GiB"), ({"size": "<in> 1"}, "number of GiB"),
    ({"size": "<range-in> 10 20"}, "number of GiB"), ({"rotational": "perhaps"}, "true or false"),
    ({"model": 5}, "must be a text"), ({"model": " "}, "must be a text"), ({"model": "<in>"}, "must be a text"),
    ({"serial": ["S1"]}, "must be a text"),
])  # fmt: skip
def test_a_bad_hint_is_named(hints, said):
    with pytest.raises(InvalidRequest, match=said) as failed:
        matches(DISK, hints)
    assert failed.value.code == "bad_hints"


def test_operators_are_told_apart():
    assert split("<or> a b <or> c") == ("<or>", ["a b", "c"])
    assert split("s<= x") == ("s<=", ["x"])
    assert split("  == 5") == ("==", ["5"])
    assert split("=5") == ("=", ["5"])
    assert split("ssd") == ("", ["ssd"])
    assert split(20) == ("", ["20"])


@pytest.mark.parametrize("value", ["S1", "acme_s1"])
def test_a_negative_hint_holds_for_every_value_of_a_disk(value):
    assert not matches(DISK, {"serial": f"s!= {value}"})
    assert matches(DISK, {"serial": "s!= S2"})
