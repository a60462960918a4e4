"""What people judge by: format, names and numbers alike for every Responder, and nothing of what is said lost."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from texts.shown import BadPattern, GreetingName, Pattern, Rule, TicketNumber, check_pattern, mask_names, shown_text

NAMES = ["Rosalind Achterberg", "Dev Malhotra"]
BUILT_IN: list[tuple[Rule, ...]] = [
    (),
    (GreetingName(), TicketNumber()),
    (GreetingName("[name]"), TicketNumber("[number]")),
    (TicketNumber("[number]"), GreetingName("reader"), Pattern("(?i)parcel", "box")),
]
PIECES = st.sampled_from(
    [
        *"Dear|Hello|Good morning|Ann|Archer|ben|customer|and|,|.|!|:|-|*|•|#|##|**|__|***|`|```|    | |  ".split("|"),
        *"ticket|order|Ref|no.|#12345|20443|AB-123|[#AB-123]|(#77)|[|]|{|}|Rosalind|Dev|[Your Name]|[name]|1.".split(
            "|"
        ),
        *"Kind regards|Best|Thank you|parcel|2*3*4|init|\n|\n\n|\r\n|\t|\u00a0|\u200b|\u200d|e|\u0301|é".split("|"),
    ]
)
TEXTS = st.one_of(st.text(max_size=200), st.lists(PIECES, max_size=24).map("".join))


@given(TEXTS, st.sampled_from(BUILT_IN))
def test_what_is_shown_already_stays_as_it_is(text: str, rules: tuple[Rule, ...]) -> None:
    once = shown_text(text, names=NAMES, rules=rules)
    assert shown_text(once, names=NAMES, rules=rules) == once


@given(TEXTS, st.sampled_from([*BUILT_IN, (Pattern(r"(?s).+"),), (Pattern(r"\w+"), GreetingName())]))
def test_a_text_that_has_words_keeps_some(text: str, rules: tuple[Rule, ...]) -> None:
    if any(letter.isalnum() for letter in text):
        assert any(letter.isalnum() for letter in shown_text(text, names=NAMES, rules=rules))


@given(st.lists(st.sampled_from(["the", "parcel", "left", "today", "2*3*4", "__init__", "a", "x_y"]), min_size=1))
def test_plain_words_stay_as_they_are(words: list[str]) -> None:
    text = " ".join(words)
    assert shown_text(text, names=NAMES, rules=BUILT_IN[1]) == text


@pytest.mark.parametrize(
    ("text", "alike"),
    [
        ("It left.  \r\n\r\n\r\n\r\nSorry!\r", "It left.\n\nSorry!"),
        (" It left.  Today.\tTruly.", "It left. Today. Truly."),
        ("1\u00a0000 zero\u200bwidth \ufeffmarks soft\u00adly", "1 000 zerowidth marks softly"),
        ("hid\U000e0041\U000e0042den \U0001f3f4\U000e0067\U000e007f", "hidden \U0001f3f4\U000e0067\U000e007f"),
        ("Zoe\u0308 and A\u200d\u200cB", "Zoë and AB"),
        ("\U0001f469\u200d\U0001f33e stays", "\U0001f469\u200d\U0001f33e stays"),
        ("Pay \u202e001\u202c now", "Pay \u202e001\u202c now"),
        ("two columns   of words", "two columns   of words"),
        ("# Refund\n\n**Good news:** it is *yours*.", "Refund\n\nGood news: it is *yours*."),
        ("x\n## Next ##\n### Then", "x\nNext ##\nThen"),
        ("* one\n• two\n-   three\n  ◦ four", "- one\n- two\n- three\n  - four"),
        ("***both*** and __two words__ and __Note__", "both and two words and Note"),
        ("Press **`Ctrl`** now", "Press `Ctrl` now"),
    ],
)
def test_white_space_and_marks_are_made_alike(text: str, alike: str) -> None:
    assert shown_text(text) == alike


@pytest.mark.parametrize(
    "text",
    [
        "2*3*4 and 2**3**4 and a ** b ** c",
        "def __init__(self, **kw): f(**a, **kw)",
        "__init__ and __FILE__ and snake_case_name",
        "src/**/*.py and **/test/**",
        "`**x**` and `# y`",
        "```python\n# not a heading\n\n\nx = [\n    '* a',\n]\n* b **c**\n```\nDone.",
        "~~~\n**a**\n```\n* b",
        "    def f():\n        return 1  # two blanks",
        'x\n\n    "key": "**value**"',
        '{\n    "a": "**b**",\n    "c": ["* d.  e"]\n}',
        "* * *",
        "- one\n    - two",
        "#hashtag and C#",
        "# how to install\npip install it\n\n# then\nrun it",
        "1. first\n2. second",
    ],
)
def test_code_data_and_what_only_looks_like_marks_stay(text: str) -> None:
    assert shown_text(text) == text


def test_lines_are_never_joined_and_indentation_stays() -> None:
    assert shown_text("if x:\n\tgo()\n\t\tstop()\nend") == "if x:\n    go()\n        stop()\nend"
    assert shown_text("a\nb\n c\n\nd") == "a\nb\n c\n\nd"


@pytest.mark.parametrize(
    ("text", "nameless"),
    [
        ("Dear Ann Archer,\nit left.", "Dear,\nit left."),
        ("Hi Ben, it left.", "Hi, it left."),
        ("hello ben, it left.", "hello, it left."),
        ("Good morning, Ann!\nIt left.", "Good morning!\nIt left."),
        ("Dear Mr. van der Berg and Ms O’Neill,\nit left.", "Dear,\nit left."),
        ("Dear valued customer:\nIt left.", "Dear:\nIt left."),
        ("Dear [Customer Name],\nit left.", "Dear,\nit left."),
        ("**Dear Ann,**\nit left.", "Dear,\nit left."),
        ("Subject: Your parcel\n\nDear Ann,\nit left.", "Subject: Your parcel\n\nDear,\nit left."),
        ("Dear Ann Thank you for writing.", "Dear Thank you for writing."),
        ("Sehr geehrte Frau Müller,\nes ging ab.", "Sehr geehrte,\nes ging ab."),
    ],
)
def test_whoever_is_greeted_goes_from_the_first_line(text: str, nameless: str) -> None:
    assert shown_text(text, rules=[GreetingName()]) == nameless


@pytest.mark.parametrize(
    "text",
    [
        "Hello, Merrowby Books has shipped it.",
        "Hi Thanks for writing.",
        "Hello we are closed, sorry.",
        "It left.\nDear Ann, yes.",
        "Highlands are far.",
    ],
)
def test_what_is_no_greeting_by_name_stays(text: str) -> None:
    assert shown_text(text, rules=[GreetingName()]) == text


@pytest.mark.parametrize(
    ("text", "marked", "gone"),
    [
        ("Ticket #12345 is open.", "Ticket [number] is open.", "Ticket is open."),
        ("[#AB-123] It left.", "[number] It left.", "It left."),
        ("It left. [AB-123]", "It left. [number]", "It left."),
        ("Ref: 2024-00123", "Ref [number]", "Ref"),
        ("Your order no. 77 left.", "Your order [number] left.", "Your order left."),
        ("Reference number: ABC123-9.", "Reference [number].", "Reference."),
        ("The case number is 20443.", "The case [number].", "The case."),
        ("See (#77) and #20443.", "See [number] and [number].", "See and."),
    ],
)
def test_ticket_numbers_go(text: str, marked: str, gone: str) -> None:
    assert shown_text(text, rules=[TicketNumber("[number]")]) == marked
    assert shown_text(text, rules=[TicketNumber()]) == gone


@pytest.mark.parametrize(
    "text", ["in case 2 of 3 arrive", "an order of 150 copies", "as in [1] and [2024]", "colour #fff, issue C#"]
)
def test_other_numbers_stay(text: str) -> None:
    assert shown_text(text, rules=[TicketNumber()]) == text


def test_a_managers_pattern_is_replaced_by_exactly_what_was_typed() -> None:
    assert shown_text("Store 12 and Store 7", rules=[Pattern(r"Store \d+", r"\1 [shop]")]) == r"\1 [shop] and \1 [shop]"
    assert shown_text("a\nFrom: me\nb", rules=[Pattern("^From:.*$")]) == "a\n\nb"
    assert shown_text("Store 12, at Store 7. Store 9 too", rules=[Pattern(r"Store \d+")]) == ", at. too"
    assert shown_text("Store", rules=[Pattern("Store")]) == "Store", "never emptied"
    assert shown_text("Store", rules=[Pattern("(")]) == "Store", "a pattern that cannot be read hides nothing"


def test_names_of_any_responder_go_from_everybodys_texts() -> None:
    text = "Hello, this is Dev.  It left.\n\nKind regards,\nRosalind"
    assert shown_text(text, names=NAMES) == "Hello, this is [name]. It left."


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(", "missing"),
        (r"(a+)+$", "too long"),
        (r"(\w+\s?)*!!", "too long|nothing"),
        ("x*", "nothing"),
        (r"\b", "nothing"),
        (r"\L<names>", "undefined"),
        ("(?:a{1000}){1000}", "repeats"),
        ("x" * 301, "longer"),
    ],
)
def test_a_pattern_that_cannot_be_used_says_why(pattern: str, why: str) -> None:
    with pytest.raises(BadPattern, match=why):
        check_pattern(pattern)


def test_an_ordinary_pattern_can_be_used() -> None:
    for pattern in (r"(?i)\bcall us on [\d ]+", r"^From:.*$", r"Store #\d+|Shop \d+", "Merrowby"):
        check_pattern(pattern, ["Call us on 020 7946."])


@pytest.mark.parametrize(
    "text",
    [
        " " * 100_000 + "x",
        "x" + "\n" * 100_000 + "Best" + " " * 100_000,
        "**a " * 25_000,
        "__a " * 25_000,
        "[#1" * 30_000,
        "[your" + " " * 100_000,
        "Dear" + ", Ben" * 20_000,
        "Dear " + "Ben " * 25_000,
        "\nBest" * 20_000,
        "order " + "a-" * 50_000,
        "order" + " " * 100_000 + "#1",
        "# " * 50_000,
        "[" * 100_000 + "]" * 100_000,
        "`" * 100_001,
    ],
    ids=lambda text: repr(text[:12]),
)
def test_no_text_takes_long(text: str) -> None:
    begun = time.process_time()
    shown_text(text, names=NAMES, rules=BUILT_IN[2])
    assert time.process_time() - begun < 5  # a square of 100,000 steps takes minutes


def test_names_and_blanks_for_names_look_the_same_in_every_reply() -> None:
    names = ["Rosalind Achterberg", "Dev Malhotra"]
    assert (
        mask_names("I am Rosalind from the desk. It left today.", names) == "I am [name] from the desk. It left today."
    )
    assert mask_names("This is [Your Name]. It left today.", names) == "This is [name]. It left today."
    assert mask_names("Yours, Dev Malhotra, Merrowby Books", names) == "Yours, [name], Merrowby Books"
    assert mask_names("DEV here, or dev malhotra in full.", names) == "[name] here, or [name] in full."
    assert mask_names("The Devil's developer", names) == "The Devil's developer"


@pytest.mark.parametrize(
    "end",
    [
        "",
        "\n\nAll the best,\nRosalind",
        "\n\nKind regards,\n\nRosalind Achterberg",
        "\nrosalind",
        " Best wishes, DEV",
        "\n\nYours sincerely,\n[Your Name]",
        "\n\nWith kind regards",
        "\n— Dev",
    ],
)
def test_a_sign_off_is_left_out_of_every_blind_text_so_that_it_tells_nothing(end: str) -> None:
    names = ["Rosalind Achterberg", "Dev Malhotra"]
    assert mask_names(f"Dear Ben, your parcel left today.{end}", names) == "Dear Ben, your parcel left today."


def test_ordinary_words_are_no_names_and_other_spellings_of_names_are() -> None:
    text = "The parcel is late. Our service desk sends a response."
    assert mask_names(text, ["The service desk", "response", "Our team"]) == (
        "The parcel is late. Our [name] sends a response.".replace("[name]", "service desk")
    )
    assert (
        mask_names("Bo and O’Neill and Zoe\u0308 wrote.", ["Bo", "O'Neill", "Zoë"])
        == "[name] and [name] and [name] wrote."
    )
    assert mask_names("Rosalind", ["Rosalind"]) == "[name]"
