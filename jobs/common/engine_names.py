"""The names of the engines; a light module, since `--help` needs them."""

from typing import Literal, TypeAlias

EngineName: TypeAlias = Literal["local", "spark"]
