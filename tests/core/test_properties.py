from recipes.core.properties import Property, read_properties


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
