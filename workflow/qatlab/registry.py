"""Registries: classes of one concept by their names in configurations; each class is registered where it is defined.

Other packages add classes by entry points, without a change to qatlab:

    [project.entry-points."qatlab.sources"]
    my_source = "my_package.my_module:MySource"

Their modules are not imported until a configuration names them.
"""

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import cached_property, reduce
from importlib.metadata import EntryPoint, entry_points
from operator import or_
from typing import Annotated, Any, Generic, TypeVar

from pydantic import Field, SerializeAsAny, ValidationError, WrapValidator
from pydantic_core import PydanticCustomError

from qatlab.base import Strict
from qatlab.errors import UserError, unknown

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
            raise UserError(unknown(self.concept, name, self.names()))
        return self._load(self._plugins[name])

    def read(self, values: Mapping[str, object]) -> Any:
        """Validate values by the class that they name, and return the configuration.

        Raises:
            UserError: for an unknown name, and for a plugin that cannot be imported.
            pydantic.ValidationError: for values that are invalid for the class.
        """
        return self.get(str(values[self.key])).model_validate(values)

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
            if name in self.built_in or name not in self._plugins:
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
