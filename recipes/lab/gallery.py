"""All scenarios on one page of HTML: of each its title, its story, and its timeline as a small picture.

The pictures are made of the runs whenever the page is: a stored one would only repeat what the runs show already. The
page loads nothing and runs nothing.
"""

from base64 import b64encode
from collections.abc import Iterable
from hashlib import sha256
from itertools import groupby

from recipes.lab.scenario import SECTIONS, Scenario
from recipes.lab.svg import Element
from recipes.lab.thumbnail import WIDTH, thumbnail
from recipes.lab.trace import Trace

_STYLE = f"""
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.4 system-ui, sans-serif; margin: 1.5rem auto; max-width: 80rem; padding: 0 1rem; }}
ul {{ display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fill, minmax({WIDTH}px, 1fr)); list-style: none;
  padding: 0; }}
svg {{ border: 1px solid #8a8a8a; height: auto; max-width: 100%; }}
h3 {{ font-size: 1rem; margin: 0.3rem 0; }}
p {{ white-space: pre-line; }}
"""
_TITLE = {"en": "The scenarios of the laboratory", "zh": "实验室的场景"}
_STORY = {"en": "Story", "zh": "说明"}


def gallery(shown: Iterable[tuple[Scenario, Trace]], lang: str) -> str:
    """The page. shown: the scenarios, those of a section together, each with its run. lang: en or zh."""
    policy = f"default-src 'none'; style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'"
    head = Element("head", Element("meta", charset="utf-8"))
    head.add("meta", http_equiv="Content-Security-Policy", content=policy)
    head.add("meta", name="viewport", content="width=device-width")
    head.add("title", _TITLE[lang])
    body = Element("body", Element("h1", _TITLE[lang]))
    for section, those in groupby(shown, key=lambda each: each[0].section):
        body.add("h2", SECTIONS[section][lang])
        items = body.add("ul")
        for scenario, trace in those:
            _add(items, scenario, trace, lang)
    style = f"<style>{_STYLE}</style>"  # ours, and no text of a document: nothing in it is escaped
    return f'<!doctype html>\n<html lang="{lang}">{head.text()}{style}{body.text()}</html>\n'


def _add(items: Element, scenario: Scenario, trace: Trace, lang: str) -> None:
    item = items.add("li")
    item.content.append(thumbnail(trace, scenario.title[lang]))
    item.add("h3", scenario.title[lang])
    item.add("code", f"recipes lab run {scenario.id}")
    story = item.add("details")
    story.add("summary", _STORY[lang])
    story.add("p", scenario.story[lang].strip())
