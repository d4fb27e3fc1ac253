"""Reads HTML as a browser does, for tests of functions that write it; texts that break out of what is not escaped."""

from html.parser import HTMLParser

from hypothesis import strategies as st

VOID = {"img", "br", "input", "meta", "link", "hr"}


class Reader(HTMLParser):
    """The elements of an HTML text with their attributes, and the text between them."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.elements, self.texts, self.open, self.balanced = [], [], [], True
        self.feed(html)
        self.close()
        self.balanced = self.balanced and not self.open

    def handle_starttag(self, tag, attributes):
        names = [name for name, _ in attributes]
        self.balanced = self.balanced and len(names) == len(set(names))
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        self.balanced = self.balanced and bool(self.open) and self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return "".join(self.texts)

    @property
    def tags(self):
        return [tag for tag, _ in self.elements]

    @property
    def shape(self):
        """What must not depend on a text: the elements, and the names of their attributes."""
        return [(tag, frozenset(attributes)) for tag, attributes in self.elements]

    def all(self, tag=None, **wanted):
        """The attributes of the elements that have these (an underscore stands for a hyphen; True for any value)."""
        wanted = {name.strip("_").replace("_", "-"): value for name, value in wanted.items()}
        return [
            attributes
            for name, attributes in self.elements
            if tag in (None, name)
            and all(key in attributes and (value is True or attributes[key] == value) for key, value in wanted.items())
        ]

    def one(self, tag=None, **wanted):
        (found,) = self.all(tag, **wanted)
        return found


def stays_text(build, text, plain="plain words"):
    """Whether a text leaves the elements and attributes of what is built from it as they are."""
    harmless, read = Reader(build(plain)), Reader(build(text))
    return harmless.balanced and read.balanced and read.shape == harmless.shape


# Half of the texts are made of what breaks out of HTML where it is not escaped.
hostile = st.lists(
    st.sampled_from(
        ["<img src=x onerror=alert(1)>", "<script>", "</p>", "</article>", "</svg>", '"', "'", "&", "&lt;", "<!--",
         "-->", "<", ">", 'x" onmouseover="alert(1)', "${alert(1)}", "{{value}}", "{side}", "`", "a", " "]
    ),
    min_size=1,
    max_size=8,
).map("".join)  # fmt: skip
anything = st.one_of(hostile, st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1))
