"""HTML as a browser parses it: elements with their attributes, and the visible text."""

from html.parser import HTMLParser


class Elements(HTMLParser):
    """The elements of a page with their attributes, and its visible text."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text, self.inside = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.inside.append(tag)

    def handle_endtag(self, tag):
        if tag in self.inside:
            while self.inside.pop() != tag:
                pass

    def handle_data(self, data):
        if not {"script", "style"} & set(self.inside[-1:]):
            self.text.append(data)

    @property
    def tags(self):
        return [tag for tag, _ in self.elements]

    def words(self):
        return " ".join(" ".join(self.text).split())
