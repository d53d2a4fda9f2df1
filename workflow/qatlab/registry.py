"""What configuration models share, and registries of those that a configuration chooses by name.

Unknown keys are errors, values never change after validation, and names are names of folders too. Classes of one concept are
registered by the name that configurations give them, each where it is defined.

Other packages add classes by entry points, without touching a file of qatlab:

    [project.entry-points."qatlab.sources"]
    my_source = "my_package.my_module:MySource"

Their modules are imported when a configuration names them, and not before.
"""

import importlib
import pkgutil
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import cached_property, reduce
from importlib.metadata import EntryPoint, entry_points
from operator import or_
from typing import Annotated, Any, Generic, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from qatlab.errors import UserError, is_plain, unknown

LONGEST_NAME = 96  # characters; names of folders and rows contain several names
LONGEST_LINE = 500
LONGEST_TEXT = 10_000
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class Strict(BaseModel):
    """Base class of the sections of a configuration. Misspelt keys are refused rather than ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


def is_name(text: str) -> bool:
    """Return whether a text can be the name of a file and of a column, and a single word of a shell command."""
    return bool(NAME.fullmatch(text)) and ".." not in text and len(text) <= LONGEST_NAME


def is_variant(text: str) -> bool:
    """Return whether a text is a name or NAME:SCHEME, such as a method with the scheme of weights that it trains: `baseline:int8`."""
    parts = text.split(":")
    return len(parts) <= 2 and all(map(is_name, parts)) and len(text) <= LONGEST_NAME


def is_hub_id(text: str) -> bool:
    """Return whether a text is a hub id OWNER/NAME, or the NAME of one of the hub's oldest repositories, which have no owner."""
    parts = text.split("/")
    return len(parts) <= 2 and all(map(is_name, parts))


def _name(text: str) -> str:
    if not is_name(text):
        raise ValueError(
            f"a name consists of ASCII letters, digits, '_', '-' and '.' (the last two not first, no '..'), at most {LONGEST_NAME} of them"
        )
    return text


def _variant(text: str) -> str:
    if not is_variant(text):
        raise ValueError(
            "a name consists of ASCII letters, digits, '_', '-' and '.' (the last two not first, no '..'), and at most one ':' before a "
            f"scheme of weights; at most {LONGEST_NAME} characters"
        )
    return text


def _hub_id(text: str) -> str:
    if not is_hub_id(text):
        raise ValueError("a hub id is OWNER/NAME, and consists of ASCII letters, digits, '_', '-' and '.' (no '..')")
    return text


def _plain(text: str) -> str:
    if not is_plain(text):
        raise ValueError("it must be one line without control characters")
    return text


Name = Annotated[str, AfterValidator(_name)]
VariantName = Annotated[str, AfterValidator(_variant)]
HubId = Annotated[str, AfterValidator(_hub_id)]
Line = Annotated[str, Field(max_length=LONGEST_LINE), AfterValidator(_plain)]
FullLine = Annotated[Line, Field(min_length=1)]
LocalPath = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_plain)]


Rows = Annotated[int | None, Field(gt=0, description="Number of rows that are kept after shuffling; null keeps all.")]
Skip = Annotated[
    int,
    Field(
        ge=0,
        exclude_if=lambda skipped: skipped == 0,  # so that data without it keep their names
        description="Number of rows, after shuffling, that are left out before those that are kept.",
    ),
]
ShuffleSeed = Annotated[
    int,
    Field(
        ge=0,
        lt=2**32,
        description="Random seed of the shuffle, which determines the rows that are kept and the order in which they are stored.",
    ),
]
Packages = Annotated[
    list[Name], Field(min_length=1, description="Names of the Python packages whose texts are the training data.")
]

TEXT = "text"  # the column of texts without a counterpart
SOURCE_AND_TARGET = ["source", "target"]


def _distinct(columns: list[str]) -> list[str]:
    if len(set(columns)) < len(columns):
        raise ValueError(f"a column is listed twice: {', '.join(columns)}; list each column once")
    return columns


def column_name(column: str) -> str:
    """Return the name of a hub column in Parquet files: the part after the last dot, such as 'en' for `translation.en`."""
    return column.rpartition(".")[2]


def _distinct_when_stored(columns: list[str]) -> list[str]:
    _distinct([column_name(column) for column in columns])
    return columns


Columns = Annotated[
    list[FullLine],
    AfterValidator(_distinct),
    Field(
        min_length=1,
        description="Text columns in the order in which the loss reads them; language modelling takes a single column.",
    ),
]
HubColumns = Annotated[
    list[FullLine],
    AfterValidator(_distinct_when_stored),
    Field(
        min_length=1,
        description="Text columns in the order in which the loss reads them; language modelling takes a single column. COLUMN.KEY "
        "selects a key of a column that holds dictionaries: translation.en becomes the column en.",
    ),
]
TwoColumns = Annotated[
    list[FullLine],
    AfterValidator(_distinct),
    Field(min_length=2, max_length=2, description="The column of the texts and the column of their translations."),
]


class ParallelTexts(Strict):
    """Texts and their translations from two line-aligned files, from two columns of a table, or from message catalogues."""

    paths: Annotated[
        list[LocalPath] | None,
        Field(
            min_length=1,
            max_length=2,
            description="Two line-aligned plain-text files (gzip is allowed), one table with two columns, or message catalogues "
            "(.po, .mo) and folders that contain them.",
        ),
    ] = None
    packages: Annotated[
        list[Name] | None, Field(min_length=1, description="Installed packages whose message catalogues are read.")
    ] = None
    language: Annotated[
        Name | None,
        Field(description="Language of the message catalogues in folders and packages, such as fr or pt_BR."),
    ] = None
    columns: TwoColumns = SOURCE_AND_TARGET

    @model_validator(mode="after")
    def _names_texts(self) -> Self:
        if (self.paths is None) == (self.packages is None):
            raise ValueError("set either paths or packages")
        if self.packages is not None and self.language is None:
            raise ValueError("packages contain several languages; set language, for example to fr")
        return self


class RecordKeys(Strict):
    """Names of the keys or columns of evaluation records."""

    query: Annotated[FullLine, Field(description="Key of the query.")] = "query"
    positive: Annotated[FullLine, Field(description="Key of the relevant text, or of a list of relevant texts.")] = (
        "positive"
    )
    negatives: Annotated[
        FullLine, Field(description="Key of an irrelevant text, or of a list of irrelevant texts.")
    ] = "negatives"


class HubSplit(Strict):
    """One split of a data set on the Hugging Face hub."""

    name: Annotated[HubId, Field(description="Hub id of the data set, OWNER/NAME.")]
    subset: Annotated[
        Line | None, Field(description="Subset (configuration) of the data set; needed where it has several.")
    ] = None
    split: Annotated[FullLine, Field(description="Split of the data set, such as train or test.")] = "test"
    revision: Annotated[Line, Field(description="Branch, tag or commit of the hub repository.")] = "main"

    def origin(self) -> str:
        """Return 'hub', because the hub's revision determines the rows."""
        return "hub"

    def on_hub(self, origin: Any) -> tuple[str, str] | None:
        """Return the id and revision of the data set."""
        return self.name, self.revision


T = TypeVar("T", bound=type[Any])


class Registry(Generic[T]):
    """Registry of the configuration classes of one concept, by name.

    Args:
        concept: name of the concept, for messages, such as 'source of training data'.
        package: the package whose modules register classes when they are imported, or the one module that does.
        key: the field of the configuration that holds the name.
        group: group of entry points, if its name differs from that of the package.
    """

    def __init__(self, concept: str, package: str, key: str = "source", group: str | None = None) -> None:
        self.concept, self.package, self.key, self.group = concept, package, key, group or package
        self._classes: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that registers a class.

        Raises:
            ValueError: if another class already has the name.
        """

        def decorate(cls: T) -> T:
            other = self._classes.setdefault(name, cls)
            if other is not cls:
                raise ValueError(f"{self.concept} '{name}' is already registered, by {other.__module__}")
            return cls

        return decorate

    def get(self, name: str) -> T:
        """Return the class of a name in qatlab or in a plugin, which is imported if necessary.

        Raises:
            UserError: for an unknown name, and for a plugin that cannot be imported.
        """
        if name in self.built_in:
            return self.built_in[name]
        if name not in self._plugins:
            raise unknown(self.concept, name, self.names())
        return self._load(self._plugins[name])

    def read(self, values: Mapping[str, object]) -> Any:
        """Validate values by the class that they name, and return the configuration.

        Raises:
            UserError: for an unknown name, and for a plugin that cannot be imported.
            pydantic.ValidationError: for values that are invalid for the class.
        """
        return self.get(str(values[self.key])).model_validate(values)

    def __contains__(self, name: str) -> bool:
        """Return whether a class has the name. Installed packages are searched only for a name that is not qatlab's own."""
        return name in self.built_in or name in self._plugins

    def names(self) -> list[str]:
        """Return the names of all classes, those of qatlab first, without importing plugins."""
        return [*self.built_in, *self._plugins]

    @cached_property
    def built_in(self) -> dict[str, T]:
        """Return the classes of qatlab itself, in the order of their modules."""
        package = importlib.import_module(self.package)
        below = pkgutil.iter_modules(getattr(package, "__path__", []))  # none below a plain module
        modules = [self.package, *(f"{self.package}.{module.name}" for module in below)]
        for module in modules:
            importlib.import_module(module)
        own = [(name, cls) for name, cls in self._classes.items() if cls.__module__ in modules]
        return dict(
            sorted(own, key=lambda item: modules.index(item[1].__module__))
        )  # The order does not depend on which module was imported first.

    def config_type(self) -> Any:
        """Return the type of a configuration field that accepts any registered class, which the key chooses."""
        classes: Any = reduce(or_, self.built_in.values())
        built_in: Any = Annotated[classes, Field(discriminator=self.key)]

        def choose(value: Any, validate: Callable[[Any], Any]) -> Any:
            name = value.get(self.key) if isinstance(value, dict) else getattr(value, self.key, None)
            # A value of any type may stand in place of a name; the fields of the built-in classes refuse it.
            if not isinstance(name, str) or name in self.built_in or name not in self._plugins:
                return validate(value)
            try:
                return self.get(name).model_validate(value)
            except ValidationError as error:
                first = error.errors()[0]
                place = ".".join(map(str, first["loc"]))
                raise PydanticCustomError("plugin", f"{place}: {first['msg']}".removeprefix(": ")) from None

        return Annotated[built_in, SerializeAsAny(), WrapValidator(choose)]

    @cached_property
    def _plugins(self) -> dict[str, EntryPoint]:
        points = sorted(entry_points(group=self.group), key=lambda point: point.name)
        return {point.name: point for point in points if point.name not in self.built_in}

    def _load(self, point: EntryPoint) -> T:
        try:
            cls: T = point.load()
        except Exception as error:  # The module of a plugin may raise anything.
            package = point.dist.name if point.dist else point.value
            raise UserError(
                f"{self.concept} '{point.name}' of package {package} cannot be imported: {type(error).__name__}: {error}"
            ) from error
        return self.register(point.name)(cls)


class Registered(Strict, ABC):
    """Base class of configurations whose content depends on more than their fields: sources, tasks and sets of texts."""

    @abstractmethod
    def origin(self) -> Any:
        """Return everything that determines the content besides the fields, as a JSON value: checksums, versions of packages.

        Raises:
            UserError: for local files and packages that are missing or cannot be read.
        """

    def on_hub(self, origin: Any) -> tuple[str, str] | None:
        """Return the id and revision of the hub data set whose availability is checked before any job; None if there is none.

        Args:
            origin: the result of `origin`.
        """
        return None

    def fingerprint(self) -> Any:
        """Return the origin and, for the class of a plugin, the version of the installed package that defines it."""
        package = distribution(type(self))
        return {"plugin": package, "origin": self.origin()} if package else self.origin()


def origin_of(fingerprint: Any) -> Any:
    """Return the origin that a result of `Registered.fingerprint` contains."""
    return fingerprint["origin"] if isinstance(fingerprint, dict) and "plugin" in fingerprint else fingerprint


def distribution(cls: type) -> dict[str, str]:
    """Return the name and version of the installed package that defines the class of a plugin; empty for a class of qatlab."""
    top = cls.__module__.partition(".")[0]
    if top == "qatlab":
        return {}
    names = importlib.metadata.packages_distributions().get(top, [])
    return {name: importlib.metadata.version(name) for name in sorted(set(names))}
