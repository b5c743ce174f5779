import pytest
from hypothesis import given
from hypothesis.strategies import text

from recipes.core.errors import ConfigError
from recipes.core.properties import Property, escaped, masked, read_properties, read_text


def test_entries_come_in_order_with_their_places():
    text = "# no\n a = 1\n! no\nb:2\\\n  3\n\nc\nd e f\n"
    assert read_properties(text, "f") == [
        Property("f", 2, "a", "1"),
        Property("f", 4, "b", "23"),
        Property("f", 7, "c", ""),
        Property("f", 8, "d", "e f"),
    ]


def test_a_wrong_value_names_its_place():
    error = Property("f", 2, "a", "1").wrong("2")
    assert str(error) == "f:2: a=1: expected 2"


@pytest.mark.parametrize(
    ("text", "expected"),
    [  # each as java.util.Properties of Java 17 gives it, with Apache's trim
        (r"server.1=127.0.0.1\:2888\:3888", {"server.1": "127.0.0.1:2888:3888"}),
        (r"dataDir=/x/da\ ta", {"dataDir": "/x/da ta"}),
        (r"dataDir=/x/d\u0061ta", {"dataDir": "/x/data"}),
        (r"a\=b\:c\ d=\\e\tf", {"a=b:c d": "\\e\tf"}),
        (r"a=\q\"", {"a": 'q"'}),
        (r"a=\ud83d\ude00", {"a": "\U0001f600"}),
        ("a=1\\\n  # 2\n", {"a": "1# 2"}),
        ("a=1\\\\\nb=2\n", {"a": "1\\", "b": "2"}),
        ("a=1\rb=2\r\nc=3", {"a": "1", "b": "2", "c": "3"}),
        ("a\f=\f1 \x1f", {"a": "1"}),
        ("a==1", {"a": "=1"}),
        ("a\\\n=1", {"a": "1"}),
        ("a=1\nb", {"a": "1", "b": ""}),
        ("a=1\na=2", {"a": "2"}),
    ],
)
def test_servers_6_escapes_and_ends_of_lines_are_javas(text, expected):
    assert {entry.key: entry.value for entry in read_properties(text, "f")} == expected


@pytest.mark.parametrize("mark", "\x0b \x1c \x1d \x1e \x85 \u2028 \u2029".split(" "))
def test_servers_6_only_java_s_ends_end_a_comment(mark):
    assert read_properties(f"# pasted{mark}maxCnxns=many\n", "f") == []


@pytest.mark.parametrize("line", [r"a=\u12", r"a\ub=1", r"a=\\\ux"])
def test_servers_6_an_escape_that_java_refuses_is_named(line):
    with pytest.raises(ConfigError, match=r"^f:2: .*four hexadecimal digits"):
        read_properties(f"# no\n{line}\n", "f")


def test_servers_6_a_byte_of_latin_1_is_read_as_java_does(tmp_path):
    (tmp_path / "zoo.cfg").write_bytes(b"# f\xfcr\na=\xe9\n")
    assert read_properties(read_text(tmp_path / "zoo.cfg"), "f") == [Property("f", 2, "a", "é")]
    (tmp_path / "zoo.cfg").write_text("a=é\n", encoding="utf-8")
    assert read_properties(read_text(tmp_path / "zoo.cfg"), "f") == [Property("f", 1, "a", "é")]


@given(text(max_size=12))
def test_servers_6_what_is_written_is_read(value):
    value = value.strip("".join(map(chr, range(0x21)))).encode("utf-16", "replace").decode("utf-16", "replace")
    assert [entry.value for entry in read_properties(f"a={escaped(value)}\n", "f")] == [value]


def test_f7_secrets_are_masked_and_all_else_stays():
    text = (
        "# a comment, with a password in its words\n\ndataDir=/data\r\n"
        "ssl.keyStore.password=one\\\n  two\\\n  three\nclientPort=1\n"
        "!ssl.quorum.keyStore.password : four\n   #  zookeeper.DigestAuthenticationProvider.superDigest=super:five\n"
        "ssl.keyStore.passwordPath=/kept\nsessionSecretFile=/kept\ntoken six\nmy\\.pass\\u0077ord=seven"
    )
    shown = masked(text)
    for secret in ("one", "two", "three", "four", "five", "six", "seven"):
        assert secret not in shown
    assert shown.startswith("# a comment, with a password in its words\n\ndataDir=/data\r\nssl.keyStore.password=***\n")
    assert read_properties(shown, "x")[-1][2:] == ("my.password", "***")
    for kept in ("clientPort=1\n", "ssl.keyStore.passwordPath=/kept\n", "sessionSecretFile=/kept\n"):
        assert kept in shown
    assert masked("a=1\n# b\n\nc=2") == "a=1\n# b\n\nc=2"


def test_f7_an_error_shows_no_secret():
    assert "hidden" not in str(Property("zoo.cfg", 1, "ssl.keyStore.password", "hidden").wrong("something else"))
    assert "/shown" in str(Property("zoo.cfg", 1, "ssl.keyStore.passwordPath", "/shown").wrong("something else"))
